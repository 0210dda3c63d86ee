"""The other revision that a paired measurement checks out."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import trees
from sandbox.local.binaries import REPOSITORY


def worktrees() -> str:
    return subprocess.run(["git", "worktree", "list"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_a_revision_is_checked_out_and_removed_again(tmp_path: Path) -> None:
    with trees.checked_out("HEAD") as tree:
        assert (tree / "supabase" / "migrations").is_dir()
        assert (tree / "sandbox" / "node" / "node_modules").is_symlink()
        trees.check_own_code(tree, cwd=tmp_path)
        assert str(tree) in worktrees()

    assert not tree.exists()
    assert (REPOSITORY / "sandbox" / "node" / "node_modules").is_dir()
    assert str(tree) not in worktrees()


def test_an_unknown_revision_is_named() -> None:
    with pytest.raises(SystemExit, match="there is no revision nowhere"), trees.checked_out("nowhere"):
        pass


def test_a_tree_without_code_would_run_anothers(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="would run instead of the code in"):
        trees.check_own_code(tmp_path, cwd=tmp_path)
