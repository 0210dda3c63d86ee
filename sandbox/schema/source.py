"""What stands in the SQL sources: functions with their length, and what each refers to.

The sources name everything with its schema, because a function's ``search_path`` holds neither of ours. So a reference is a
name that stands in the text, outside comments.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FUNCTION: Final = re.compile(r"^create (?:or replace )?function ([\w.]+)\s*\(.*?\$\$.*?\$\$;", re.MULTILINE | re.DOTALL)
"""A definition, and its name."""

_RELATION: Final = re.compile(r"^create (?:table|view|type|sequence) ([\w.]+)", re.MULTILINE)
_NAME: Final = re.compile(r"\b(?:outbox_engine|public)\.\w+")
_CALL: Final = re.compile(r"\b((?:outbox_engine|public)\.\w+)\s*\(")
_COMMENT: Final = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Function:
    """``calls`` are functions, ``uses`` tables, views, types and sequences, by schema and name.

    ``lines`` counts all from ``create`` to ``$$;``, comments too, but not those above it.
    """

    name: str
    file: str
    lines: int
    calls: frozenset[str]
    uses: frozenset[str]


@dataclass(frozen=True, slots=True)
class Schema:
    """``files`` in the order in which they are applied. ``relations`` maps tables, views, types and sequences to files."""

    files: tuple[str, ...]
    functions: tuple[Function, ...]
    relations: dict[str, str]

    def upward(self) -> Iterator[str]:
        """One line for each reference to an object of a later file."""
        place = {file: index for index, file in enumerate(self.files)}
        homes = {function.name: function.file for function in self.functions} | self.relations
        for function in self.functions:
            for name in sorted(function.calls | function.uses):
                if place[homes[name]] > place[function.file]:
                    yield f"{function.file}: {function.name} -> {name} ({homes[name]})"

    def cycles(self) -> Iterator[str]:
        """One line for each function that reaches itself through others."""
        for function in self.functions:
            if function.name in self.reachable(function.calls - {function.name}):
                yield f"{function.file}: {function.name} calls itself through others"

    def reachable(self, names: Iterable[str]) -> frozenset[str]:
        """These functions and all functions that they call, directly or indirectly."""
        calls = {function.name: function.calls for function in self.functions}
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(calls[name] - {name})
        return frozenset(found)


def read(folder: Path) -> Schema:
    """Read all SQL files below ``folder``."""
    return parse(texts(folder))


def texts(folder: Path) -> dict[str, str]:
    """All SQL files below ``folder`` by their names, in the order of those."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.sql"))
    return {name: (folder / name).read_text(encoding="utf-8") for name in names}


def parse(texts: dict[str, str]) -> Schema:
    """``texts`` by file, in the order in which they are applied."""
    found = {file: list(FUNCTION.finditer(text)) for file, text in texts.items()}
    names = {match.group(1) for matches in found.values() for match in matches}
    relations = {name: file for file, text in texts.items() for name in _RELATION.findall(text)}
    functions = tuple(_function(file, match, names, relations.keys()) for file, matches in found.items() for match in matches)
    return Schema(files=tuple(texts), functions=functions, relations=relations)


def _function(file: str, match: re.Match[str], names: Iterable[str], relations: Iterable[str]) -> Function:
    text = _COMMENT.sub("", match.group())
    return Function(
        name=match.group(1),
        file=file,
        lines=match.group().count("\n") + 1,
        calls=frozenset(_CALL.findall(text)) & frozenset(names) - {match.group(1)},
        uses=frozenset(_NAME.findall(text)) & frozenset(relations),
    )
