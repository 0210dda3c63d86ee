"""The schema's sources: how they become a release, which of them may refer to which, and what they create in a database."""
