"""``python -m scheduler`` is the ``outbox`` command."""

from scheduler.cli import main

if __name__ == "__main__":
    main()
