"""What a long run of tests says: the tests that keep it waiting, and the slowest files."""

from tests.progress import QUIET_SECONDS, Progress


def test_only_tests_that_run_long_are_named() -> None:
    progress = Progress()
    progress.begins("a.py::one", 100.0)
    progress.begins("a.py::two", 95.0)
    progress.begins("b.py::three", 101.0)
    progress.begins("b.py::four", 90.0)
    progress.ends("b.py::four")

    assert progress.waits(100.0 + QUIET_SECONDS) == ["running for 35 s: a.py::two", "running for 30 s: a.py::one"]


def test_the_slowest_files_come_first() -> None:
    progress = Progress()
    for test, seconds in [("a.py::one", 1.0), ("b.py::two", 2.5), ("a.py::one", 2.0)]:
        progress.took(test, seconds)

    assert progress.slowest() == ["   3.0 s  a.py", "   2.5 s  b.py"]
