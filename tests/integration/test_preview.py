"""A campaign's preview, compared with the messages that the campaign then makes."""

from collections import Counter
from typing import Any

import psycopg
import pytest

from jobs.gateway.rpc import Rpc
from sandbox.local.stack import LocalStack
from tests.engine import Clocks, MakeRig, Rig, number, statuses, supabase_settings
from tests.previews import NOW, campaign, lines, member, next_at, preview, what_happened
from tests.stack import Connection


@pytest.fixture(autouse=True)
def noon(db: Connection, clocks: Clocks) -> None:
    clocks.set(NOW)
    db.execute("insert into public.outbox_templates (name, body) values ('hi', 'Hello {{name}}')")


@pytest.mark.parametrize("policy", ["send", "skip"])
@pytest.mark.parametrize("window", [(None, None), ("12:30", "20:00")])
async def test_preview_predicts_messages_waiting_beyond_late_limit(
    db: Connection, rig: Rig, clocks: Clocks, policy: str, window: tuple[str | None, str | None]
) -> None:
    campaign(db, status="active", late_policy=policy, window_start=window[0], window_end=window[1])
    member(db, "ada", number(1))
    await rig.tick("campaigns")

    clocks.set("2026-10-23 14:00+00")
    promised = lines(preview(db))
    await rig.tick("dispatch")

    assert what_happened(db) == promised
    assert statuses(db) == {"sent" if policy == "send" else "expired": 1}


async def test_preview_shows_an_expired_message_as_expired(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, status="active")
    member(db, "ada", number(1))
    await rig.tick("campaigns")

    clocks.move("3 days")
    promised = lines(preview(db))
    await rig.tick("dispatch")

    assert what_happened(db) == promised
    assert statuses(db) == {"expired": 1}


async def test_preview_names_the_reason_the_claim_names(db: Connection, make_rig: MakeRig, clocks: Clocks) -> None:
    """Of two that apply: the country is not allowed, and the window opens too late."""
    rig: Rig = await make_rig(allowed_countries="DE")
    await rig.tick("dispatch")
    campaign(db, status="active", window_start="12:00", window_end="13:00")
    member(db, "ada", number(1))
    await rig.tick("campaigns")

    clocks.set("2026-10-23 14:00+00")
    promised = lines(preview(db))
    await rig.tick("dispatch")

    assert what_happened(db) == promised
    assert statuses(db) == {"failed": 1}


async def test_preview_writes_nothing_and_shows_waiting_messages(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, window_start="13:00", window_end="14:00", late_limit="2 hours", status="active")
    member(db, "ada", number(1))
    await rig.tick("campaigns")
    before = statuses(db)

    assert [(row["send_at"], row["problem"]) for row in preview(db)] == [("2026-10-23T13:00:00+00:00", None)]
    with db.transaction():
        db.execute("set transaction read only")
        preview(db)
    assert statuses(db) == before == {"scheduled": 1}


def test_each_preview_line_has_the_documented_fields(db: Connection) -> None:
    campaign(db, starts_at="2026-10-25 00:30+00")
    member(db, "ada", "+4915112345678", "Europe/Berlin")
    assert preview(db) == [
        {
            "external_id": "ada",
            "recipient": "+4915112345678",
            "send_at": "2026-10-25T00:30:00+00:00",
            "local_time": "2026-10-25T02:30:00",
            "body": "Hello Ada",
            "parts": 1,
            "country": "DE",
            "problem": None,
        }
    ]


def test_preview_without_a_zone_has_no_local_time(db: Connection) -> None:
    campaign(db, starts_at="2026-10-25 00:30+00")
    member(db, "ada", number(1), None)

    assert [(row["send_at"], row["local_time"]) for row in preview(db)] == [("2026-10-25T00:30:00+00:00", None)]


