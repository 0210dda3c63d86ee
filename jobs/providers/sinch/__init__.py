"""Sinch SMS (the XMS REST API)."""
