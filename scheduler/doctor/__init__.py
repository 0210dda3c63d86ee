"""The checks of `outbox doctor`: one module for each, and the round that runs them."""
