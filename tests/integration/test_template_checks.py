"""The quick check of a message with a template accepts nothing that the full check refuses, and refuses nothing besides."""

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.campaigns import template
from tests.stack import Connection

NAMES = st.sampled_from(["a", "b", "other"])
VALUES = st.one_of(
    st.text(alphabet='ab [{}]"\\… \u00a0\n', max_size=8),
    st.sampled_from(["x" * 900, "…" * 700, 4711, 1.5, True, None, ["x"], {"x": 1}]),
)
BODIES = st.lists(st.sampled_from(["Hi ", "{{a}}", "{{ b }}", " ", "\u00a0", "x" * 500, "[1]"]), min_size=1, max_size=6).map(
    "".join
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=BODIES,
    defaults=st.dictionaries(NAMES, VALUES, max_size=1),
    plain=st.booleans(),
    parameters=st.dictionaries(NAMES, VALUES),
)
@example(body="Hi {{a}}", defaults={}, plain=True, parameters={"a": "…" * 700})
@example(body="{{a}}", defaults={}, plain=False, parameters={"a": " "})
@example(body="Hi {{a}}", defaults={}, plain=False, parameters={"a": ["x"]})
def test_quick_check_agrees_with_the_full_one(
    db: Connection, body: str, defaults: dict[str, Any], plain: bool, parameters: dict[str, Any]
) -> None:
    with db.transaction(force_rollback=True):
        try:
            with db.transaction():
                template(db, "t", body, defaults=defaults, plain=plain)
        except psycopg.errors.InvalidParameterValue:
            return
        row = db.execute(
            "select outbox_engine.text_problem(t, jsonb_strip_nulls(%s), true) from public.outbox_templates t where name = 't'",
            [Jsonb(parameters)],
        ).fetchone()
        assert row is not None
        assert refusal(db, parameters) == row[0]


def refusal(db: Connection, parameters: dict[str, Any]) -> str | None:
    try:
        with db.transaction():
            db.execute(
                "insert into public.outbox (recipient, template, parameters) values ('+14155550123', 't', %s)",
                [Jsonb(parameters)],
            )
    except psycopg.errors.InvalidParameterValue as error:
        return error.diag.message_primary
    return None


@pytest.mark.parametrize("change", ["body = 'Bye {{b}}'", "name = 'renamed'", "defaults = '{\"a\": 1}'"])
def test_edit_of_a_template_counts_at_once(db: Connection, change: str) -> None:
    template(db, "t", "Hi {{a}}")
    assert refusal(db, {"a": "Ada"}) is None
    db.execute("delete from public.outbox")

    db.execute(f"update public.outbox_templates set {change}")

    changed = db.execute(
        "select count(*) from outbox_engine.template_bounds b join public.outbox_templates t on t.name = b.template"
    )
    assert changed.fetchone() == (1,)
    assert (refusal(db, {"a": "Ada"}) is None) == change.startswith("defaults")
