"""`outbox campaign`: members from a file, a look before sending, one switch, and a report."""
