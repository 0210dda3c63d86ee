"""Another revision of this repository in a folder of its own, which runs its own code and its own migrations."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.runtime import settings
from sandbox.local.binaries import NODE_FOLDER, REPOSITORY

_ROOMS = "jobs, sandbox, scheduler, webhook"


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A git worktree of the revision in a temporary folder, until the block ends. It uses the Node packages of this one."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", otherwise=f"there is no revision {revision}")
    with TemporaryDirectory(prefix="outbox-base-") as folder:
        # PostgreSQL's own user passes through.
        Path(folder).chmod(0o711)
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit, otherwise=f"cannot check out {revision}")
        try:
            (tree / NODE_FOLDER.relative_to(REPOSITORY) / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree), otherwise=f"cannot remove {tree}")


def environment(tree: Path) -> dict[str, str]:
    """Settings that let Python find the tree's code first, without any setting of the product."""
    return {**dict.fromkeys(settings.names(), ""), "PYTHONPATH": str(tree)}


def python(tree: Path, *arguments: str, cwd: Path, more: Mapping[str, str] | None = None) -> str:
    """Run Python on the tree's code and return its output. Raises SystemExit with its error if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment(tree), **(more or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} in {tree} failed: {done.stderr.strip()}")
    return done.stdout


def check_own_code(tree: Path, *, cwd: Path) -> None:
    """Raise SystemExit if Python would import one of our packages from another tree."""
    says = f"import {_ROOMS}; print(*(room.__file__ for room in ({_ROOMS})), sep='\\n')"
    for file in python(tree, "-c", says, cwd=cwd).splitlines():
        if not Path(file).resolve().is_relative_to(tree.resolve()):
            raise SystemExit(f"{file} would run instead of the code in {tree}")


def _git(*arguments: str, otherwise: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{otherwise}: {done.stderr.strip()}")
    return done.stdout.strip()
