"""The jobs, and what they share."""
