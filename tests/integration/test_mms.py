"""MMS: what is refused when it is inserted, what shares a request, where a provider sends it, and who may see the URL."""

from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from sandbox.simulator.behaviour import Fault
from tests.calls import accept, claim, claim_all, claim_answer, refuse, report
from tests.engine import Rig, column, history, insert, later, number, stand_still, statuses
from tests.refusing import Sending, refusal
from tests.stack import Connection

URL = "https://example.com/menu.jpg"
UPKEEP = "select public.outbox_upkeep(90, 7, 1000)"


def media(dispatches: list[dict[str, Any]]) -> list[tuple[str | None, int]]:
    """The file of each dispatch, and how many recipients get it."""
    return sorted(((one["media_url"], len(one["recipients"])) for one in dispatches), key=str)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"media_url": "http://example.com/a.jpg"}, "does not begin with https://"),
        ({"media_url": ""}, "does not begin with https://"),
        ({"media_url": "https:///a.jpg"}, "names no host"),
        ({"media_url": "https://:443/a.jpg"}, "names no host"),
        ({"media_url": "https://example.com/a b.jpg"}, "holds a space"),
        ({"media_url": "https://ann:pw@example.com/a.jpg"}, "holds a user or a password"),
        ({"media_url": f"{URL}?{'x' * 2048}"}, "has 2077 characters, 2048 are allowed"),
        ({"media_url": "https://example.com/menu.HTML?day=1"}, "names a .html file"),
        ({"media_url": URL, "secret": True}, "a secret message has a media_url"),
        ({"media_url": URL, "body": None}, "body is empty"),
        ({"media_url": URL, "channel": "rcs"}, "channel 'rcs' is neither sms nor mms"),
        ({"channel": "mms"}, "channel is mms and there is no media_url"),
    ],
)
def test_invalid_media_is_refused_in_words(db: Connection, columns: dict[str, Any], says: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=says) as refused:
        insert(db, **{"body": "Our menu", **columns})

    assert "example.com/" not in str(refused.value) or "https://example.com/picture.jpg" in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://xn--caf-dma.example:8443?id=1",
        "https://[2001:db8::1]/a",
        "https://example.com/a@b.png#x",
        "https://example.com/a.pdf",
    ],
)
def test_media_makes_a_message_an_mms(db: Connection, url: str) -> None:
    db.execute("set role service_role")
    rows = insert(db, media_url=url), insert(db, first=1, media_url=url, channel=None), insert(db, first=2, media_url=None)
    db.execute("reset role")

    assert [column(db, "channel", row) for (row,) in rows] == ["mms", "mms", "sms"]
    assert column(db, "media_url", rows[0][0]) == url


@pytest.mark.parametrize(
    "change", ["media_url = 'ftp://example.com/a'", "media_url = null", "channel = 'rcs'", "secret = true"]
)
def test_owner_changes_an_mms_by_the_same_rules(db: Connection, change: str) -> None:
    insert(db, media_url=URL)

    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute(f"update public.outbox set {change}".encode())


def test_owner_makes_a_waiting_sms_an_mms(db: Connection) -> None:
    (row,) = insert(db)

    db.execute("update public.outbox set media_url = %s", [URL])

    assert column(db, "channel", row) == "mms"


def test_requests_hold_one_file_and_caption(db: Connection) -> None:
    """Not with the SMS of the same text, nor with other captions where texts may share a request."""
    insert(db, 2)
    insert(db, 2, first=2, media_url=URL)
    insert(db, 1, first=4, media_url=f"{URL}?2")
    insert(db, 1, first=5, media_url=URL, body="another caption")

    assert media(claim_all(db)) == [(URL, 1), (URL, 2), (f"{URL}?2", 1), (None, 2)]

    for n in range(3):
        insert(db, first=10 + n, media_url=URL, body=f"caption {n}")
    assert media(claim_all(db, share=True, dispatches=2)) == [(URL, 1), (URL, 1)]


def test_mms_is_one_part_and_repeated_as_claimed(db: Connection) -> None:
    (row,) = insert(db, body="x" * 400, media_url=URL)
    claim_id = uuid4()

    first, again = (claim_answer(db, claim_id=claim_id)["dispatches"] for _ in range(2))

    assert column(db, "parts", row) == 1
    assert first == again
    assert media(first) == [(URL, 1)]


def test_halves_of_a_refused_request_keep_their_file(db: Connection) -> None:
    insert(db, 4, media_url=URL)

    halves = refuse(db, claim(db), "shared")

    assert media(halves) == [(URL, 2), (URL, 2)]
    for n, half in enumerate(halves):
        accept(db, half, f"b{n}")
    assert db.execute("select count(media_url), count(body) from outbox_engine.dispatches").fetchone() == (0, 0)