def test_preview_explains_why_a_member_gets_nothing(db: Connection) -> None:
    campaign(db, schedule="reminder", offsets=["-1 day", "-1 hour"])
    member(db, "no event", number(1))
    member(db, "half past", number(2), event_at="2026-10-24 06:00+00")
    member(db, "opted out", number(3), event_at="2026-10-27 06:00+00")
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'STOP')", [number(3)])
    db.execute("update public.outbox_templates set body = 'Hello {{name}} {{place}}'")
    db.execute(
        'update public.outbox_campaign_members set parameters = parameters || \'{"place": "x"}\''
        " where external_id <> 'half past'"
    )

    assert [(row["external_id"], row["problem"]) for row in preview(db)] == [
        ("half past", "too late: it was past when the member came, moved or the campaign began"),
        ("half past", "placeholder {{place}} of template 'hi' has no value"),
        ("opted out", "the recipient opted out: STOP"),
        ("opted out", "the recipient opted out: STOP"),
        ("no event", "it has no event_at"),
    ]


def test_an_ended_campaign_stays_ended(db: Connection) -> None:
    campaign(db, starts_at="2026-10-24 12:00+00", window_start="09:00", window_end="17:00", status="active")
    member(db, "ada", number(1))
    db.execute("select public.outbox_expand_campaigns(10)")
    db.execute("update public.outbox_campaigns set status = 'ended'")

    assert [(row["external_id"], row["send_at"], row["problem"]) for row in preview(db)] == [
        ("ada", None, "the campaign was ended")
    ]
    answer: Any = db.execute("select public.outbox_campaign_costs('c', '', 10)").fetchone()
    assert (answer[0]["status"], answer[0]["countries"]) == ("ended", [])
    assert answer[0]["problems"] == [{"problem": "the campaign was ended", "messages": 1}]


def test_costs_are_summed_by_country_over_all_members(db: Connection) -> None:
    campaign(db)
    for n in range(5):
        member(db, f"us{n}", number(100 + n))
    member(db, "de", "+4915112345678")
    db.execute("insert into public.outbox_suppressions (recipient, reason) values (%s, 'STOP')", [number(100)])
    countries: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    after: str | None = ""
    while after is not None:
        answer: Any = db.execute("select public.outbox_campaign_costs('c', %s, 2::integer)", [after]).fetchone()
        countries.update({row["country"]: row["parts"] for row in answer[0]["countries"]})
        problems.update({row["problem"]: row["messages"] for row in answer[0]["problems"]})
        after = answer[0]["next"]

    assert countries == {"US": 4, "DE": 1}
    assert problems == {"the recipient opted out: STOP": 1}


def costs(db: Connection) -> dict[str, Any]:
    answer: Any = db.execute("select public.outbox_campaign_costs('c', '', 10)").fetchone()
    return dict(answer[0])


def test_costs_count_one_time_of_a_cron(db: Connection) -> None:
    campaign(db, schedule="cron", cron_expression="0 9 * * *", timezone="UTC")
    member(db, "ada", number(101))
    member(db, "bob", number(102))

    assert costs(db)["countries"] == [{"country": "US", "messages": 2, "parts": 2}]


def test_costly_characters_are_named_in_one_place(db: Connection) -> None:
    """In the template's warning where that names one, else for the texts that have them."""
    campaign(db)
    member(db, "ada", number(101), more="ș")
    of_texts = costs(db)

    db.execute("update public.outbox_templates set body = 'Привет {{name}}'")
    of_all = costs(db)

    assert (of_texts["warning"], [found["character"] for found in of_texts["beyond_gsm7"]]) == (None, ["ș"])
    assert (of_all["warning"] is None, of_all["beyond_gsm7"]) == (False, [])


async def test_list_shows_put_off_messages_as_due(db: Connection, rig: Rig, clocks: Clocks) -> None:
    """As if the paused campaign went on now."""
    campaign(db, status="active")
    member(db, "ada", number(1))
    await rig.tick("campaigns")
    db.execute("update public.outbox_campaigns set status = 'paused'")
    await rig.tick("dispatch")

    clocks.move("10 minutes")

    assert next_at(db) == "2026-10-23T12:10:00+00:00"


NOT_ALLOWED = "country DE is not allowed"


def of_a_german(db: Connection) -> str | None:
    (row,) = preview(db)
    problem = row["problem"]
    return None if problem is None else str(problem)


@pytest.fixture
def german(db: Connection) -> None:
    campaign(db, starts_at="2026-10-28 12:00+00")
    member(db, "de", "+4915112345678")


