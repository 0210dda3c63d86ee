"""The app that receives a provider's callbacks."""
