"""What the types say, without the words of a language."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Value:
    """What a column or an argument holds: a PostgreSQL type by its name, or some of its values."""

    type: str
    is_array: bool = False
    is_nullable: bool = False
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """``insert`` and ``update`` are None if the engine writes the column. ``is_required`` is about inserts."""

    name: str
    row: Value
    insert: Value | None = None
    update: Value | None = None
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Relationship:
    """A foreign key."""

    name: str
    columns: tuple[str, ...]
    is_one_to_one: bool
    to_table: str
    to_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """``columns`` are sorted by name."""

    name: str
    columns: tuple[Column, ...]
    relationships: tuple[Relationship, ...] = ()
    is_view: bool = False

    @property
    def inserts(self) -> bool:
        return any(column.insert for column in self.columns)

    @property
    def updates(self) -> bool:
        return any(column.update for column in self.columns)


@dataclass(frozen=True, slots=True)
class Argument:
    """``name`` is empty if the function does not name it."""

    name: str
    value: Value
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Function:
    """``table`` is the table that it takes a row of, if it is a relationship of that table."""

    name: str
    arguments: tuple[Argument, ...]
    returns: Value
    is_set: bool
    table: str | None


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables, views and functions, sorted by name."""

    tables: tuple[Table, ...]
    functions: tuple[Function, ...]

    def unions(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The name of the type of each column and field that holds one of some values, and the values."""
        for table in self.tables:
            for column in table.columns:
                if column.row.values:
                    yield union_name(table.name, column.name), column.row.values
        for answer in ANSWERS.values():
            for name, value in answer.fields:
                if value.values:
                    yield answer.union_name(name), value.values


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON that a function returns: ``fields`` of one object, or of each object of a list."""

    name: str
    is_list: bool
    fields: tuple[tuple[str, Value], ...]

    def union_name(self, field: str) -> str:
        return f"{self.name}{camel(field)}"


def _or_null(type_: str) -> Value:
    return Value(type_, is_nullable=True)


_OUTCOMES: Final = (
    *("changed", "unchanged", "revived"),
    *("too_late", "was_in_request", "campaign", "in_doubt", "text_removed", "missing"),
)
ANSWERS: Final = {
    "outbox_preview_campaign": Answer(
        "CampaignPreview",
        is_list=True,
        fields=(
            ("external_id", Value("text")),
            ("recipient", Value("text")),
            ("send_at", Value("timestamptz")),
            ("local_time", _or_null("timestamp")),
            ("body", _or_null("text")),
            ("parts", _or_null("int4")),
            ("country", _or_null("text")),
            ("problem", _or_null("text")),
        ),
    ),
    "outbox_reschedule": Answer(
        "RescheduleAnswer",
        is_list=False,
        fields=(
            ("in_time", Value("bool")),
            ("outcome", Value("text", values=_OUTCOMES)),
            ("id", _or_null("int8")),
            ("status", _or_null("OutboxStatus")),
            ("send_at", _or_null("timestamptz")),
            ("expires_at", _or_null("timestamptz")),
            ("reason", _or_null("text")),
            ("hint", _or_null("text")),
        ),
    ),
    "outbox_text": Answer(
        "TextCost",
        is_list=False,
        fields=(
            ("characters", Value("int4")),
            ("parts", Value("int4")),
            ("alphabet", Value("text", values=("GSM-7", "UCS-2"))),
            ("beyond_gsm7", Value("text", is_array=True)),
            ("plain", Value("text")),
            ("plain_parts", Value("int4")),
        ),
    ),
}
"""The functions that apps call and that answer in JSON. A test holds them against real answers.

A type with a capital letter is a type of these files.
"""


def camel(name: str) -> str:
    """``outbox_campaigns`` as ``OutboxCampaigns``."""
    return "".join(word.capitalize() for word in name.split("_"))


def union_name(table: str, column: str) -> str:
    """The name of the type of a column that holds one of some values."""
    return camel(f"{table}_{column}")
