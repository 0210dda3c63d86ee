"""The functions that SQL text defines and drops, so that a release can be compared with the sources."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sandbox.schema.source import FUNCTION

_DROPPED: Final = re.compile(r"^drop function (?:if exists )?([^;]+);", re.MULTILINE)
_RIGHTS: Final = re.compile(r"^(revoke|grant) (\w+) on function\s+([^;]+?)\s+((?:from|to)\s[^;]+);", re.MULTILINE)
_RETURNS: Final = re.compile(r"\breturns\s+(.*?)(?=\s+(?:language|as)\b)", re.DOTALL)
_DEFAULT: Final = re.compile(r"\s+default\s.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Definition:
    """One function. ``signature`` is what a replacement must keep: arguments without their defaults, and the result."""

    name: str
    arguments: tuple[str, ...]
    returns: str
    body: str

    @property
    def signature(self) -> str:
        return f"({', '.join(self.arguments)}) returns {self.returns}"

    def create(self, *, replaces: bool) -> str:
        """The statement that makes it. One that does not replace fails where a project has such a function of its own."""
        return f"create {'or replace ' if replaces else ''}function {self.body}"


def defined(text: str) -> dict[str, Definition]:
    """The functions of ``text`` by name, in its order. Names are unique: the sources overload nothing."""
    return {match[1]: _definition(match[1], match[0]) for match in FUNCTION.finditer(text)}


def dropped(text: str) -> set[str]:
    """The functions that ``text`` drops, by name."""
    return {_name(entry) for match in _DROPPED.finditer(text) for entry in split(match[1])}


def after(files: Iterable[str]) -> dict[str, Definition]:
    """The functions that a database has when these files were applied in their order."""
    functions: dict[str, Definition] = {}
    for text in files:
        functions |= defined(text)
        for name in dropped(text):
            functions.pop(name, None)
    return functions


def rights(text: str, names: Iterable[str]) -> list[str]:
    """The statements of ``text`` that grant and revoke rights on functions, each cut down to these functions."""
    wanted = frozenset(names)
    statements = []
    for verb, right, functions, roles in _RIGHTS.findall(text):
        listed = [entry for entry in split(functions) if _name(entry) in wanted]
        if listed:
            statements.append(f"{verb} {right} on function {', '.join(listed)} {_flat(roles)};")
    return statements


def split(text: str) -> list[str]:
    """The parts between commas that stand in no parentheses or quotes, each on one line."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == "'"
        if not quoted:
            depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [_flat(part) for part in parts if part.strip()]


def _definition(name: str, statement: str) -> Definition:
    body = statement[statement.index(name) :]
    start = body.index("(") + 1
    end = _closing(body, start)
    returns = _RETURNS.match(body[end + 1 :].lstrip())
    arguments = tuple(_DEFAULT.sub("", argument) for argument in split(body[start:end]))
    return Definition(name, arguments, "" if returns is None else _flat(returns[1]), body)


def _closing(text: str, start: int) -> int:
    """Where the parenthesis closes that was opened before ``start``."""
    depth = 1
    for index in range(start, len(text)):
        depth += (text[index] == "(") - (text[index] == ")")
        if depth == 0:
            return index
    raise ValueError(f"a parenthesis is open: {text[:60]}")


def _name(entry: str) -> str:
    return entry.partition("(")[0].strip()


def _flat(text: str) -> str:
    return " ".join(text.split())
