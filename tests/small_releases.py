"""Release folders that are small enough to read, for tests of installing and upgrading."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from jobs.schema import releases
from jobs.schema.releases import MANIFEST, MIGRATIONS, UNINSTALL, Releases, digest

FIRST = {"20261123100000_outbox_0001_initial.sql": "create schema outbox_engine;\ncreate table public.outbox (id bigint);\n"}
SECOND = {
    "20261201100000_outbox_0002_pre_routes.sql": "alter table public.outbox add column route text;\n",
    "20261201100001_outbox_0002_pre_routes_index.sql": "create index concurrently if not exists routes on outbox (route);\n",
    "20261201100002_outbox_0002_post_routes.sql": "drop function if exists public.outbox_old();\n",
}
THIRD = {"20270101100000_outbox_0003_pre_events.sql": "create table public.outbox_events (id bigint);\n"}


def make_releases(folder: Path, *versions: Mapping[str, str], breaking: int | None = None) -> Path:
    """Write the files of version 1, 2 and so on, and their manifest. Release 0.N.0 brought version N."""
    (folder / MIGRATIONS).mkdir(parents=True)
    entries = []
    for number, files in enumerate(versions, 1):
        for name, text in files.items():
            (folder / MIGRATIONS / name).write_text(text, encoding="utf-8", newline="\n")
        entries.append(
            {
                "version": number,
                "release": f"0.{number}.0",
                "breaking": number == breaking,
                "frozen": False,
                "files": {name: digest(text.encode()) for name, text in files.items()},
            }
        )
    (folder / MANIFEST).write_text(json.dumps({"versions": entries}), encoding="utf-8")
    (folder / UNINSTALL).write_text("drop schema outbox_engine cascade;\n", encoding="utf-8")
    return folder


def small_releases(folder: Path, *versions: Mapping[str, str], breaking: int | None = None) -> Releases:
    """The same as values."""
    return Releases.read(make_releases(folder, *versions, breaking=breaking))


def package_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *versions: Mapping[str, str], breaking: int | None = None
) -> None:
    """Have this installation carry these versions instead of its own."""
    made = make_releases(folder, *versions, breaking=breaking)
    monkeypatch.setattr(releases, "folder", lambda: made)
