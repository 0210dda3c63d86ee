"""One module per job. The folders hold what the jobs share."""
