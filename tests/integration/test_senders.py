"""Sender aliases: what a sender is called at each plan, by country, and what a request then holds."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from jobs.gateway.values import Dispatch
from tests.calls import claim, claim_all, refuse
from tests.engine import statuses
from tests.stack import Connection

GERMAN, BRITISH, INDIAN = "+4915550100100", "+447700900123", "+919999900001"
DLT = {"entity_id": "1101", "content_id": "1107"}


def alias(
    db: Connection,
    sender: str | None,
    *,
    of: str | None = "Acme",
    provider: str = "sinch",
    plan: str = "p",
    country: str = "",
    options: Any = None,
) -> dict[str, Any]:
    row = db.execute(
        "select public.outbox_set_sender(%s, %s, %s, %s, %s, %s, p_allow_absent => true)",
        [of, provider, plan, sender, country, None if options is None else Jsonb(options)],
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], dict)
    return row[0]


def send(db: Connection, *recipients: str, sender: str | None = "Acme", body: str = "hello") -> None:
    for recipient in recipients:
        db.execute("insert into public.outbox (recipient, body, sender) values (%s, %s, %s)", [recipient, body, sender])


def sent(dispatches: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The numbers that each sender's requests go to."""
    numbers: dict[str, list[str]] = {}
    for dispatch in dispatches:
        numbers.setdefault(dispatch["sender"], []).extend(dispatch["recipients"])
    return numbers


def test_each_plan_has_its_own_name(db: Connection) -> None:
    alias(db, "+12025550100")
    alias(db, "ACME LTD", provider="vonage", plan="v")
    send(db, GERMAN)
    (first,) = claim_all(db, rows=1)
    send(db, BRITISH)
    (second,) = claim_all(db, provider="vonage", plan="v", recipients=1)
    send(db, INDIAN)
    (third,) = claim_all(db, plan="other")

    assert [one["sender"] for one in (first, second, third)] == ["+12025550100", "ACME LTD", "Acme"]
    assert db.execute("select distinct sender from public.outbox").fetchall() == [("Acme",)]


def test_the_country_of_a_number_decides(db: Connection) -> None:
    alias(db, "Acme GmbH", country="de")
    alias(db, "+12025550100")
    alias(db, "ACMEIN", country="IN")
    send(db, GERMAN, BRITISH, INDIAN)

    assert sent(claim_all(db)) == {"Acme GmbH": [GERMAN], "+12025550100": [BRITISH], "ACMEIN": [INDIAN]}


def test_senders_without_an_alias_stay(db: Connection) -> None:
    alias(db, "Acme GmbH", country="DE")
    send(db, BRITISH)
    send(db, GERMAN, sender="Other")
    send(db, INDIAN, sender=None)

    assert sent(claim_all(db)) == {"Acme": [BRITISH], "Other": [GERMAN], None: [INDIAN]}


def test_messages_that_go_out_alike_share_requests(db: Connection) -> None:
    """Not those with other options, or with another sender of the same name."""
    alias(db, "ACME", provider="sinch", plan="p")
    db.execute("update public.outbox_senders set options = %s", [Jsonb(DLT)])
    send(db, BRITISH, GERMAN)
    send(db, "+447700900124", sender="ACME")

    dispatches = claim_all(db)

    assert sorted(len(one["recipients"]) for one in dispatches) == [1, 2]
    assert {len(one["recipients"]): one["options"] for one in dispatches} == {1: None, 2: DLT}


@pytest.mark.parametrize("share", [False, True])
def test_different_texts_keep_their_options(db: Connection, share: bool) -> None:
    alias(db, "ACMEIN", provider="vonage", plan="v", country="IN", options=DLT)
    for n in range(12):
        send(db, f"+9199999000{n:02d}", body=f"code {n}")
        send(db, f"+4477009001{n:02d}", body=f"code {n}")

    dispatches = claim_all(db, provider="vonage", plan="v", dispatches=24, share=share)

    assert {one["sender"]: one["options"] for one in dispatches} == {"ACMEIN": DLT, "Acme": None}
    assert all(recipient.startswith("+91") for recipient in sent(dispatches)["ACMEIN"])


def test_parts_and_repeated_claims_keep_the_alias(db: Connection) -> None:
    """Also if the alias is changed meanwhile: a dispatch is one request."""
    alias(db, "ACMEIN", provider="vonage", plan="v", options=DLT)
    send(db, INDIAN, BRITISH)
    claim_id = uuid4()
    dispatch = claim(db, provider="vonage", plan="v", claim_id=claim_id)
    alias(db, "OTHER", provider="vonage", plan="v")

    again = claim(db, provider="vonage", plan="v", claim_id=claim_id)
    parts = refuse(db, dispatch)

    assert {(one["sender"], one["options"]["entity_id"]) for one in (again, *parts)} == {("ACMEIN", "1101")}
    assert Dispatch.parse(again).options == DLT


def test_a_refused_alias_holds_its_messages(db: Connection) -> None:
    """Refusals count for the sender that the messages name."""
    alias(db, "+12025550100")
    for n in range(4):
        send(db, f"+4477009001{n:02d}", body="the same")
        for dispatch in claim_all(db, rows=1):
            refuse(db, dispatch, "shared")

    held = db.execute("select distinct sender from outbox_engine.refused_contents").fetchall()
    assert held == [("Acme",)]
    assert statuses(db) == {"failed": 3, "scheduled": 1}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"of": "Acme & Sons"}, "alias 'Acme & Sons' is not a sender"),
        ({"of": ""}, "alias '' is not a sender"),
        ({"of": None}, "alias NULL is not a sender"),
        ({"sender": "Acme Limited"}, "sender 'Acme Limited' is not a sender"),
        ({"sender": None}, "sender NULL is not a sender"),
        ({"sender": "+4407700900123"}, "the zero is dialled inside the country only"),
        ({"provider": "twilio"}, "provider 'twilio' is not known"),
        ({"plan": ""}, "the plan is empty"),
        ({"country": "XX"}, "country 'XX' is not known"),
        ({"options": DLT}, "sinch takes no option 'content_id'"),
        ({"provider": "vonage", "options": {"pool_id": "x"}}, "vonage takes no option 'pool_id'"),
        ({"provider": "vonage", "options": {"entity_id": 7}}, "option 'entity_id' is no text"),
        ({"provider": "vonage", "options": ["entity_id"]}, "options is no JSON object"),
    ],
)
def test_invalid_aliases_are_refused_in_words(db: Connection, values: dict[str, Any], says: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=says):
        alias(db, **{"sender": "ACME", **values})


def test_aliases_are_listed_replaced_and_removed(db: Connection) -> None:
    alias(db, "ACME")
    alias(db, "ACME LTD")
    german = alias(db, "Acme GmbH", country=" de ")

    def names() -> list[str]:
        row = db.execute("select public.outbox_list_senders()").fetchone()
        assert row is not None
        assert isinstance(row[0], list)
        return [one["sender"] for one in row[0]]

    before = names()
    db.execute("select public.outbox_remove_sender('Acme', 'sinch', 'p', 'de')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="'Acme' has no sender at plan sinch p for numbers of DE"):
        db.execute("select public.outbox_remove_sender('Acme', 'sinch', 'p', 'DE')")

    assert (german["country"], before, names()) == ("DE", ["ACME LTD", "Acme GmbH"], ["ACME LTD"])
