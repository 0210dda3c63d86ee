"""``outbox local``: a Supabase on this machine, without Docker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict

from sandbox.local.binaries import postgres_bin
from sandbox.local.errors import StackError, WrongUsage
from sandbox.local.stack import DEFAULT_DATA_DIR, Access, down, running, up

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="A local Supabase: PostgreSQL and its API, with the migrations of this folder's project applied.",
)

DataDir = Annotated[Path, typer.Option("--data-dir", help="The folder for data and keys. Each folder is a separate stack.")]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="The API's port; 0 picks a free one. Default: the last one, or 54321."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start with an empty database. Keys and ports stay.")]
TableBrowser = Annotated[
    bool,
    typer.Option(
        "--table-browser",
        help="Let the page on / show the tables. Any program on this machine can then read and write them without a key.",
    ),
]


OutboxOnly = Annotated[
    bool, typer.Option("--outbox-only", help="Apply the outbox's migrations alone, and none of the project in this folder.")
]


@app.command("up")
def up_command(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    port: Port = None,
    fresh: Fresh = False,
    table_browser: TableBrowser = False,
    outbox_only: OutboxOnly = False,
) -> None:
    """Start the stack in the background.

    Applies new migrations, those of the Supabase project in this folder or above it and the outbox's, and prints the settings
    as dotenv lines. If the stack runs already, this prints them all the same. Try: outbox local up > .env
    """
    with _one_line_errors():
        access = up(data_dir, port=port, fresh=fresh, table_browser=table_browser, outbox_only=outbox_only, progress=_progress)
        if table_browser:
            _progress(f"table browser: {access.url}/")
        _print_env(access)


@app.command("env")
def env_command(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Print the running stack's settings as dotenv lines."""
    with _one_line_errors():
        _print_env(_access(data_dir))


@app.command("psql", context_settings={"ignore_unknown_options": True})
def psql_command(
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments for psql, such as -c 'select 1'.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run psql on the running stack.

    It uses the role of a hosted project's SQL editor. Try: outbox local psql -c 'table outbox'
    """
    with _one_line_errors():
        server = conninfo_to_dict(_access(data_dir).db_url)
        program = postgres_bin() / "psql"
        if not program.is_file():
            raise StackError(f"OUTBOX_LOCAL_PG_BIN: there is no psql in {program.parent}")
    # Not as a URL among the arguments, where every user of the machine could read the password.
    place = {
        "PGHOST": server["host"], "PGPORT": server["port"], "PGUSER": server["user"], "PGPASSWORD": server["password"],
        "PGDATABASE": server["dbname"], "PGSSLMODE": server["sslmode"],
    }  # fmt: skip
    # Without variables that lead libpq elsewhere, such as PGSERVICE or PGHOSTADDR.
    others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment = others | {name: str(value) for name, value in place.items()}
    os.execve(program, ["psql", *(arguments or [])], environment)  # noqa: S606  psql is to have the terminal


@app.command("down")
def down_command(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Stop the stack. Its data stays."""
    with _one_line_errors():
        _progress("stopped" if down(data_dir) else f"nothing runs in {data_dir}")


def _access(data_dir: Path) -> Access:
    access = running(data_dir)
    if access is None:
        raise StackError(f"no local stack runs in {data_dir}: outbox local up starts one")
    return access


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
