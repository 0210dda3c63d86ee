"""The machine and the versions of a measurement: without them, its numbers have no meaning."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from sandbox.local import binaries

_PACKAGES = ("supabase", "httpx", "psycopg", "aiohttp", "pgqueuer", "procrastinate")


@dataclass(frozen=True, slots=True)
class Machine:
    """``versions`` by name; ``load`` is the load average of the minute before: far from 0, other programs were running too."""

    when: str
    processor: str
    cores: int
    memory_gib: int
    system: str
    load: float
    versions: dict[str, str]
    commit: str


def describe() -> Machine:
    return Machine(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        system=f"{platform.system()} {platform.machine()}",
        load=round(os.getloadavg()[0], 1),
        versions=dict(_versions()),
        commit=_commit(binaries.REPOSITORY),
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _versions() -> list[tuple[str, str]]:
    found = [
        ("Python", platform.python_version()),
        ("PostgreSQL", _first_line([str(binaries.postgres_bin() / "postgres"), "--version"]).split()[-1]),
    ]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _commit(repository: Path) -> str:
    """A short name of the revision, marked if files were changed since, except the pages that measurements write."""
    commit = _first_line(["git", "rev-parse", "--short", "HEAD"], cwd=repository)
    changed = ["git", "status", "--porcelain", "--", ".", ":!docs"]
    return f"{commit}, changed since" if _lines(changed, cwd=repository) else commit


def _first_line(command: list[str], cwd: Path | None = None) -> str:
    return (_lines(command, cwd) or ["unknown"])[0]


def _lines(command: list[str], cwd: Path | None = None) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd).stdout.splitlines()
