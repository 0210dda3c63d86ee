"""The demo: everything at once on one machine, and a check of what arrived against the provider's records."""
