"""`outbox campaign`: members from a file, a preview, start and stop, and a report."""
