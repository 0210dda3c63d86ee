"""The functions and tables that the released files create, to compare with those of a database."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from jobs.schema.releases import Releases

_STATEMENT: Final = re.compile(
    r"^create (?:or replace )?function (?P<function>[\w.]+)\s*\(.*?\$\$(?P<source>.*?)\$\$;"
    r"|^drop function (?:if exists )?(?P<dropped>[\w.]+)"
    r"|^create table (?P<table>[\w.]+)"
    r"|^drop table (?:if exists )?(?P<dropped_table>[\w.]+)",
    re.MULTILINE | re.DOTALL,
)
_REPLACES: Final = "create or replace"


@dataclass(frozen=True, slots=True)
class Difference:
    """How the functions of a database differ from the released ones. Each is a list of names.

    ``missing`` are not there, ``older`` have the source of an earlier release, ``edited`` one that no release has.
    """

    missing: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """``newest`` has the digest of each function's latest source, ``released`` the digests of all sources that it ever had."""

    newest: Mapping[str, str]
    released: Mapping[str, frozenset[str]]
    tables: frozenset[str]

    @classmethod
    def read(cls, releases: Releases) -> "Sources":
        """What the files of all versions create, in order. Functions and tables that a later file drops are not expected."""
        newest: dict[str, str] = {}
        released: defaultdict[str, set[str]] = defaultdict(set)
        overloads: Counter[str] = Counter()
        tables: set[str] = set()
        for file in releases.files:
            for found in _STATEMENT.finditer(file.text):
                if name := found["function"]:
                    newest[name] = digest(found["source"])
                    released[name].add(newest[name])
                    overloads[name] += 0 if found[0].startswith(_REPLACES) and overloads[name] else 1
                elif name := found["dropped"]:
                    overloads[name] -= 1
                    if overloads[name] <= 0:
                        newest.pop(name, None)
                elif name := found["table"]:
                    tables.add(name)
                else:
                    tables.discard(found["dropped_table"])
        return cls(newest, {name: frozenset(digests) for name, digests in released.items()}, frozenset(tables))

    def compare(self, functions: Mapping[str, Iterable[str]]) -> Difference:
        """Compare with the functions of a database: the digests of the sources by name, several for overloads."""
        missing, older, edited = [], [], []
        for name, wanted in sorted(self.newest.items()):
            found = frozenset(functions.get(name, ()))
            if not found:
                missing.append(name)
            elif found - self.released[name]:
                edited.append(name)
            elif wanted not in found:
                older.append(name)
        return Difference(tuple(missing), tuple(older), tuple(edited))


def digest(source: str) -> str:
    """The digest that the database calculates of a function's source, whatever its line endings."""
    return hashlib.md5(source.replace("\r", "").encode(), usedforsecurity=False).hexdigest()
