"""Vonage Messages."""
