"""docs/operating.md against the migrations: it explains every alarm, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RAISED = re.compile(r"outbox_engine\.alarm(?:_at_most)?\(\s*'([\w.]+)'")
EXPLAINED = re.compile(r"^\| `([\w.]+)` \|", re.MULTILINE)


def test_every_alarm_that_can_be_raised_is_explained() -> None:
    migrations = (path.read_text(encoding="utf-8") for path in (ROOT / "supabase" / "migrations").glob("*.sql"))
    raised = {kind for text in migrations for kind in RAISED.findall(text)}

    section = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").partition("\n## Alarms\n")[2].partition("\n## ")[0]

    assert raised == set(EXPLAINED.findall(section))
