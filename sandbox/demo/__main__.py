"""``python -m sandbox.demo``."""

import typer

from sandbox.demo.commands import demo

typer.run(demo)
