"""The documents' examples: every fenced block, the commands in it, and inline code."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "llms.txt",
    # `make bench` writes the benchmarks.
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "benchmarks.md"),
]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SETS = re.compile(r"[A-Z_]+=")
_SEPARATORS = {"&&", ";", "|", "&"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, without the indent of the list that it is in."""

    document: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.document.name}:{self.line}"


@cache
def blocks(document: Path, *languages: str) -> tuple[Block, ...]:
    """The blocks in one of these languages, in order; without languages, all."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(
            document,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
        )
        for match in _FENCE.finditer(text)
    ]
    return tuple(block for block in found if not languages or block.language in languages)


def commands(block: Block) -> Iterator[list[str]]:
    """The words of each command: in a console those after a prompt, in a shell script every line."""
    text = re.sub(r"\\\n *", "", block.text)
    text = re.sub(r"<<'?(\w+)'?(.*?)\n.*?^\1$", r"\2", text, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if block.language == "console" and not line.startswith("$ "):
            continue
        yield from _split(shlex.split(line.removeprefix("$ "), comments=True))


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in words:
        ends = word in _SEPARATORS or word.endswith(";")
        if word not in _SEPARATORS:
            command.append(word.removesuffix(";"))
        if ends:
            yield from _told(command)
            command = []
    yield from _told(command)


def _told(command: Sequence[str]) -> Iterator[list[str]]:
    """Without redirections, and without what is set for the command alone. A line of settings is no command."""
    words = list(dropwhile(_SETS.match, command))
    for sign in (">", ">>"):
        if sign in words:
            del words[words.index(sign) : words.index(sign) + 2]
    if words:
        yield words


def inline(document: Path) -> Iterator[str]:
    """The code in running text."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    for code in re.findall(r"`([^`]+)`", text):
        yield " ".join(code.split())
