"""The types of the outbox's tables and functions for apps, made from a database in which the schema is installed."""
