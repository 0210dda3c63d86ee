"""What the reader of every provider must do."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.base import CallbackItem, Inbound, Report, Unusable
from jobs.providers.callbacks import Verdict
from tests.unit.callback_samples import ALL, REFERENCE, SECRET, Samples, encoded

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
of_each = pytest.mark.parametrize("samples", ALL, ids=repr)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def parsed(samples: Samples, callback: object) -> list[CallbackItem]:
    return samples.reader([SECRET]).parse(callback if isinstance(callback, bytes) else encoded(callback))


def report(samples: Samples, callback: object) -> Report:
    (item,) = parsed(samples, callback)
    assert isinstance(item, Report)
    return item


def reply(samples: Samples, callback: object) -> Inbound:
    (item,) = parsed(samples, callback)
    assert isinstance(item, Inbound)
    return item


@of_each
def test_report_is_read(samples: Samples) -> None:
    raw = encoded(samples.report())

    read = report(samples, raw)

    assert (read.batch_id, read.recipient, read.status) == ("batch-1", "+14155550100", "delivered")
    assert (read.at, read.reference, read.raw) == (AT, REFERENCE, raw.decode())


@of_each
def test_reply_is_read(samples: Samples) -> None:
    raw = encoded(samples.inbound())

    assert reply(samples, raw) == Inbound(
        inbound_id="inbound-1",
        kind="text",
        sender="+14155550100",
        recipient="+14155550199",
        body="STOP",
        received_at=AT,
        reference=None,
        raw=raw.decode(),
        provider=samples.name,
    )


@of_each
@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2026-11-24T12:00:00Z", AT),
        ("2026-11-24T12:00:00", AT),  # no offset means UTC
        ("2026-11-24T13:00:00.000+01:00", AT),
        (None, None),
        ("soon", None),
        ("2026-02-30T00:00:00Z", None),
        ("2025-01-13T23:59:60Z", None),
        (1736760160, None),
        ({"a": 1}, None),
        ("0001-01-01T00:00:00+05:00", None),
    ],
)
def test_odd_times_lose_nothing(samples: Samples, written: object, at: datetime | None) -> None:
    """Without a time the database counts from the arrival."""
    assert report(samples, samples.report(reported_at=written)).at == at
    assert reply(samples, samples.inbound(received_at=written)).received_at == at


@of_each
@pytest.mark.parametrize("written", ["+14155550100", 14155550100, "0014155550100", "\u202a+1 415\u200b5550100\u202c"])
def test_numbers_are_read_as_e164(samples: Samples, written: object) -> None:
    assert report(samples, samples.report(recipient=written)).recipient == "+14155550100"
    assert reply(samples, samples.inbound(sender=written)).sender == "+14155550100"


@of_each
@pytest.mark.parametrize("odd", [None, "", 7.5, ["14155550199"], {"digits": "14155550199"}, True, "x" * 300])
def test_reply_counts_without_a_readable_recipient(samples: Samples, odd: object) -> None:
    """Nor does an odd value in a field that replies do not have hide one."""
    read = reply(samples, samples.inbound() | {"to": odd, samples.names["reference"]: odd, "status": odd, "error": odd})

    assert (read.sender, read.recipient, read.body) == ("+14155550100", "", "STOP")


@of_each
def test_short_code_is_kept_as_inbound_recipient(samples: Samples) -> None:
    assert reply(samples, samples.inbound(to="12345")).recipient == "12345"


@of_each
def test_reference_of_ours_is_read_in_any_case(samples: Samples) -> None:
    assert report(samples, samples.report(reference=f" {REFERENCE.upper()}")).reference == REFERENCE


@of_each
def test_reference_of_a_reply_has_a_greatest_length(samples: Samples) -> None:
    assert reply(samples, samples.inbound(reference="r" * 65536)).reference == "r" * 255


@of_each
@pytest.mark.parametrize(
    "change",
    [
        {"status": "Teleported"},
        {"status": ["delivered"]},
        {"batch": ""},
        {"batch": 7},
        {"batch": "x" * 4000},
        {"recipient": "the neighbour"},
        {"recipient": None},
    ],
)
def test_unusable_report_is_kept_byte_for_byte(samples: Samples, change: dict[str, object]) -> None:
    raw = encoded(samples.report(**change))
    (item,) = parsed(samples, raw)

    assert isinstance(item, Unusable)
    assert item.raw == raw
    assert item.why


@of_each
@pytest.mark.parametrize("missing", [None, ""])
def test_reply_without_an_id_counts_once(samples: Samples, missing: object) -> None:
    """A repetition has the same bytes, and so the same id."""
    first, again, other = (
        item for body in ("STOP", "STOP", "START") for item in parsed(samples, encoded(samples.inbound(id=missing, body=body)))
    )

    assert isinstance(first, Inbound)
    assert isinstance(other, Inbound)
    assert first == again
    assert first.inbound_id != other.inbound_id


@of_each
@pytest.mark.parametrize("change", [{"id": "x" * 256}, {"sender": None}, {"sender": ""}])
def test_unusable_reply_is_kept_byte_for_byte(samples: Samples, change: dict[str, object]) -> None:
    raw = encoded(samples.inbound(**change))
    (item,) = parsed(samples, raw)

    assert isinstance(item, Unusable)
    assert item.raw == raw


@of_each
@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b"[]",
        b'"text"',
        b"17",
        b"null",
        b"",
        b" ",
        b"<html>",
        b"{",
        b'{"type": 5, nonsense',
        b"\xff\xfe\xfd",
        b"type=mo_text",
        b'{"type":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"from":' + b"[" * 100_000,
        b'{"type":"mo_text","id":' + b"9" * 10_000 + b"}",
        b'{"text":"' + rb"\"" * 500_000,  # Sought again from each of its quotes, this would take hours.
    ],
    ids=lambda raw: raw[:20].decode(errors="replace") or "empty",
)
def test_other_bodies_are_kept_byte_for_byte(samples: Samples, raw: bytes) -> None:
    (item,) = parsed(samples, raw)

    assert isinstance(item, Unusable)
    assert item.raw == raw


@of_each
@pytest.mark.parametrize(
    ("written", "body"),
    [
        (rb"STOP\u0000", "STOP"),
        (rb"ST\u0000OP", "STOP"),
        (b"STOP\x00", "STOP"),
        (rb"STOP \ud83d", "STOP \ufffd"),
        (rb"STOP \ude00\ud83d", "STOP \ufffd\ufffd"),
        (rb"STOP \ud83d\ude00", "STOP \U0001f600"),
        (b"STOP\nplease\x07", "STOP\nplease\x07"),
        (b"STOP \xf3", "STOP \ufffd"),
        (b"\xed\xa0\xbd STOP", "\ufffd\ufffd\ufffd STOP"),
        (rb"STOP \x41 \u12", "STOP \ufffdx41 \ufffdu12"),
        (rb"C:\\ud83d \"STOP\"", 'C:\\ud83d "STOP"'),
    ],
)
def test_odd_characters_lose_no_reply(samples: Samples, written: bytes, body: str) -> None:
    read = reply(samples, encoded(samples.inbound(text="TEXT")).replace(b"TEXT", written))

    assert read.body == body
    assert json.loads(read.raw)[samples.names.get("text", "text")] == body


@of_each
@pytest.mark.parametrize("operator", [rb"\u0000", rb"\ud83d", b"Telef\xf3nica", b"a\tb\x00", rb"\q"])
def test_field_that_is_not_read_loses_no_report(samples: Samples, operator: bytes) -> None:
    read = report(samples, b"\xef\xbb\xbf" + encoded(samples.report(operator="TEXT")).replace(b"TEXT", operator))

    assert read.recipient == "+14155550100"
    assert "\\u0000" not in read.raw
    json.loads(read.raw).items()


@of_each
@given(raw=st.binary())
def test_bytes_are_kept_or_read_but_never_crash(samples: Samples, raw: bytes) -> None:
    assert parsed(samples, raw)


@of_each
@given(
    written=st.lists(st.sampled_from([*'"\\\\u0dD8{}[],:\x00\n', "\\ud83d", "\\ude00", "\\u0000", "\xf3"]), max_size=12).map(
        "".join
    )
)
def test_read_text_holds_nothing_the_database_refuses(samples: Samples, written: str) -> None:
    for item in parsed(samples, encoded(samples.inbound(text="TEXT")).replace(b"TEXT", written.encode("latin-1"))):
        if isinstance(item, Inbound):
            read_back = json.dumps(json.loads(item.raw), ensure_ascii=False)
            read_back.encode()
            assert "\\u0000" not in read_back.replace("\\\\", "")


@of_each
@given(draw=st.data(), value=JSON)
def test_callback_with_any_value_yields_items(samples: Samples, draw: st.DataObject, value: object) -> None:
    """Each item is read or kept as unusable."""
    base = draw.draw(st.sampled_from([samples.reported, samples.said]))

    assert parsed(samples, {**base, draw.draw(st.sampled_from(sorted(base))): value})


@of_each
@given(value=JSON)
def test_json_is_never_taken_for_none(samples: Samples, value: object) -> None:
    assert parsed(samples, value)


@of_each
@given(draw=st.data(), around=st.dictionaries(st.text(), JSON, max_size=6))
def test_stop_is_heard_whatever_stands_around_it(samples: Samples, draw: st.DataObject, around: dict[str, object]) -> None:
    """Except in the fields that it consists of: the id, the sender, the text, and Sinch's type."""
    needed = {"type", samples.names["id"], "from", samples.names.get("text", "text")}
    others = sorted({*samples.reported, *samples.said, "error", "message"} - needed)
    odd = draw.draw(st.dictionaries(st.sampled_from(others), JSON, max_size=6))

    read = reply(samples, {**around, **samples.said, **odd, **{name: samples.said[name] for name in needed & {*samples.said}}})

    assert (read.sender, read.body) == ("+14155550100", "STOP")


