"""``outbox local``: a Supabase on this machine, without Docker."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sandbox.local.errors import StackError, WrongUsage
from sandbox.local.stack import DEFAULT_DATA_DIR, Access, down, running, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="A local Supabase: PostgreSQL and its API, with the migrations applied.",
)

DataDir = Annotated[
    Path, typer.Option("--data-dir", help="Where its data and keys are kept. Each folder is a stack of its own.")
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="The API's port; 0 takes any free one. Default: the last, or 54321."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start with an empty database. Keys and ports stay.")]
TableBrowser = Annotated[
    bool,
    typer.Option(
        "--table-browser",
        help="Let the page on / show the tables. Whoever is on this machine may then read and write them without a key.",
    ),
]


@app.command("up")
def up_command(
    data_dir: DataDir = DEFAULT_DATA_DIR, port: Port = None, fresh: Fresh = False, table_browser: TableBrowser = False
) -> None:
    """Start it in the background, apply new migrations, and print its settings as dotenv lines.

    Running already, it prints them all the same. Try: outbox local up > .env
    """
    with _one_line_errors():
        access = up(data_dir, port=port, fresh=fresh, table_browser=table_browser, progress=_progress)
        if table_browser:
            _progress(f"table browser: {access.url}/")
        _print_env(access)


@app.command("env")
def env_command(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print the settings of the one that runs, as dotenv lines."""
    with _one_line_errors():
        access = running(data_dir)
        if access is None:
            raise StackError(f"no local stack runs in {data_dir}: outbox local up starts one")
        _print_env(access)


@app.command("down")
def down_command(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop it. Its data stays."""
    with _one_line_errors():
        _progress("stopped" if down(data_dir) else f"nothing runs in {data_dir}")


def _print_env(access: Access) -> None:
    for name, value in access.env.items():
        typer.echo(f"{name}={value}")


def _progress(text: str) -> None:
    typer.echo(f"outbox local: {text}", err=True)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except StackError as error:
        _progress(str(error))
        raise typer.Exit(2 if isinstance(error, WrongUsage) else 1) from None
