"""Templates and texts: what is rejected and with which error, what a text costs, and which character raises the cost."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from jobs.gateway.gateway import Gateway
from sandbox.local.processes import wait_until
from sandbox.local.stack import LocalStack
from sandbox.simulator.server import Running
from tests.campaigns import campaign, member, rows, template
from tests.engine import Rig, number, plan_of
from tests.nightly import examples
from tests.stack import Connection

# Typed off the tables of 3GPP TS 23.038, row by row.
ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = "\f^{}\\[~]|€"

texts = st.one_of(
    st.text(st.sampled_from(ALPHABET + EXTENSION), min_size=1, max_size=500),
    # Mostly plain, so that the one character that straddles two parts decides.
    st.lists(st.tuples(st.integers(0, 160), st.sampled_from(EXTENSION)), min_size=1, max_size=8).map(
        lambda runs: "".join("a" * plain + extended for plain, extended in runs)
    ),
    st.text(st.sampled_from(ALPHABET + "ąЖ語😀👍🏽"), min_size=1, max_size=300),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=100),
)


@examples(80)
@given(text=texts)
def test_parts_are_counted_by_the_standard(db: Connection, text: str) -> None:
    answer = one(db, "select public.outbox_text(%s)", [text])

    assert (answer["parts"], answer["alphabet"]) == count(text)
    assert set(answer["beyond_gsm7"]) == set(text) - set(ALPHABET + EXTENSION)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 152 + "€" + "a" * 152, 3),
        ("a" * 151 + "€" + "a" * 153, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("a" + "€" * 152, 2),
        ("a" * 2000, 14),
        ("[" * 2000, 27),
    ],
)
def test_escape_sequence_is_not_split_between_parts(db: Connection, text: str, parts: int) -> None:
    assert one(db, "select outbox_engine.parts_of(%s)", [text]) == parts
    assert count(text) == (parts, "GSM-7")


def count(text: str) -> tuple[int, str]:
    if set(text) <= set(ALPHABET + EXTENSION):
        widths = [2 if character in EXTENSION else 1 for character in text]
        return (1 if sum(widths) <= 160 else filled(widths)), "GSM-7"
    units = len(text.encode("utf-16-le")) // 2
    return (1 if units <= 70 else math.ceil(units / 67)), "UCS-2"


def filled(widths: list[int]) -> int:
    """Parts of 153 septets, filled with one character after the other."""
    parts = [0]
    for width in widths:
        if parts[-1] + width > 153:
            parts.append(0)
        parts[-1] += width
    return len(parts)


def test_costly_character_is_named_and_can_be_replaced(db: Connection) -> None:
    template(db, body="It’s time, {{name}} …")
    assert one(db, "select warning from public.outbox_templates").startswith("'’' at character 3 is not in GSM-7")

    db.execute("update public.outbox_templates set plain = true")
    assert db.execute("select warning, version from public.outbox_templates").fetchone() == (None, 2)
    rendered = "select outbox_engine.rendered_text(t, jsonb_build_object('name', %s::text)) from public.outbox_templates t"
    assert one(db, rendered, ["“Ada”"]) == "It’s time, “Ada” …"
    assert one(db, rendered, [f"“Ada” {'x' * 70}"]) == f'It\'s time, "Ada" {"x" * 70} ...'

    db.execute("update public.outbox_templates set body = 'Жизнь {{name}}'")
    assert "Ж" in one(db, "select warning from public.outbox_templates")


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        ("Hi {name}", "{name} is no placeholder and goes out as it stands; one is written {{name}}"),
        ("Hi {{name}}, { day } it is", "{ day } is no placeholder and goes out as it stands; one is written {{day}}"),
        ("Hi {{name}}", None),
        ("Hi {{{name}}}", "{{{name}}} goes out with braces around its value; write {{name}}"),
        ("{{{ name }}}", "{{{ name }}} goes out with braces around its value; write {{name}}"),
        ("{a: {{name}}}", None),
        ("Hi :{ {2} {a b} {}", None),
    ],
)
def test_template_warns_of_apparent_placeholders(db: Connection, body: str, warning: str | None) -> None:
    template(db, body=body)
    assert one(db, "select warning from public.outbox_templates") == warning


def test_template_warns_of_costs_and_apparent_placeholders(db: Connection) -> None:
    template(db, body="Жизнь {name}")
    assert one(db, "select warning from public.outbox_templates") == (
        "'Ж' at character 1 is not in GSM-7, so a part holds 70 characters instead of 160;"
        " {name} is no placeholder and goes out as it stands; one is written {{name}}"
    )


def test_each_change_of_content_is_a_new_version(db: Connection) -> None:
    template(db, defaults={"name": "you"})
    for change in ("body = 'Hi {{name}}'", 'defaults = \'{"name": "there"}\'', "defaults = '{}'", "body = body"):
        db.execute(f"update public.outbox_templates set {change}")
    assert one(db, "select version from public.outbox_templates") == 4


@pytest.mark.parametrize(
    ("body", "defaults", "says"),
    [
        ("Hi {{first-name}}", {}, "'{{first-name}}' in the body is not a placeholder"),
        ("Hi {{name", {}, "'{{name' in the body is not a placeholder"),
        ("Hi name}}", {}, "'}}' in the body is not a placeholder"),
        ("Hi {{name}}", {"nmae": "you"}, "defaults name {{nmae}}"),
        ("Hi {{name}}", ["you"], "defaults must be an object"),
        ("Hi {{name}}", {"name": {"first": "x"}}, "the default of {{name}} must be a text or a number"),
        ("Hi {{name}}", {"name": ["x"]}, "the default of {{name}} must be a text or a number"),
        ("{{a}}{{b}}", {"a": " ", "b": "\n"}, "the defaults make a text of the template that is all blank"),
        (" \n", {}, "a template needs a name and a body"),
        ("x" * 2001, {}, "body has 2001 characters"),
    ],
)
def test_invalid_template_is_refused(db: Connection, body: str, defaults: Any, says: str) -> None:
    with pytest.raises(psycopg.DataError, match=_literally(says)):
        db.execute("insert into public.outbox_templates (name, body, defaults) values ('t', %s, %s)", [body, Jsonb(defaults)])


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({}, "placeholder {{name}} of template 'hi' has no value"),
        ({"name": None}, "placeholder {{name}} of template 'hi' has no value"),
        ({"name": "Ada", "day": "Monday"}, "template 'hi' has no placeholder {{day}}"),
        ({"name": ["Ada"]}, "placeholder {{name}} of template 'hi' must be a text or a number"),
        ({"name": "x" * 2000}, "template 'hi' becomes a text of 2006 characters"),
        ("Ada", "parameters must be an object"),
    ],
)
def test_rows_and_members_get_the_same_refusal(db: Connection, parameters: Any, says: str) -> None:
    template(db)
    campaign(db)
    with pytest.raises(psycopg.DataError, match=_literally(says)):
        db.execute(
            "insert into public.outbox (recipient, template, parameters) values (%s, 'hi', %s)", [number(1), Jsonb(parameters)]
        )
    with pytest.raises(psycopg.DataError, match=_literally(says)) as refused:
        db.execute(
            "insert into public.outbox_campaign_members (campaign, external_id, recipient, timezone, parameters)"
            " values ('c', 'ada', %s, 'UTC', %s)",
            [number(1), Jsonb(parameters)],
        )
    assert "member 'ada' of campaign 'c'" in str(refused.value)


def test_null_takes_the_default_without_rendering_again(db: Connection) -> None:
    template(db, body="{{a}} {{b}}", defaults={"a": "A", "b": "B"})
    row = one(db, 'select outbox_engine.rendered_text(t, \'{"a": null, "b": "{{a}}"}\') from public.outbox_templates t')
    assert row == "A {{a}}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("update public.outbox_templates set body = 'Hi {{first}}'", "placeholder {{first}} of template 'hi' has no value"),
        ("update public.outbox_templates set body = repeat('{{name}}', 100)", "becomes a text of 3000 characters"),
        ("delete from public.outbox_templates", "template 'hi' is used by"),
    ],
)
@pytest.mark.parametrize("user", ["member", "row"])
def test_edit_that_leaves_no_text_is_refused(db: Connection, change: str, says: str, user: str) -> None:
    """Of a member or of a waiting message."""
    template(db)
    name = "x" * 30
    if user == "member":
        campaign(db)
        member(db, event_at="2030-01-01 12:00+00", parameters={"name": name})
    else:
        db.execute(
            "insert into public.outbox (recipient, template, parameters) values (%s, 'hi', %s)",
            [number(1), Jsonb({"name": name})],
        )
    with pytest.raises(psycopg.DataError, match=_literally(says)) as refused:
        db.execute(change)
    assert ("'m' of campaign 'c'" if user == "member" else "waiting message") in str(refused.value) or change[:6] == "delete"


GROWING = st.text(st.sampled_from("a'\"\\\n…\u0344\u0958\ufb2c\U0001d160é😀"), min_size=1, max_size=20)


@examples(80)
@given(start=GROWING, default=GROWING, value=GROWING, plain=st.booleans(), times=st.integers(1, 3))
def test_no_text_exceeds_its_length_bound(
    db: Connection, start: str, default: str, value: str, plain: bool, times: int
) -> None:
    body = start + "{{a}}{{b}}" + "{{b}}" * times
    longest, bound = db.execute(
        "select char_length(outbox_engine.rendered_text(t, p)), b.literal_length + b.growth * char_length(p::text)"
        " from (select row('t', %s, %s, %s, null, 1, now())::public.outbox_templates as t, %s::jsonb as p) x,"
        " outbox_engine.text_bounds(t) b",
        [body, Jsonb({"a": default}), plain, Jsonb({"b": value})],
    ).fetchall()[0]
    assert int(str(longest)) <= int(str(bound))


def test_long_text_without_look_alikes_needs_few_checks(db: Connection) -> None:
    template(db, body="Hi {{name}}{{a}}{{b}}" + "x" * 1800, defaults={"a": "1", "b": "2"}, plain=True)
    bound = "select literal_length + growth * length(%s::text) from public.outbox_templates t, outbox_engine.text_bounds(t)"
    assert int(one(db, bound, ['{"name": "Ada Lovelace"}'])) <= 2000


def test_unused_template_is_checked_only_on_activation(db: Connection) -> None:
    template(db)
    campaign(db, status="draft")
    member(db, event_at="2030-01-01 12:00+00")
    db.execute("update public.outbox_templates set body = 'Hi {{name}}, {{day}}'")

    with pytest.raises(psycopg.DataError, match=_literally("member 'm' of campaign 'c': placeholder {{day}}")):
        db.execute("update public.outbox_campaigns set status = 'active'")
    db.execute('update public.outbox_templates set defaults = \'{"day": "soon"}\'')
    db.execute("update public.outbox_campaigns set status = 'active'")


@pytest.mark.parametrize(("status", "is_refused"), [("active", True), ("paused", True), ("draft", False), ("ended", False)])
def test_edit_without_a_members_value_is_refused(db: Connection, status: str, *, is_refused: bool) -> None:
    """Unless the campaign is a draft or has ended."""
    template(db)
    campaign(db, status=status)
    member(db, event_at="2030-01-01 12:00+00")

    edit = "update public.outbox_templates set body = 'Hi {{name}}, {{day}}'"
    if is_refused:
        with pytest.raises(psycopg.DataError, match=_literally("member 'm' of campaign 'c': placeholder {{day}}")):
            db.execute(edit)
    else:
        db.execute(edit)


@pytest.mark.parametrize("user", ["member", "row", "campaign"])
def test_edit_waits_for_concurrent_inserts_and_checks_them(db: Connection, stack: LocalStack, user: str) -> None:
    template(db)
    campaign(db, status="draft" if user == "campaign" else "active")
    if user == "campaign":
        member(db, event_at="2030-01-01 12:00+00")
    with psycopg.connect(stack.admin_url) as writer, ThreadPoolExecutor(1) as pool:
        if user == "member":
            member(writer, event_at="2030-01-01 12:00+00")
        elif user == "row":
            use(writer, {"name": "Ada"})
        else:
            writer.execute("update public.outbox_campaigns set status = 'active'")
        edit = pool.submit(db.execute, "update public.outbox_templates set body = 'Hi {{first}}'")
        assert wait_until(lambda: edit.done() or waits_for_a_lock(stack), 10)
        writer.commit()
        with pytest.raises(psycopg.DataError, match=_literally("placeholder {{first}} of template 'hi' has no value")):
            edit.result(timeout=10)


@pytest.mark.parametrize("user", ["member", "row"])
def test_insert_during_an_edit_uses_the_new_text(db: Connection, stack: LocalStack, user: str) -> None:
    template(db)
    campaign(db)
    with psycopg.connect(stack.admin_url) as editor, ThreadPoolExecutor(1) as pool:
        editor.execute("update public.outbox_templates set body = 'Hi {{first}}'")
        written = pool.submit(use, db, {"name": "Ada"}) if user == "row" else pool.submit(member, db)
        assert wait_until(lambda: written.done() or waits_for_a_lock(stack), 10)
        editor.commit()
        with pytest.raises(psycopg.DataError, match=_literally("placeholder {{first}} of template 'hi' has no value")):
            written.result(timeout=10)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ("body = 'Hello {{first}}'", "placeholder {{first}} of template 'hi' has no value"),
        ("body = '{{blank}}', defaults = '{\"blank\": \" \"}'", "template 'hi' becomes a text that is all blank"),
        ('defaults = \'{"blank": {"a": 1}}\'', "placeholder {{blank}} of template 'hi' must be a text or a number"),
        ("body = repeat('{{name}}', 200)", "template 'hi' becomes a text of 6000 characters"),
    ],
)
async def test_row_invalid_at_the_claim_fails_with_reason(db: Connection, rig: Rig, edit: str, says: str) -> None:
    template(db, body="Hello {{name}}{{blank}}", defaults={"blank": "!"})
    use(db, {"name": "x" * 30})
    db.execute("alter table public.outbox_templates disable trigger user")
    try:
        db.execute(f"update public.outbox_templates set {edit}")
    finally:
        db.execute("alter table public.outbox_templates enable trigger user")

    await rig.tick("dispatch")
    [(status, error, body)] = rows(db, "status, error, body")
    assert (status, body) == ("failed", None)
    assert str(error).startswith(says)
    assert rig.simulator.summary().messages == 0


async def test_row_left_blank_by_an_edit_fails(db: Connection, rig: Rig) -> None:
    template(db)
    use(db, {"name": " "})
    use(db, {"name": "Ada"}, n=2)
    db.execute("update public.outbox_templates set body = '{{name}}'")

    await rig.tick("dispatch")
    assert rows(db, "status, error, body") == [
        ("failed", "template 'hi' becomes a text that is all blank", None),
        ("sent", None, "Ada"),
    ]


@pytest.mark.parametrize(
    ("change", "becomes"),
    [
        ("update public.outbox_templates set body = 'Bye {{name}}'", ("sent", None, "Bye Ada")),
        (
            "update public.outbox_templates set body = 'Bye {{first}}'",
            ("failed", "placeholder {{first}} of template 'hi' has no value", "Hello Ada"),
        ),
        ("delete from public.outbox_templates", ("sent", None, "Hello Ada")),
    ],
)
async def test_returned_row_uses_the_edited_template(
    db: Connection, rig: Rig, gateway: Gateway, sinch: Running, change: str, becomes: tuple[Any, ...]
) -> None:
    """An edit is not checked against messages that are in a request."""
    template(db)
    use(db, {"name": "Ada"})
    claim = await gateway.claim(
        plan_of(sinch), claim_id=str(uuid4()), worker="w", lease=30, deadline=10, max_dispatches=1, max_recipients=1,
        max_rows=1, allowed_destinations=None, share_texts=True,
    )  # fmt: skip
    db.execute(change)
    await gateway.release(claim.dispatches)

    await rig.tick("dispatch")
    assert rows(db, "status, error, body") == [becomes]


def waits_for_a_lock(stack: LocalStack) -> bool:
    with psycopg.connect(stack.admin_url) as db:
        return bool(one(db, "select exists (select from pg_stat_activity where wait_event_type = 'Lock')"))


def use(db: Connection, parameters: dict[str, Any], n: int = 1) -> None:
    """A row that is made of the template ``hi``, to the nth test number."""
    db.execute(
        "insert into public.outbox (recipient, template, parameters) values (%s, 'hi', %s)", [number(n), Jsonb(parameters)]
    )


def one(db: Connection, query: str, values: list[Any] | None = None) -> Any:
    row = db.execute(query, values or []).fetchone()
    assert row is not None
    return row[0]


def _literally(text: str) -> str:
    return "".join(f"[{c}]" if c in "{}[]()" else c for c in text)
