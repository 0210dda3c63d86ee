"""The app that takes a provider's callbacks."""
