"""Measurements: what one machine does, and how it was found out."""
