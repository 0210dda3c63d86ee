"""The filter over a corpus of shapes in which numbers and secrets have been seen, and over random ones."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runtime.masking import mask, mask_url, scrub, scrub_value, without_quotes

NUMBER = "+14155551234"

INTERNATIONAL = (
    "{n}", "to {n}.", "to {n}, {n} and {n}", "'{n}'", '"{n}"', "({n})", "<{n}>", "[{n}]", "{{{n}}}", "`{n}`", "|{n}|", "#{n}",
    "to:{n}", "to: {n}", "to={n}", "to={n}&from=x", "to->{n}", "to\t{n}", "to\n{n}\n", "a,{n},b", "a;{n};b", "x/{n}", "x/{n}/y",
    "/batches/01FC22/delivery_report/{n}", "https://example.com/{n}?x=1", "?msisdn={n}", '{{"to":{n}}}', '{{"to": {n}}}',
    '{{"to":"{n}"}}', '{{"to":["{n}","{n}"]}}', "{{'to': ['{n}']}}", r'{{\"to\":\"{n}\"}}', "to=>{n}", "tel:{n}", "sms:{n}",
    "whatsapp:{n}", "KeyError: '{n}'", "key (recipient)=({n}) already exists", "recipient_{n}", "number-{n}", "<a>{n}</a>",
    "{n}@example.com", "…{n}…", "№{n}", "от:{n}", "على {n}", "电话{n}。", "\u200b{n}\u200b", "\u202a{n}\u202c", "\xa0{n}\xa0",
    r"to\n{n}\n", r"to\t{n}", r"a\u000a{n}", r"to\x0a{n}", "to%3A{n}", "to%3D{n}&x", "to%0A{n}%0A", "recipient_{n}_2",
    "12:30:01 {n}", "HTTP 400 {n}", "1. {n}", "0 {n}", "-{n}", "--to={n}", "{n}-", "{n}!", "{n}?", "{n}:", "{n}…", "Re: {n}",
)  # fmt: skip
WRITTEN = (
    "+14155550123", "14155550123", "0014155550123", "%2B14155550123", "%2b14155550123", r"\u002b14155550123",
    r"\x2b14155550123", "%252B14155550123", "&#x2B;14155550123", "%2B1%20415%20555%200123", "+1+415+555+0123",
    "+1_415_555_0123", "+1\u00b7415\u00b7555\u00b70123", "1(415)555-0123", "(415)555-0123", "1415-555-0123",
    "415\u00a0555\u00a00123", "415\u2011555\u20110123", "%22+1-415-555-0123", r"\n415-555-0123", "415-555-0123x5",
    "14155550123 ext. 5", "14155550123x5", "011 44 7700 900123",
    "+1 415 555 0123", "+1-415-555-0123", "+1.415.555.0123", "+1 (415) 555-0123", "+1 (415) 555 0123", "+1/415/5550123",
    "001 415 555 0123", "(415) 555-0123", "415-555-0123", "415 555 0123", "1-415-555-0123",
    "+1\u00a0415\u00a0555\u00a00123", "+1\u2011415\u2011555\u20110123", "+\u200b14155550123", "+1415\u200b5550123",
    "\uff0b14155550123", "+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0662\u0663", "&#43;14155550123",
)  # fmt: skip
ELSEWHERE = (
    "+447700900123", "+44 7700 900123", "+44 (0)7700 900123", "07700 900123", "07700900123", "0044 7700 900123",
    "030/23125555", "06 39 98 12 34", "06.39.98.12.34", "(0) 7700 900123", "(0)7700 900123",
    "+61 491 570 156", "0491 570 156", "+33 1 99 00 12 34", "+353 20 910 1234", "+49 30 23125 555", "030 23125555",
)  # fmt: skip
KEPT = (
    "2026-11-24T12:00:00.123456Z", "2026-11-24 12:00:00.123456+00", "2026-11-24 12:00:00+02 2 rows", "-05:00", "UTC+2",
    "6f9619ff-8b86-4011-b42d-123456789012", "01JHFFHQ0P99JPPNQPJDV7JTBP", "123456789 rows in 1.5 s", "HTTP 400",
    "0.12345678901234", "vm:11153:303ab700", "version 2 of 20261130074938_outbox_0002", "127.0.0.1:54321", "1,234,567 messages",
    "lease_token: 812", "SUPABASE_SECRET_KEY: is a publishable key", "the secret is not set", "n=12", "a token has expired",
    "https://example.com/a@b", "https://example.com:8443/a@b", "d41d8cd98f00b204e9800998ecf8427e", "+12", "C++ 17",
    "evt_1234567890123", "evt_n1234567890 failed",
    "01/02/2027 10:11:12", "2027-01-02 03:04:05", "lookup 1234567 of 7654321", "pages 1-2-3-4-5", "from 1 to 1000000",
)  # fmt: skip
SECRETS = (
    "https://:{s}@host", "https://{s}@host/path", "https://user:{s}@host", "https://user:{s}/x@host:8080/path",
    "postgresql://postgres:{s}@db.abc.supabase.co:5432/postgres", "postgresql://postgres:a@{s}@db:5432/postgres",
    "postgresql://postgres:a#{s}?b@db:5432/postgres", "redis://:{s}@cache", "'https://:{s}@host' refused",
    "Authorization: Bearer {s}", "authorization: basic {s}", "'Authorization': 'Bearer {s}'", "Bearer {s}", "basic {s}=",
    "sb_secret_{s}", "key sb_secret_{s} refused", "sb_secret_a-{s}", "sb_secret_a_b-{s}-c", "apikey={s}", "apikey: {s}",
    '{{"apikey":"{s}"}}', r'{{\"apikey\":\"{s}\"}}', "{{'api_token': '{s}'}}", "?token={s}&x=1", "&access_token={s}",
    "SINCH_API_TOKEN={s}", "WEBHOOK_TOKENS={s}", "X-Webhook-Token: {s}", "password={s}", "password => {s}", "PASSWORD: '{s}'",
    "client_secret={s}", "api-key: {s}", "private_key={s}", "Cookie: sid={s}", "service_role_key={s}", "passphrase={s}",
    "-----BEGIN PRIVATE KEY-----\nMII{s}\n-----END PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----\nMII{s}",
    "WEBHOOK_BASIC_AUTH=user:{s}", "WEBHOOK_TOKENS=first-token1,{s}", "SINCH_WEBHOOK_SECRETS=a,b,{s}", '"token": "a, {s}"',
    "password='a b {s}'", "Cookie: a=1; sid={s}", "Set-Cookie: sid={s}; Path=/", "Authorization: Token {s}", "--token {s}",
    "--api-key {s}", "sbp_{s}", "v1,whsec_{s}",
    "eyJhbGciOiJIUzI1NiJ9.{s}.{s}", "eyJhbGciOiJIUzI1NiJ9.eyJ{s}", "token eyJhbGciOiJI{s}",
)  # fmt: skip


def digits_of(text: str) -> str:
    return "".join(str(int(sign)) for sign in text if sign.isdecimal())


@pytest.mark.parametrize("shape", INTERNATIONAL)
@pytest.mark.parametrize("number", ["+14155550123", "14155550123"])
def test_numbers_are_masked_in_every_place(shape: str, number: str) -> None:
    scrubbed = scrub(shape.format(n=number))

    assert "4155550" not in scrubbed
    assert scrubbed.count("•••") == shape.count("{n}")


@pytest.mark.parametrize("number", WRITTEN + ELSEWHERE)
@pytest.mark.parametrize("shape", ["{n}", "to {n}, please", '{{"to":"{n}"}}', "to={n}&x"])
def test_numbers_are_masked_however_written(number: str, shape: str) -> None:
    hidden = digits_of(number)[-8:-4]

    assert hidden not in digits_of(scrub(shape.format(n=number)))


@pytest.mark.parametrize("text", KEPT)
def test_ids_times_and_counts_stay_readable(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.parametrize("shape", SECRETS)
@pytest.mark.parametrize("secret", ["hunter2hunter2", "Ab-3_xYz90Ab"])
def test_secrets_are_masked_in_every_place(shape: str, secret: str) -> None:
    scrubbed = scrub(shape.format(s=secret))

    assert secret not in scrubbed
    assert secret[-6:] not in scrubbed


@given(
    number=st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True),
    before=st.text(),
    after=st.text(alphabet=st.characters(exclude_categories=["Nd"])),
)
def test_number_with_its_plus_never_passes(number: str, before: str, after: str) -> None:
    assert number not in scrub(f"{before}{number}{after}")


@given(
    number=st.from_regex(r"[1-9][0-9]{9,14}", fullmatch=True),
    before=st.text().filter(lambda text: not re.search(r"([A-Za-z\d]|\d\.)\Z", text)),
    after=st.text().filter(lambda text: not re.match(r"[A-Za-z_\d]", text)),
)
def test_digits_that_stand_alone_never_pass(number: str, before: str, after: str) -> None:
    assert number not in scrub(f"{before}{number}{after}")


@given(
    password=st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"], exclude_characters="\"'<>•@"), min_size=7),
    user=st.sampled_from(["", "postgres"]),
)
def test_password_in_a_url_never_passes(password: str, user: str) -> None:
    assert password not in scrub(f"connecting to postgresql://{user}:{password}@db:5432/postgres failed")


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("+01459 -./():@=\"'•")))
def test_masked_text_stays_as_it_is(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


@pytest.mark.parametrize(
    "shape", ['{{"to":{n}}}', '{{"to":["{n}"]}}', "to:{n}", "from={n}", r"{{\"recipient\":\"{n}\"}}", "msisdn => {n}"]
)
@pytest.mark.parametrize("number", ["1234567", "12345678", "123456789"])
def test_short_numbers_are_masked_beside_their_name(shape: str, number: str) -> None:
    """Andorra, Niue and French Polynesia have numbers of seven to nine digits."""
    assert number not in scrub(shape.format(n=number))


def test_numbers_in_values_may_be_json_numbers() -> None:
    event = {"to": 14155550123, "recipients": [14155550123, 7], "from": "1234567", "messages": 14155550123, "parts": 2}

    assert scrub_value({"report": event}) == {
        "report": {
            "to": "1415•••0123",
            "recipients": ["1415•••0123", 7],
            "from": "12•••67",
            "messages": 14155550123,
            "parts": 2,
        }
    }


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("HTTP 400 bad text: Your code is 481516.", "HTTP 400 bad text: •••"),
        ("HTTP 400 481516 is not allowed", "HTTP 400 ••• is not allowed"),
        ("HTTP 400 in 'code is 481516'", "HTTP 400 in '•••'"),
        ("HTTP 400 text 400 is too long", "HTTP 400 text 400 is too long"),
        ("", ""),
    ],
)
def test_quotes_of_texts_are_hidden(words: str, kept: str) -> None:
    assert without_quotes(words, ["Your code\nis 481516.", "400"]) == kept


@given(words=st.text(max_size=50), text=st.text(min_size=10, max_size=50), after=st.text(max_size=20))
def test_no_words_quote_a_whole_text(words: str, text: str, after: str) -> None:
    quoted = " ".join(text.split())

    assert len(quoted) < 10 or quoted not in without_quotes(f"{words}{quoted}{after}", [text])


def test_masked_number_shows_its_country_and_end() -> None:
    assert scrub("to +1 (415) 555-0123") == "to +1415•••0123"
    assert scrub("to:14155550123") == f"to:{mask('14155550123')}"
    assert mask_url("https://user:p%40ss@example.com/cb?x=1") == "https://•••@example.com/cb?x=1"


def test_values_of_events_are_masked_at_any_depth() -> None:
    assert scrub_value({"a": [{"to:14155550123": ("https://:s3cret@host",)}]}) == {
        "a": [{"to:1415•••0123": ["https://•••@host"]}]
    }


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+14155551234", "+1415•••1234"),
        ("+447700900123", "+4477•••0123"),
        ("14155551234", "1415•••1234"),
        ("+1234567", "+12•••67"),
    ],
)
def test_masked_number_keeps_its_start_and_end(number: str, masked: str) -> None:
    assert mask(number) == masked


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_mask_hides_at_least_three_digits(number: str) -> None:
    assert sum(map(str.isdigit, mask(number))) <= len(number) - 4
    assert scrub(mask(number)) == mask(number)


def test_texts_and_secrets_are_dropped_at_any_depth() -> None:
    event = {"batch": {"body": "Your code is 1234", "Authorization": "x", "to": [NUMBER], NUMBER: 1}, "raw": b"\x00", "n": 17}

    assert scrub_value(event) == {"batch": {"to": ["+1415•••1234"], "+1415•••1234": 1}, "n": 17}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.binary(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_anything_can_be_scrubbed(value: object) -> None:
    scrub_value(value)
