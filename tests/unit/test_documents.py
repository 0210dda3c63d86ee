"""What the documents name is there: commands with their options, settings, targets, links, events. Examples run elsewhere."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from jobs.runtime import settings
from tests.command_lines import options, refusal, resolve
from tests.documents import DOCUMENTS, ROOT, Block, blocks, commands, inline

OF_OTHERS = {
    "cat",
    "cp",
    "curl",
    "export",
    "kill",
    "mv",
    "node",
    "npm",
    "openssl",
    "pip",
    "printf",
    "psql",
    "rm",
    "supabase",
} | {*("docker", "install", "kubectl", "pipx", "ps", "python3", "systemctl", "uv", "/opt/outbox/bin/pip")}
"""Programs that are not ours."""
FILES = ("list.csv", "patients.csv")
LANGUAGES = {"console", "js", "json", "python", "sh", "sql", "toml", "ts"}
FOREIGN_SETTINGS = re.compile(
    r"^OTEL_|^(GOTRUE_|SEND_SMS_HOOK_)|^(CROWDS|HISTORIES|PREVIEWS|ON_ERROR_STOP|OUTBOX_ENV_FILE|SUPABASE_SERVICE_ROLE_KEY)$"
)
"""Settings of Auth, of tests and of psql, and two that name or replace another."""
PAGES = [ROOT / "README.md", ROOT / "llms.txt", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def known_settings() -> set[str]:
    return {field.upper() for group in settings.GROUPS for field in group.model_fields}


@documents
def test_every_block_names_a_language_that_is_checked(document: Path) -> None:
    found = [block for block in blocks(document) if block.language not in LANGUAGES]

    # A drawing has none.
    assert [
        block.where
        for block in found
        if block.language or re.search(r"^(\$|outbox|supabase|insert|select|await) ", block.text, re.M)
    ] == []


@documents
def test_command_line_accepts_every_command(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).touch()
    complaints = []
    for block in blocks(document, "console", "sh"):
        for words in commands(block):
            if words[0] == "outbox" and refusal(words[1:]):
                complaints.append(f"{block.where}: {' '.join(words)}: {refusal(words[1:])}")
            elif words[0] not in {"outbox", "make", *OF_OTHERS}:
                complaints.append(f"{block.where}: {words[0]}: an unknown program")

    assert complaints == []


@documents
def test_commands_in_text_and_their_options_exist(document: Path) -> None:
    complaints = []
    for code in inline(document):
        for said in re.findall(r"(?:^|\| )outbox ([a-z].*)", code):
            words = said.split()
            command, left = resolve(words)
            if command is None:
                complaints.append(f"{code}: there is no command {words[0]!r}")
                continue
            wrong = {word.partition("=")[0] for word in left if word.startswith("--")} - options(command)
            complaints += [f"{code}: there is no option {word}" for word in wrong]

    assert complaints == []


@documents
def test_targets_of_make_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    in_blocks = {words[1] for block in blocks(document, "console", "sh") for words in commands(block) if words[0] == "make"}
    in_text = {found for code in inline(document) for found in re.findall(r"(?:^| )make ([a-z]+)", code)}

    assert in_blocks | in_text <= targets


@documents
def test_settings_that_are_named_exist(document: Path) -> None:
    shell = "\n".join(block.text for block in blocks(document, "sh", "console"))
    named = set(re.findall(r"(?:^|[ \n])([A-Z]+_[A-Z_]+)=", shell))
    prefixes = "SUPABASE_|SINCH_|VONAGE_|WEBHOOK_|OUTBOX_|ALLOWED_|MAX_|LOG_|SENTRY_"
    named |= {name for code in inline(document) for name in re.findall(rf"\b((?:{prefixes})[A-Z_]*[A-Z])\b(?!\w)", code)}

    assert {name for name in named - known_settings() if not FOREIGN_SETTINGS.search(name)} == set()


@documents
def test_toml_and_json_can_be_read(document: Path) -> None:
    for block in blocks(document, "toml", "json"):
        read = tomllib.loads if block.language == "toml" else json.loads
        assert read(block.text), block.where


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: list[str] = []
    for heading in re.findall(
        r"^#+ (.*)$", re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M
    ):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    if page.name == "benchmarks.md":
        return  # written by `make bench`, along with what it links to
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in slugs(target)):
            broken.append(link)

    assert broken == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"(docs/{path.name}" not in readme] == []


def test_every_documented_event_is_logged_somewhere() -> None:
    folders = ("jobs", "scheduler", "webhook", "supabase")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sql")]
    said = "".join(path.read_text(encoding="utf-8") for path in sources)
    table = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")

    events = re.findall(r"`([a-z]+\.[a-z_]+)`", table)
    assert events
    assert [name for name in events if f'"{name}"' not in said and f"'{name}'" not in said] == []


def test_checks_refuse_what_is_wrong() -> None:
    """The checks above can fail."""
    assert refusal(["statsu"]) == "there is no command 'statsu'"
    assert "No such option" in refusal(["status", "--jsn"])
    assert "Missing argument" in refusal(["trace"])
    assert refusal(["routes", "set", "codes", "--plan", "sinch:P", "--below", "100"]) == ""
    block = Block(ROOT, 1, "console", "$ outbox trace 1 > file && FOO=1 make x; outbox run | head   # why\nanswer\n")
    assert list(commands(block)) == [["outbox", "trace", "1"], ["make", "x"], ["outbox", "run"], ["head"]]
