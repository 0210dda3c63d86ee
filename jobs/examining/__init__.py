"""What `outbox doctor` and the dashboard conclude from the facts that the database gives about itself."""
