"""``python -m sandbox.local`` is ``outbox local``."""

from sandbox.local.commands import app

app(prog_name="outbox local")
