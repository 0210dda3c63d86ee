"""The files that `docker build` would send: those of the repository that `.dockerignore` lets through."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A list that leaves everything out, then lets names at the top in, then leaves out some of what is in them."""

    allowed: frozenset[str]
    anywhere: tuple[str, ...]
    folders: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Ignored":
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
        if lines[0] != "*":
            raise ValueError(f"{path.name}: its first pattern must be *")
        allowed = frozenset(line[1:] for line in lines if line.startswith("!"))
        others = [line for line in lines[1:] if not line.startswith("!")]
        anywhere = tuple(line.removeprefix("**/") for line in others if line.startswith("**/"))
        folders = tuple(line for line in others if not line.startswith("**/"))
        if (
            odd := [one for one in allowed if "/" in one]
            + [one for one in anywhere if "/" in one]
            + [one for one in folders if "*" in one]
        ):
            raise ValueError(f"{path.name}: patterns of this form are not known: {odd}")
        return cls(allowed, anywhere, folders)

    def lets(self, path: str) -> bool:
        parts = path.split("/")
        return (
            parts[0] in self.allowed
            and not any(fnmatch(part, pattern) for part in parts for pattern in self.anywhere)
            and not any(path == folder or path.startswith(f"{folder}/") for folder in self.folders)
        )


def files() -> Iterator[str]:
    """Their paths, without what Git ignores: a builder has a clone."""
    ignored = Ignored.read(ROOT / ".dockerignore")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield from sorted(path for path in listed.split("\0") if path and ignored.lets(path) and (ROOT / path).is_file())
