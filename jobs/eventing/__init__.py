"""Sends events to endpoints: which URLs and addresses are allowed, and one signed request."""