@pytest.mark.parametrize(
    ("recipient", "ends"),
    [
        ("+493023125000", ("failed", "Sinch sends MMS to AU, CA, PR, US only, and this number is of DE")),
        ("+61491570006", ("sending", None)),
        # A prefix of North America that no list has yet.
        ("+12215550123", ("sending", None)),
    ],
)
def test_countries_of_the_provider_decide(db: Connection, recipient: str, ends: tuple[str, str | None]) -> None:
    db.execute("insert into public.outbox (recipient, body, media_url) values (%s, 'Our menu', %s)", [recipient, URL])
    db.execute("insert into public.outbox (recipient, body) values ('+493023125001', 'Our menu')")

    claim_all(db)

    assert db.execute("select status, error from public.outbox order by id").fetchall() == [ends, ("sending", None)]


def test_allowed_countries_and_opt_outs_come_first(db: Connection) -> None:
    rows = insert(db, 2, media_url=URL)
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'asked')", [number(1)])

    claim_all(db, countries=["DE"])

    assert [column(db, "status", row) for row in rows] == ["failed", "suppressed"]
    assert column(db, "error", rows[0]) == "country unknown is not allowed"


def test_provider_without_countries_sends_no_mms(db: Connection) -> None:
    (row,) = insert(db, media_url=URL)
    with db.transaction(force_rollback=True):
        db.execute("delete from outbox_engine.mms_countries")
        claim_all(db)
        assert (column(db, "status", row), column(db, "error", row)) == ("failed", "Sinch sends no MMS")


def test_process_of_first_release_gets_no_mms(db: Connection) -> None:
    """It would send the caption alone."""
    stand_still(db)
    (row,) = insert(db, media_url=URL)
    insert(db, first=1)
    old = (
        "select public.outbox_claim_due(gen_random_uuid(), 'old', 'sinch', 'p', 'h', 'c', 6, 2, 8::smallint,"
        " 1000::smallint, 100, null, 6000, null, false, p_schema_version => 1)"
    )

    db.execute(old.encode())

    assert statuses(db) == {"scheduled": 1, "sending": 1}
    assert history(db, row) == ["held"]
    later(db, "1 minute")
    assert media(claim_all(db)) == [(URL, 1)]


def test_refused_file_holds_no_sms_of_its_caption(db: Connection) -> None:
    stand_still(db)
    insert(db, 5, media_url=URL)
    insert(db, 5, first=5)

    def no_media(dispatch: dict[str, Any]) -> Any:
        return refusal(text="the media could not be fetched") if dispatch["media_url"] else None

    sending = Sending(db, no_media)
    sending.tick()

    assert statuses(db) == {"failed": 3, "pending": 2, "sent": 5}


def test_retention_removes_the_url_with_the_caption(db: Connection) -> None:
    (row,) = insert(db, media_url=URL)
    accept(db, claim(db), "b")
    report(db, "b", number(0), "delivered")
    later(db, "8 days")

    db.execute(UPKEEP)

    assert [column(db, name, row) for name in ("body", "media_url", "channel")] == [None, None, "mms"]
    retried = db.execute("select public.outbox_retry(array[%s::bigint], true, 3600, false)", [row]).fetchone()
    assert "text_blanked" in str(retried)


@pytest.mark.parametrize("texts", [True, False])
def test_url_is_shown_where_texts_are(db: Connection, texts: bool) -> None:
    (row,) = insert(db, media_url=URL)
    claim(db)

    for shown in (
        db.execute("select public.outbox_trace(%s, %s)", [row, texts]).fetchone(),
        db.execute("select public.outbox_person_messages(array[%s], array[%s], %s)", [row, number(0), texts]).fetchone(),
    ):
        assert (URL in str(shown)) is texts


async def test_refusal_that_quotes_the_url_keeps_it_secret(rig: Rig, db: Connection) -> None:
    (row,) = insert(db, media_url=f"{URL}?token=s3cret")
    rig.simulator.add(Fault(effect="answer", status=400, code="bad_media", text=f"cannot fetch '{URL}?token=s3cret' now"))

    await rig.tick("dispatch")

    assert column(db, "error", row) == "HTTP 400 bad_media: cannot fetch 'media_url' now"
    assert "s3cret" not in str(db.execute("select d, e from outbox_engine.dispatches d, public.outbox_events e").fetchall())


async def test_mms_reaches_sinch_and_its_reports_count(rig: Rig, db: Connection, sinch: Any) -> None:
    rows = insert(db, 2, body="Now ${5}", media_url=URL)
    await rig.tick("dispatch")
    batch = column(db, "batch_id", rows[0])

    url = f"{sinch.url}/xms/v1/{sinch.plan.id}/batches/{batch}"
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {sinch.plan.token}"}) as http:
        sent = (await http.get(url)).json()
    rig.simulator.settle()
    later(db, "10 minutes")
    await rig.tick("reconcile")

    assert (sent["type"], sent["body"]["url"], len(sent["to"])) == ("mt_media", URL, 2)
    assert {accepted.body for accepted in rig.simulator.accepted()} == {"Now ${5}"}
    assert statuses(db) == {"delivered": 2}
    (kind,) = db.execute("select distinct report ->> 'type' from public.outbox_events where report is not null").fetchall()
    assert kind == ("recipient_delivery_report_mms",)
