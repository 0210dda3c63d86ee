"""The official Supabase CLI's judgement of ``supabase/``, on each supported PostgreSQL: ``python -m sandbox.local.judge``.

Each gets an empty cluster, with the API's three roles and nothing else of Supabase's. There ``supabase db push`` must apply the
migrations, a second push must find nothing left to do, ``supabase db advisors`` must find nothing at level warning, and
``supabase/schemas`` must make the same catalogue. No Supabase Lite serves these databases: it would change what is judged.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from sandbox.local import binaries, bootstrap, ports
from sandbox.local.errors import StackError
from sandbox.local.postgres import SUPERUSER, PostgresServer
from sandbox.schema import release, source
from sandbox.schema.catalogue import catalogue

CLI_SECONDS = 180.0
_NOTHING_TO_DO = "up to date"
_DEBIAN = Path("/usr/lib/postgresql")
_WANTED_FROM_DEBIAN = "15"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Installation:
    """One PostgreSQL on this machine."""

    name: str
    bin: Path


class Verdict(StackError):
    """The CLI refused. The text is its output."""


def main() -> int:
    """Judge on every installed PostgreSQL, and return 1 if any refuses, or if one is missing in CI."""
    refused = 0
    try:
        found = installations(_say)
    except StackError as missing:
        _say(str(missing))
        return 1
    for installation in found:
        began = monotonic()
        try:
            judge(installation, _say)
            _say(f"{installation.name}: good ({monotonic() - began:.0f} s)")
        except StackError as verdict:
            refused += 1
            _say(f"{installation.name}: {verdict}")
    return 1 if refused else 0


def installations(say: Say) -> list[Installation]:
    """The embedded PostgreSQL and Debian's, which root may install where it is missing. CI must have both."""
    embedded = Installation("embedded PostgreSQL", binaries.postgres_bin())
    debian = _DEBIAN / _WANTED_FROM_DEBIAN / "bin"
    if not (debian / "initdb").is_file():
        why_not = _install_debian()
        if why_not is not None:
            if os.environ.get("CI"):
                raise Verdict(f"PostgreSQL {_WANTED_FROM_DEBIAN} has to be judged: {why_not}")
            say(f"PostgreSQL {_WANTED_FROM_DEBIAN}: skipped, {why_not}")
            return [embedded]
    return [Installation(f"PostgreSQL {_WANTED_FROM_DEBIAN}", debian), embedded]


def judge(installation: Installation, say: Say, supabase: Path = binaries.SUPABASE) -> None:
    """Raises :class:`Verdict` with the CLI's output, or :class:`StackError` if the CLI could not run."""
    folder = Path(mkdtemp(prefix="outbox-judge-"))
    folder.chmod(0o711)
    password = token_hex(16)
    server = PostgresServer(
        folder / "postgres",
        log=folder / "postgres.log",
        port=ports.free_port(),
        password=password,
        durable=False,
        binaries_in=installation.bin,
    )
    try:
        # The CLI writes beside the files that it reads, so it gets a copy.
        shutil.copytree(supabase, folder / "supabase", ignore=shutil.ignore_patterns(".temp", ".branches"))
        server.create()
        server.start()
        bootstrap.make_roles(server.url(SUPERUSER), password)
        _push_and_advise(folder, server.url(), lambda text: say(f"{installation.name}: {text}"))
        _compare(server)
        say(f"{installation.name}: supabase/schemas makes the same catalogue")
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _push_and_advise(folder: Path, url: str, say: Say) -> None:
    _cli(folder, "db", "push", f"--remote={url}", "--yes")
    say("db push applied the migrations")
    said = _cli(folder, "db", "push", f"--remote={url}", "--yes")
    if _NOTHING_TO_DO not in said:
        raise Verdict(f"a second db push found something to do: {said.strip()}")
    say("a second db push found nothing to do")
    findings = _advice(folder, url)
    serious = [finding for finding in findings if finding["level"] != "INFO"]
    if serious:
        raise Verdict("db advisors: " + "; ".join(f"{finding['title']}: {finding['detail']}" for finding in serious))
    noted = Counter(finding["title"] for finding in findings)
    say(
        "db advisors finds nothing at level warning"
        + "".join(f", {count} × {title} for information" for title, count in noted.items())
    )


def _compare(server: PostgresServer) -> None:
    """Compare the pushed database with one that the sources make."""
    with psycopg.connect(server.url(), autocommit=True) as pushed:
        pushed.execute("create database sources")
        with psycopg.connect(make_conninfo(server.url(), dbname="sources")) as made:
            for text in source.texts(release.SCHEMAS).values():
                made.execute(text.encode())
            differing = sorted(set(catalogue(pushed)) ^ set(catalogue(made)))
    if differing:
        raise Verdict(f"supabase/schemas and supabase/migrations differ in {len(differing)} lines: {differing[0]}")


def _advice(folder: Path, url: str) -> list[dict[str, Any]]:
    # All levels are requested and judged here, so that the output shows level information too.
    printed = _cli(
        folder, "db", "advisors", f"--remote={url}", "--level", "info", "--fail-on", "none", "--output-format", "json"
    )
    found: list[dict[str, Any]] = json.loads(printed[printed.index("{") :])["results"]
    return found


def _cli(folder: Path, *words: str) -> str:
    """Run the CLI and return what it printed on stdout."""
    command: list[str | Path] = [binaries.node(), binaries.supabase_cli(), "--workdir", folder, *words]
    # A home folder of its own: neither a login nor a notice about a newer version must have an effect.
    own = {"HOME": str(folder), "SUPABASE_HOME": str(folder / "home"), "DO_NOT_TRACK": "1", "NO_COLOR": "1"}
    own |= {"SUPABASE_TELEMETRY_DISABLED": "1", "SUPABASE_NO_UPDATE_NOTIFIER": "1"}
    try:
        done = subprocess.run(
            command,
            env={"PATH": os.environ.get("PATH", os.defpath)} | own,
            capture_output=True,
            text=True,
            timeout=CLI_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Verdict(f"supabase {words[0]} {words[1]} did not end within {CLI_SECONDS:.0f} seconds") from None
    if done.returncode != 0:
        raise Verdict(f"supabase {words[0]} {words[1]} ends with {done.returncode}: {(done.stderr + done.stdout).strip()}")
    return done.stdout


def _install_debian() -> str | None:
    """Install it with apt-get. Returns the error, or None on success."""
    apt = shutil.which("apt-get")
    if apt is None:
        return "it is not installed and this machine has no apt-get"
    if os.geteuid() != 0:
        return f"it is not installed and only root may: apt-get install postgresql-{_WANTED_FROM_DEBIAN}"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", f"postgresql-{_WANTED_FROM_DEBIAN}"]):
        done = subprocess.run([apt, *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"apt-get {words[0]} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
