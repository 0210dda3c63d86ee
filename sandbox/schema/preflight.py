"""The first check of a release: one error that lists every name in ``public`` that the project has taken.

``00_preflight.sql`` checks all names of the newest version. A later version checks those that it adds, in the same words.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import fill
from typing import Final

from sandbox.schema.statements import statements

SOURCE: Final = "00_preflight.sql"

_LIST: Final = re.compile(r"\bv_(relations|functions) constant text\[\] := (?:array\[(.*?)\]|'\{\}');", re.DOTALL)
_NAME: Final = re.compile(r"'(\w+)'")
_COLUMNS: Final = 110


@dataclass(frozen=True, slots=True)
class Names:
    """Names in ``public``. ``relations`` are tables, views, types, sequences and indexes."""

    relations: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()

    def __sub__(self, others: "Names") -> "Names":
        return Names(self.relations - others.relations, self.functions - others.functions)

    def __bool__(self) -> bool:
        return bool(self.relations or self.functions)


def checked(texts: Iterable[str]) -> Names:
    """All names that any of these files checks."""
    found: dict[str, set[str]] = {"relations": set(), "functions": set()}
    for text in texts:
        for kind, names in _LIST.findall(text):
            found[kind].update(_NAME.findall(names))
    return Names(frozenset(found["relations"]), frozenset(found["functions"]))


def check(source: str, names: Names) -> str:
    """The statement of ``source``, the text of ``00_preflight.sql``, that checks its lists, with ``names`` in their place."""
    (statement,) = [one for one in statements(source) if len(_LIST.findall(one)) == len(("relations", "functions"))]
    lists = {"relations": names.relations, "functions": names.functions}
    return _LIST.sub(lambda match: f"v_{match[1]} constant text[] := {_array(lists[match[1]])};", statement) + ";"


def _array(names: frozenset[str]) -> str:
    if not names:
        return "'{}'"
    listed = ", ".join(f"'{name}'" for name in sorted(names))
    return f"array[\n{fill(listed, _COLUMNS, initial_indent='    ', subsequent_indent='    ')}\n  ]"
