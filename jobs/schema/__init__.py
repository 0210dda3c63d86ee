"""The versions of the database schema: what this package carries, what a database has, and whether the two fit."""
