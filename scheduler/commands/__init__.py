"""The subcommands of `outbox` that belong to the scheduler, one module each. The command line itself is `scheduler.cli`."""
