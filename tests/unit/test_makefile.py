"""`make help` on a terminal of 80 columns."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_help_lists_targets_in_80_columns() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    ran = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert re.findall(r"^  make ([a-z]+)  ", ran.stdout, re.MULTILINE) == targets
    assert [line for line in ran.stdout.splitlines() if len(line) > 80] == []
