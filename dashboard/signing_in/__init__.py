"""The ways to sign in: one module each."""
