"""What a long run of tests says besides its dots: which tests keep it waiting, and at its end which files took longest."""

import threading
import time
from collections import defaultdict
from operator import itemgetter
from typing import Final

import pytest

QUIET_SECONDS: Final = 30.0
LONG_RUN_SECONDS: Final = 60.0
_FILES: Final = 10


class Progress:
    """Of the process that prints: with pytest-xdist it hears of the tests of all workers."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def begins(self, test: str, now: float) -> None:
        with self._lock:
            self._began[test] = now

    def ends(self, test: str) -> None:
        with self._lock:
            self._began.pop(test, None)

    def took(self, test: str, seconds: float) -> None:
        self._spent[test.partition("::")[0]] += seconds

    def waits(self, now: float) -> list[str]:
        """A line for each test that has run for long, the longest first."""
        with self._lock:
            running = sorted((began, test) for test, began in self._began.items() if now - began >= QUIET_SECONDS)
        return [f"running for {now - began:.0f} s: {test}" for began, test in running]

    def slowest(self) -> list[str]:
        """The files in which most time was spent, setup and teardown included."""
        ordered = sorted(self._spent.items(), key=itemgetter(1), reverse=True)
        return [f"{seconds:6.1f} s  {file}" for file, seconds in ordered[:_FILES]]


class Reporter:
    """Prints it in pytest's own output."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._progress = Progress()
        self._begin = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._progress.begins(nodeid, time.monotonic())

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._progress.ends(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._progress.took(report.nodeid, report.duration)

    def pytest_sessionfinish(self) -> None:
        self._ended.set()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if time.monotonic() - self._begin >= LONG_RUN_SECONDS:
            terminalreporter.section("slowest files")
            for line in self._progress.slowest():
                terminalreporter.line(line)

    def _watch(self) -> None:
        while not self._ended.wait(QUIET_SECONDS):
            out: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
            for line in self._progress.waits(time.monotonic()):
                if out is not None:
                    out.ensure_newline()
                    out.write_line(line)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(config), "progress")
