"""The demo: everything at once on one machine, and a count of what arrived by the provider's own books."""
