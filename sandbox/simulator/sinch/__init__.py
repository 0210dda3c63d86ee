"""Sinch: the SMS REST API (XMS), its callbacks and its inbounds."""