@pytest.mark.usefixtures("german")
async def test_preview_knows_allowed_countries_once_a_process_runs(db: Connection, make_rig: MakeRig) -> None:
    assert of_a_german(db) is None

    rig: Rig = await make_rig(allowed_countries="US")
    await rig.tick("dispatch")

    assert of_a_german(db) == NOT_ALLOWED


@pytest.mark.usefixtures("german")
async def test_abandoned_plan_allows_no_countries(db: Connection, make_rig: MakeRig, clocks: Clocks) -> None:
    db.execute("select outbox_engine.record_heartbeat('dispatch', 'sinch', 'given-up', 'somebody', null)")
    clocks.move("25 hours")
    rig: Rig = await make_rig(allowed_countries="US")
    await rig.tick("dispatch")

    assert of_a_german(db) == NOT_ALLOWED


@pytest.mark.usefixtures("german")
async def test_replacing_process_sets_the_allowed_countries(db: Connection, make_rig: MakeRig, clocks: Clocks) -> None:
    before: Rig = await make_rig()
    await before.tick("dispatch")
    clocks.move("2 minutes")
    rig: Rig = await make_rig(allowed_countries="US")
    await rig.tick("dispatch")
    assert of_a_german(db) == NOT_ALLOWED

    # The recorded countries outlive the processes.
    clocks.move("3 days")
    assert of_a_german(db) == NOT_ALLOWED


@pytest.mark.usefixtures("german")
async def test_widest_allowed_countries_of_parallel_processes_count(db: Connection, make_rig: MakeRig) -> None:
    narrow: Rig = await make_rig(allowed_countries="US")
    wide: Rig = await make_rig(allowed_countries="US,DE")
    await wide.tick("dispatch")
    await narrow.tick("dispatch")

    assert of_a_german(db) is None
    assert countries_told(db) == [["DE", "US"], ["US"]]


def countries_told(db: Connection) -> list[list[str] | None]:
    answer: Any = db.execute("select public.outbox_campaign_costs('c', '', 10)").fetchone()
    return list(answer[0]["process_countries"])


def test_an_unknown_campaign_is_refused_by_its_name(db: Connection) -> None:
    with pytest.raises(psycopg.DataError, match="campaign 'nobody' does not exist"):
        db.execute("select public.outbox_preview_campaign('nobody', 1)")


async def test_app_calls_the_preview_by_argument_names(stack: LocalStack, db: Connection) -> None:
    campaign(db)
    member(db, "ada", number(1))
    rpc = await Rpc.connect(supabase_settings(stack))
    try:
        answer = await rpc.call("outbox_preview_campaign", {"campaign": "c", "max_rows": 5})
    finally:
        await rpc.aclose()
    assert [row["external_id"] for row in answer] == ["ada"]


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_only_the_server_may_call_the_preview(db: Connection, role: str) -> None:
    campaign(db)
    db.execute(f"set role {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("select public.outbox_preview_campaign('c', 1)")
    db.execute("reset role")


async def test_list_shows_due_time_not_row_creation(db: Connection, rig: Rig, clocks: Clocks) -> None:
    campaign(db, schedule="reminder", offsets=["-1 hour"], status="active")
    member(db, "ada", number(1), event_at="2027-01-15 17:00+00")
    assert next_at(db) == "2027-01-15T16:00:00+00:00"

    clocks.set("2027-01-15 15:59:30+00")
    await rig.tick("campaigns")
    assert statuses(db) == {"scheduled": 1}
    assert next_at(db) == "2027-01-15T16:00:00+00:00"


def test_members_in_abbreviated_zones_are_counted(
    db: Connection,
) -> None:
    """Such as EST, which has no summer time. Users often mean a zone that has."""
    campaign(db, timezone="GMT")
    for external_id, zone in {"a": "EST", "b": "EST", "c": "America/New_York", "d": None, "e": "EST5EDT"}.items():
        member(db, external_id, number(1), zone=zone)

    answer: Any = db.execute("select public.outbox_campaign_costs('c', '', 10)").fetchone()

    assert answer[0]["abbreviated_zones"] == [
        {"zone": "EST", "place": "America/New_York", "members": 2},
        {"zone": "GMT", "place": "Europe/London", "members": 1},
    ]
