"""Lists of phone numbers as people write them in files."""
