"""Who looks at the dashboard, and what they may do."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """A higher role may do everything that a lower one may."""

    PUBLIC = 0
    VIEWER = 1
    OPERATOR = 2


@dataclass(frozen=True, slots=True)
class Person:
    """A person who has signed in. ``name`` stands in the audit log. ``account`` is the id at Supabase Auth, empty elsewhere."""

    name: str
    role: Role
    account: str = ""

    @property
    def is_operator(self) -> bool:
        return self.role >= Role.OPERATOR
