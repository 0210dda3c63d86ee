"""The dashboard and the alert rules name metrics and labels that exist, and the rules do what they say."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from tests.unit.test_exposition import NAMES

FOLDER = Path(__file__).parents[2] / "monitoring"
RULES, TESTS, DASHBOARD = (FOLDER / f"outbox.{name}" for name in ("rules.yaml", "rules.test.yaml", "dashboard.json"))
DOCUMENT = FOLDER.parent / "docs" / "metrics.md"
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
LABELS = {
    f"{name}{suffix}": {*labels, *(["le"] if suffix == "_bucket" else [])}
    for name, kind, labels in NAMES
    for suffix in SAMPLES[kind]
}
OF_PROMETHEUS = {"exported_job", "instance"}
UNPACKED = FOLDER.parent / ".outbox/prometheus/usr/bin/promtool"
ADVICE = "no promtool found: run .ci/promtool, install Debian's package prometheus, or set PROMTOOL to its path"


def expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def texts() -> list[str]:
    return [*expressions(), RULES.read_text(encoding="utf-8"), TESTS.read_text(encoding="utf-8")]


def test_metrics_that_are_named_exist() -> None:
    named = {name for text in texts() for name in re.findall(r"\boutbox_[a-z_]+", text)}

    assert named - LABELS.keys() == set()
    assert {name for name, _, _ in NAMES} - {re.sub("_(total|bucket|sum|count)$", "", name) for name in named} == set()


def test_labels_that_are_named_exist() -> None:
    wrong = [
        f"{name}: {label}"
        for text in texts()
        for name, selector in re.findall(r"\b(outbox_[a-z_]+)\{([^}]*)\}", text)
        for label in re.findall(r"(\w+)(?:=|!=|=~|!~)\"", selector)
        if label not in LABELS[name] | OF_PROMETHEUS
    ]

    assert wrong == []


def test_document_explains_each_metric_and_alert() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    rows = {
        name: {*re.findall(r"`(\w+)`", labels)}
        for name, labels in re.findall(r"^\| `(outbox_\w+)` \|([^|]*)\|", document, re.M)
    }
    alerts = {*re.findall(r"^\| `(Outbox\w+)` \|", document, re.M)}

    always = {f"{name}{'_total' if kind == 'counter' else ''}": {*labels} for name, kind, labels in NAMES}
    assert rows == always | {"outbox_messages_by_country": {"country", "status"}}
    assert alerts == {*re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8"))}


def test_alerts_fire_when_they_should() -> None:
    ran = promtool("test", "rules", TESTS)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_expressions_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    records = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "1m")}
        for n, expression in enumerate(expressions())
    ]
    # JSON is YAML.
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": records}]}))

    ran = promtool("check", "rules", tmp_path / "rules.yaml")

    assert ran.returncode == 0, ran.stdout + ran.stderr


def promtool(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run it. Without one the test is skipped, but in CI it fails."""
    tool = os.environ.get("PROMTOOL") or which("promtool") or which(UNPACKED)
    if tool is None:
        if os.environ.get("CI"):
            pytest.fail(ADVICE)
        pytest.skip(ADVICE)
    return subprocess.run([tool, *words], capture_output=True, text=True, check=False, timeout=120)