@of_each
@pytest.mark.parametrize("secrets", [[SECRET, "next"], ["next", SECRET]])
def test_any_of_several_secrets_verifies(samples: Samples, secrets: list[str]) -> None:
    """Two secrets are valid while one replaces the other."""
    assert samples.reader(secrets).authenticate(samples.headers(b"{}"), b"{}") is Verdict.VERIFIED


@of_each
def test_verdicts_without_a_true_signature(samples: Samples) -> None:
    reader, raw = samples.reader([SECRET]), encoded(samples.report())

    assert reader.authenticate(samples.headers(raw), raw + b" ") is Verdict.FORGED
    assert reader.authenticate(samples.headers(raw), raw.replace(b"elivered", b"ejected")) is Verdict.FORGED
    assert reader.authenticate(samples.headers(raw, "another secret of thirty-two bytes"), raw) is Verdict.FORGED
    assert reader.authenticate({"authorization": "Basic eDp5"}, raw) is Verdict.ABSENT
    assert samples.reader([]).authenticate(samples.headers(raw), raw) is Verdict.UNVERIFIABLE


@of_each
@given(raw=st.binary())
def test_whatever_is_signed_verifies_as_it_is(samples: Samples, raw: bytes) -> None:
    assert samples.reader([SECRET]).authenticate(samples.headers(raw), raw) is Verdict.VERIFIED


@of_each
@given(draw=st.data(), value=st.text(st.characters(max_codepoint=255)))
def test_no_odd_header_crashes_or_verifies(samples: Samples, draw: st.DataObject, value: str) -> None:
    headers = samples.headers(b"{}")
    name = draw.draw(st.sampled_from(sorted(headers)))
    prefix = draw.draw(st.sampled_from(["", "Bearer ", "Bearer a.b.", "bearer .."]))
    reader = samples.reader([SECRET])

    assert (
        reader.authenticate(headers | {name: prefix + value}, b"{}") is not Verdict.VERIFIED or prefix + value == headers[name]
    )
