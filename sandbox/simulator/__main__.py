"""``python -m sandbox.simulator``."""

import typer

from sandbox.simulator.commands import simulator

if __name__ == "__main__":
    typer.run(simulator)
