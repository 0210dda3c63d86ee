"""The Python types that ship, held against rows that the API returns and answers of real functions."""

import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import msgspec
import pytest
from supabase import create_client
from supabase.lib.client_options import SyncClientOptions

from jobs.schema import releases
from jobs.schema.releases import TypesFor
from sandbox.local.stack import LocalStack
from sandbox.types.model import ANSWERS, camel
from sandbox.types.probing import SAMPLES
from tests.auth_events import seed_templates
from tests.stack import Connection

DOCUMENT = Path(__file__).parents[2] / "docs" / "examples.md"


@pytest.fixture(scope="module")
def outbox_types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The file, imported by an app that copied it."""
    path = tmp_path_factory.mktemp("app") / TypesFor.PYTHON.file
    path.write_text(releases.types(TypesFor.PYTHON), encoding="utf-8")
    spec = spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


@pytest.fixture
def server(stack: LocalStack, db: Connection) -> Iterator[httpx.Client]:
    seed_templates(db)
    with httpx.Client(base_url=f"{stack.url}/rest/v1/", headers={"apikey": stack.secret_key}) as client:
        yield client


def test_rows_and_answers_have_their_types(outbox_types: ModuleType, server: httpx.Client, db: Connection) -> None:
    for table, sample in SAMPLES.items():
        written = getattr(outbox_types, f"{camel(table)}Insert")
        msgspec.convert(sample, written)
        assert written.__required_keys__ <= sample.keys() <= written.__annotations__.keys()
        server.post(table, json=sample).raise_for_status()
    server.patch("outbox", params={"id": "gt.0"}, json={"body": "Changed"}).raise_for_status()

    seen = set()
    for name, row_type in _named(outbox_types, "Row"):
        for row in server.get(name).raise_for_status().json():
            msgspec.convert(row, row_type)
            assert row.keys() == row_type.__annotations__.keys()
            seen.add(name)
    assert {*SAMPLES, "outbox_auth_settings", "outbox_events", "outbox_figures"} <= seen

    (message,) = db.execute("select id from public.outbox").fetchall()
    asked = {
        "outbox_preview_campaign": {"campaign": "sample", "max_rows": 1},
        "outbox_reschedule": {"p_id": message[0], "p_send_at": "2098-01-15T09:00:00Z"},
        "outbox_text": {"p_body": "“Hello”"},
    }
    for function, answer in ANSWERS.items():
        said = server.post(f"rpc/{function}", json=asked[function]).raise_for_status().json()
        (told,) = said if answer.is_list else [said]
        answer_type = getattr(outbox_types, answer.name)
        msgspec.convert(told, answer_type)
        assert told.keys() == answer_type.__annotations__.keys()


def test_documented_insert_is_typed_and_works(outbox_types: ModuleType, stack: LocalStack, db: Connection) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    with httpx.Client() as http:
        names = {"supabase": create_client(stack.url, stack.secret_key, SyncClientOptions(httpx_client=http))}
        exec(block, names)  # noqa: S102  # it is ours

    assert db.execute("select idempotency_key from public.outbox").fetchall() == [("order-7",)]


def test_engine_columns_cannot_be_written(outbox_types: ModuleType) -> None:
    inserts, updates = outbox_types.OutboxInsert.__annotations__, outbox_types.OutboxUpdate.__annotations__

    assert {"status", "attempts", "id", "route", "created_at"}.isdisjoint(inserts)
    assert {"recipient", "owner_id", "secret"} <= inserts.keys()
    assert msgspec.convert({"status": "cancelled"}, outbox_types.OutboxUpdate)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"status": "delivered"}, outbox_types.OutboxUpdate)
    assert {"sender", "owner_id", "attempts"}.isdisjoint(updates)


def _named(module: ModuleType, suffix: str) -> Iterator[tuple[str, Any]]:
    """The name of each table, and its type."""
    for name, found in vars(module).items():
        if name.endswith(suffix):
            words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name.removesuffix(suffix))
            yield words.removeprefix("_"), found
