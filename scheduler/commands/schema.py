"""`outbox schema`: compares the database's schema with this release, prints it and its types, removes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import typer
from pydantic import SecretStr
from rich.table import Table

from jobs.runtime import settings
from jobs.runtime.masking import scrub
from jobs.runtime.settings import DatabaseSettings
from jobs.schema import releases as released
from jobs.schema.compatibility import judge
from jobs.schema.installed import InstalledSchema
from jobs.schema.releases import BrokenPackage, Releases, TypesFor
from scheduler.commands.terminal import Failed, WrongUsage, console
from scheduler.commands.times import ago, utc
from scheduler.installing.script import files_between, script

_CONNECT_SECONDS: Final = 10

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Compare the database's schema with this release, print it as SQL, print its types, or remove it.",
)


@app.command("sql")
def print_sql(
    *,
    start: Annotated[
        int, typer.Option("--from", metavar="VERSION", min=0, help="The version of the database; 0 for none.")
    ] = 0,
    end: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", min=1, help="The version to upgrade to. Default: the newest.")
    ] = None,
    post: Annotated[
        bool,
        typer.Option(
            "--post", help="Print post files, which remove objects that only older releases need. With --from, only these."
        ),
    ] = False,
) -> int:
    """Print the schema as SQL, for psql and other tools.

    Each file is a transaction of its own. `outbox schema sql | psql "$OUTBOX_DB_URL" -v ON_ERROR_STOP=1` installs.
    """
    releases = _releases()
    to = releases.newest if end is None else end
    if to > releases.newest:
        raise WrongUsage(f"--to {to}: the newest schema version of this release is {releases.newest}")
    if start > to:
        raise WrongUsage(f"--from {start} is newer than version {to}; versions cannot be taken back")
    files = files_between(releases, start, to, post=post)
    typer.echo(script(files) if files else f"-- nothing to apply: the database has version {to} already\n", nl=False)
    return 0


@app.command("types")
def print_types(
    language: Annotated[TypesFor, typer.Argument(help="What the app is written in.")] = TypesFor.TYPESCRIPT,
) -> int:
    """Print types for supabase-js or for Python.

    `outbox schema types > src/outbox.types.ts`, and again after each update of the outbox.
    """
    try:
        typer.echo(released.types(language), nl=False)
    except BrokenPackage as error:
        raise Failed(str(error)) from None
    return 0


@app.command("status")
def show_status(*, as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False) -> int:
    """Compare the versions in the database with those of this release. Exit 1 if processes would refuse to work."""
    # Here and not above: the Supabase client takes a second to load, and the other commands do without it.
    from jobs.gateway.operating import Operating
    from scheduler.commands.operator import operate, say_json

    releases = _releases()

    async def work(operating: Operating) -> int:
        installed = await operating.installed_schema()
        verdict = judge(releases, installed)
        lines = _lines(releases, installed)
        if as_json:
            old = {
                "old_processes": installed and installed.old_processes,
                "old_process_seconds_ago": installed and installed.old_process_seconds_ago,
            }
            say_json({"fit": verdict.fit.value, "meaning": verdict.message, "versions": lines, **old})
        else:
            _say(lines)
            if installed is not None and installed.old_processes is not None:
                console().print(_old_processes(installed.old_processes, installed.old_process_seconds_ago))
            console().print(verdict.message or "database and release fit")
        return 0 if verdict.allows_work else 1

    return operate(work)


@app.command("drop")
def drop(*, yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it now, over OUTBOX_DB_URL.")] = False) -> int:
    """Remove the outbox from the database.

    Removes all of its objects and messages, and nothing else. Without --yes this prints the SQL for psql or the SQL
    editor. With --yes it runs the SQL over OUTBOX_DB_URL. Stop all processes first. If your own objects use the outbox, the
    error names them and nothing is removed. If the outbox is not in the database, the command says so and exits with 0.
    """
    statements = _uninstall_script()
    if not yes:
        typer.echo(statements, nl=False)
        typer.echo("outbox: nothing was removed; this is the SQL that does it, and --yes runs it", err=True)
        return 0
    url = settings.load(DatabaseSettings).outbox_db_url
    if url is None:
        typer.echo(statements, nl=False)
        raise WrongUsage("OUTBOX_DB_URL is not set, so nothing was removed: set it, or run this SQL in psql or the SQL editor")
    if _remove(url, statements):
        typer.echo("The outbox was removed. Its files in supabase/migrations stay: see docs/upgrading.md.")
    else:
        typer.echo("The outbox is not in this database; nothing was removed.")
    return 0


@dataclass(frozen=True, slots=True)
class _Line:
    """One version, and where it is: in the database, in this release, or both."""

    version: int
    release: str
    breaking: bool
    in_package: bool
    in_database: bool
    applied_at: datetime | None


def _lines(releases: Releases, installed: InstalledSchema | None) -> list[_Line]:
    known = {version.number: version for version in releases.versions}
    applied = {version.number: version for version in (installed.versions if installed else ())}
    lines = []
    for number in sorted(known.keys() | applied.keys()):
        one = applied.get(number) or known[number]
        at = applied[number].applied_at if number in applied else None
        lines.append(_Line(number, one.release, one.breaking, number in known, number in applied, at))
    return lines


def _say(lines: Sequence[_Line]) -> None:
    table = Table("version", "release", "this package", "database", box=None, padding=(0, 2, 0, 0))
    for line in lines:
        applied = utc(line.applied_at) if line.applied_at else "applied" if line.in_database else "missing"
        release = f"{line.release} (breaking)" if line.breaking else line.release
        table.add_row(str(line.version), release, "known" if line.in_package else "unknown", applied)
    console().print(table)


def _old_processes(running: int, seconds_ago: float | None) -> str:
    last = "" if seconds_ago is None else f", last seen {ago(seconds_ago)} ago"
    return f"processes of an older release: {running}{last}"


def _releases() -> Releases:
    try:
        return released.packaged()
    except BrokenPackage as error:
        raise Failed(str(error)) from None


def _uninstall_script() -> str:
    try:
        return released.uninstall_script()
    except BrokenPackage as error:
        raise Failed(str(error)) from None


def _remove(url: SecretStr, statements: str) -> bool:
    """Run the statements. Returns False if there was nothing to remove: the script itself then does nothing."""
    import psycopg

    from scheduler.wakeup import check_url

    check_url(url)
    try:
        with psycopg.connect(url.get_secret_value(), connect_timeout=_CONNECT_SECONDS, autocommit=True) as connection:
            found = connection.execute("select to_regnamespace('outbox_engine') is not null").fetchone()
            connection.execute(statements.encode())
            return found == (True,)
    except psycopg.Error as error:
        why = error.diag.message_primary or str(error).partition("\n")[0]
        raise Failed(f"nothing was removed: {scrub(why)}") from None
