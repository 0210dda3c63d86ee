"""The check constraints behind the triggers' messages: they hold where triggers are disabled."""

from hypothesis import given
from hypothesis import strategies as st

from tests.nightly import examples
from tests.stack import Connection

E164 = r"\+[1-9][0-9]{6,14}"
CONDITION = "select pg_get_expr(conbin, conrelid) from pg_constraint where conname = %s"
numbers = st.one_of(
    st.from_regex(E164, fullmatch=True),
    st.from_regex(r"\+?[0-9]{0,20}", fullmatch=True),
    st.text(st.sampled_from("+0123456789 :/\n-\N{ARABIC-INDIC DIGIT THREE}"), max_size=18),
)


@examples(15)
@given(st.lists(numbers, min_size=50, max_size=50))
def test_a_recipient_is_an_e164_number(db: Connection, recipients: list[str]) -> None:
    for constraint in ("outbox_recipient_is_e164", "outbox_campaign_members_recipient_is_e164"):
        differing = db.execute(
            f"select recipient from unnest(%s::text[]) recipient"
            f" where ({condition(db, constraint)}) is distinct from (recipient ~ '^{E164}$')".encode(),
            [recipients],
        ).fetchall()
        assert differing == []


@examples(15)
@given(st.lists(st.tuples(st.sampled_from("x\N{SNOWMAN}\N{PILE OF POO}"), st.integers(0, 2100)), min_size=20, max_size=20))
def test_a_text_has_1_to_2000_characters(db: Connection, texts: list[tuple[str, int]]) -> None:
    differing = db.execute(
        f"select char_length(body) from unnest(%s::text[]) body"
        f" where ({condition(db, 'outbox_body_length')}) is distinct from (char_length(body) between 1 and 2000)".encode(),
        [[character * times for character, times in texts]],
    ).fetchall()
    assert differing == []


def condition(db: Connection, constraint: str) -> str:
    row = db.execute(CONDITION, [constraint]).fetchone()
    assert row is not None
    return str(row[0])
