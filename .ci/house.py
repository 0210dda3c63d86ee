"""House rules that no linter knows: nothing of this machine in the repository, nothing grown too long to read."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_TEST_WORDS = 8

# A lock file or a document that names a host works only where that host is the one to ask.
HOSTS = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|(?:deb|security|packages|snapshot)[.]debian[.]org|crates[.]io|yarnpkg[.]com"
)
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:work|root/[\w.]+|opt/pypi|home/\w+|Users/\w+)(?=[/\s\"'`,;:)]|$)")


def main() -> int:
    """Print one line for each broken rule and return the exit code."""
    complaints = [complaint for path in repository_files() for complaint in complaints_about(path)]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


def repository_files() -> list[Path]:
    """Every file that is in the repository, or would be with the next ``git add``."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True
    )
    paths = (Path(name) for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def complaints_about(path: Path) -> Iterator[str]:
    if path.name == "__init__.py" and path.parts[0] == "supabase":
        yield f"{path}: supabase/ must not be a Python package, it would shadow the client library"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return
    yield from places(path, text)
    # A release is one file, made of sources that are held to the limit. So are the types that apps get.
    if path.suffix in {".py", ".sql"} and path.parts[:2] not in {("supabase", "migrations"), ("supabase", "types")}:
        yield from length(path, text)
    if path.suffix == ".py":
        yield from functions(path, text)
    if path.name == "package-lock.json":
        yield from unlocked(path, text)


def places(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for found in (*HOSTS.finditer(line), *MACHINE_PATHS.finditer(line)):
            yield f"{path}:{number}: names {found.group()!r}, which is not everybody's"


def length(path: Path, text: str) -> Iterator[str]:
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, more than {MAX_FILE_LINES}"


def functions(path: Path, text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, more than {MAX_FUNCTION_LINES}"
            words = node.name.count("_")
            if node.name.startswith("test_") and words > MAX_TEST_WORDS:
                yield f"{path}:{node.lineno}: {node.name} has {words} words, more than {MAX_TEST_WORDS}"


def unlocked(path: Path, text: str) -> Iterator[str]:
    packages = json.loads(text)["packages"]
    wanted = json.loads(path.with_name("package.json").read_text(encoding="utf-8"))
    for kind in ("dependencies", "devDependencies", "optionalDependencies"):
        if packages[""].get(kind) != wanted.get(kind):
            yield f"{path}: does not fit package.json; make lock renews it"
    for name, package in packages.items():
        if "resolved" in package:
            yield f"{path}: {name} names where it comes from; make lock leaves that out"
        if name and "integrity" not in package:
            yield f"{path}: {name} has no hash"


if __name__ == "__main__":
    sys.exit(main())
