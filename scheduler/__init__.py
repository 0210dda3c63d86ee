"""The long-running process and the `outbox` command."""
