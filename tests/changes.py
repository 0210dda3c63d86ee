"""Changes of messages that wait, as apps make them."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import pytest
from psycopg.types.json import Jsonb

from sandbox.local.stack import LocalStack
from tests.stack import Connection

USER: Final = "0b2e4a5c-0000-4000-8000-000000000001"


@pytest.fixture
def app(stack: LocalStack) -> Iterator[Connection]:
    """An app's server, with the project's secret key."""
    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as connection:
        connection.execute("set role service_role")
        yield connection


@pytest.fixture
def user(stack: LocalStack) -> Iterator[Connection]:
    """A signed-in user, whose id is ``USER``."""
    with closing(psycopg.connect(stack.admin_url, autocommit=True)) as connection:
        connection.execute("select set_config('request.jwt.claims', %s, false)", [json.dumps({"sub": USER})])
        connection.execute("set role authenticated")
        yield connection


def change(app: Connection, outbox_id: int, **columns: Any) -> int:
    """How many rows an app's update changes."""
    sets = ", ".join(f"{name} = %s" for name in columns)
    values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
    return app.execute(f"update public.outbox set {sets} where id = %s", [*values, outbox_id]).rowcount


def reschedule(app: Connection, **arguments: Any) -> dict[str, Any]:
    named = ", ".join(f"p_{name} => %s" for name in arguments)
    values = [Jsonb(value) if isinstance(value, dict) else value for value in arguments.values()]
    (answer,) = app.execute(f"select public.outbox_reschedule({named})", values).fetchone() or (None,)
    assert isinstance(answer, dict)
    return answer


def in_hours(db: Connection, hours: float) -> datetime:
    (at,) = db.execute("select outbox_engine.now() + %s", [timedelta(hours=hours)]).fetchone() or (None,)
    assert isinstance(at, datetime)
    return at
