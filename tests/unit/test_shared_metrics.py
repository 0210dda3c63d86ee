"""The directory that workers share for their metrics, and those that killed processes left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webhook import shared_metrics

HOLD = """
import pathlib, sys
from webhook import shared_metrics
shared_metrics._MEMORY = pathlib.Path(sys.argv[1])
with shared_metrics.shared_values():
    print("ready", flush=True)
    sys.stdin.read()
"""


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("outbox-metrics-*"))


def test_directory_of_a_killed_process_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process that runs stays, and so does what no process has locked."""
    monkeypatch.setattr(shared_metrics, "_MEMORY", tmp_path)
    (tmp_path / "outbox-metrics-other").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        held = folders(tmp_path)
        assert len(held) == 2

        with shared_metrics.shared_values():
            assert set(held) < set(folders(tmp_path))
            assert os.environ[shared_metrics.VARIABLE].startswith(str(tmp_path))
        assert folders(tmp_path) == held

        process.kill()
    assert folders(tmp_path) == held

    with shared_metrics.shared_values():
        assert set(folders(tmp_path)) & set(held) == {"outbox-metrics-other"}
    assert folders(tmp_path) == ["outbox-metrics-other"]
