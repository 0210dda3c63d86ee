"""An app's own server that gets events, for development and tests. Its answers are chosen by the path of its URL."""
