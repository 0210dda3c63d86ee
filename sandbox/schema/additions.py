"""What a pre file may do while processes of the release before it run: a list of statements. All others are refused.

A statement that is not on the list may be harmless, but its text does not show that. It belongs into the post file, or into
this list, which docs/decisions/0011-later-releases.md explains.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from sandbox.schema.definitions import split

_ADDS: Final = re.compile(
    r"(create (or replace )?(unlogged )?(constraint )?(table|view|type|sequence|index|policy|trigger|function)\b"
    r"|grant |comment on |insert into |select (outbox_engine\.|public\.outbox_)\w+ ?\()"
)
_TAKES: Final = re.compile(r"(drop|revoke|rename|alter \w+ \S+ (drop|rename))\b")
_MADE: Final = re.compile(
    r"create (?:or replace )?(?:unlogged )?(?:constraint |unique )?(?P<kind>table|view|type|sequence|policy|trigger|index)"
    r" (?:if not exists )?(?P<name>[\w.]+)(?:.*? on (?P<table>[\w.]+))?"
)
_DROP: Final = re.compile(r"drop (?P<kind>trigger|policy|index) (?:if exists )?(?P<name>[\w.]+)(?: on (?P<table>[\w.]+))?")
_REVOKE: Final = re.compile(r"revoke [^;]*? on (?:table |sequence |type )?(?P<names>[\w.]+(?:, ?[\w.]+)*) from ")
_LIMITS: Final = re.compile(
    r"create (unique index .*? on (?P<indexed>[\w.]+)|policy \w+ on (?P<guarded>[\w.]+) as restrictive)\b"
)

_ALTER_TYPE: Final = re.compile(r"alter type \S+ (?P<actions>.*)")
_ALTER_TABLE: Final = re.compile(r"alter table (?:if exists )?(?:only )?(?P<table>[\w.]+) (?P<actions>.*)")
_ADD_CONSTRAINT: Final = re.compile(r"add (constraint|primary key|unique|check|foreign key|exclude)\b.*")
_DROP_CONSTRAINT: Final = re.compile(r"drop constraint (?:if exists )?(?P<name>\w+)")
_ADD_COLUMN: Final = re.compile(r"add (?:column )?(?:if not exists )?\w+ (?P<rest>.*)")

_CAST: Final = r"(?:::[a-z_.]+(?: precision| varying| with(?:out)? time zone)?(?:\[\])?)?"
_CONSTANT: Final = rf"(?:[-+]?[\d.]+|true|false|null|(?:[a-z]+ )?'(?:[^']|'')*'){_CAST}"
_DEFAULT: Final = re.compile(rf" default {_CONSTANT}(?=$| (?:not null|null|unique|check|references|collate)\b)")
_MORE_THAN_A_COLUMN: Final = re.compile(r"\b(default|generated|references|check|unique|primary key|(?:big|small)?serial)\b")

_REMOVES: Final = "takes away what older processes use: it belongs into a post file"
_UNKNOWN: Final = "is not on the list of what a pre file may do: see docs/decisions/0011-later-releases.md"
_REFUSES_ROWS: Final = "makes writes of older processes fail"


def refusals(statements: Sequence[str]) -> Iterator[str]:
    """One line for each statement of a pre file that is not on the list: how it begins, and why it is refused."""
    flat = [" ".join(statement.split()).lower() for statement in statements]
    for place, statement in enumerate(flat):
        reason = _Around(made=_made(flat), behind=flat[place + 1 :]).refusal(statement)
        if reason is not None:
            yield f"`{statement[:70]}{'…' * (len(statement) > 70)}` {reason}"


class _Around:
    """The file around a statement: what all of it makes, and the statements behind this one."""

    def __init__(self, *, made: Sequence[re.Match[str]], behind: Sequence[str]) -> None:
        self._new = {_bare(found["name"]) for found in made}
        self._new_tables = {_bare(found["name"]) for found in made if found["kind"] == "table"}
        self._behind = behind

    def refusal(self, statement: str) -> str | None:
        """Why this statement is refused; None if it is allowed."""
        if (alter := _ALTER_TABLE.fullmatch(statement)) is not None:
            return None if self._is_new_table(alter["table"]) else self._alteration(alter["table"], split(alter["actions"]))
        if (alter := _ALTER_TYPE.fullmatch(statement)) is not None:
            return None if all(action.startswith("add ") for action in split(alter["actions"])) else _by_default(statement)
        if (limit := _LIMITS.match(statement)) is not None:
            return (
                None
                if self._is_new_table(limit["indexed"] or limit["guarded"])
                else f"{_REFUSES_ROWS}, unless its table is new"
            )
        if (drop := _DROP.fullmatch(statement)) is not None:
            return None if self._makes_again(drop) else f"{_REMOVES}, unless this file makes the {drop['kind']} again below"
        if (revoke := _REVOKE.match(statement)) is not None and all(self._is_new(name) for name in split(revoke["names"])):
            return None
        return None if _ADDS.match(statement) else _by_default(statement)

    def _alteration(self, table: str, actions: Sequence[str]) -> str | None:
        """Why a table with rows must not be changed so. The first reason of all actions counts."""
        for place, action in enumerate(actions):
            if (drop := _DROP_CONSTRAINT.fullmatch(action)) is not None:
                added = self._adds_again(table, drop["name"], actions[place + 1 :])
                reason = None if added else f"{_REMOVES}, unless this file adds the constraint again below"
            elif _ADD_CONSTRAINT.fullmatch(action):
                reason = None if action.endswith(" not valid") else "reads the table under an exclusive lock: add it not valid"
            elif (column := _ADD_COLUMN.fullmatch(action)) is not None:
                reason = _column(column["rest"])
            else:
                reason = _by_default(action)
            if reason is not None:
                return reason
        return None

    def _adds_again(self, table: str, constraint: str, actions: Sequence[str]) -> bool:
        later = [*actions]
        for alter in filter(None, map(_ALTER_TABLE.fullmatch, self._behind)):
            later += split(alter["actions"]) if _bare(alter["table"]) == _bare(table) else []
        return any(action.startswith(f"add constraint {constraint} ") for action in later)

    def _makes_again(self, drop: re.Match[str]) -> bool:
        return any(
            (found["kind"], _bare(found["name"])) == (drop["kind"], _bare(drop["name"]))
            and (drop["table"] is None or _bare(drop["table"]) == _bare(found["table"]))
            for found in _made(self._behind)
        )

    def _is_new_table(self, name: str) -> bool:
        return _bare(name) in self._new_tables

    def _is_new(self, name: str) -> bool:
        """Whether this file makes it, or it is the sequence of a column of a table that this file makes."""
        return _bare(name) in self._new or any(re.fullmatch(rf"{table}_\w+_seq", _bare(name)) for table in self._new_tables)


def _made(statements: Sequence[str]) -> list[re.Match[str]]:
    return [found for statement in statements if (found := _MADE.match(statement)) is not None]


def _column(rest: str) -> str | None:
    """Why a column must not be added to a table with rows: ``rest`` is its type and what else it has."""
    without_default = _DEFAULT.sub("", rest)
    more = _MORE_THAN_A_COLUMN.search(without_default)
    if more is not None and more[0] == "default":
        return "may rewrite the table under an exclusive lock: only constants are defaults of new columns"
    if more is not None:
        return f"adds more than a column ({more[0]}): a new column has a type, and not null with a constant default"
    if " not null" in without_default and without_default == rest:
        return f"{_REFUSES_ROWS}: a new column may be null, or has a constant default"
    return None


def _by_default(statement: str) -> str:
    return _REMOVES if _TAKES.match(statement) else _UNKNOWN


def _bare(name: str) -> str:
    """The name without its schema."""
    return name.rpartition(".")[2]
