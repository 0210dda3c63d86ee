"""Opt-out words of every script: how they are compared, for which sender, and that one bad item does not undo the others."""

from typing import Any

import psycopg
import pytest

from tests.engine import SENDER, Clocks, number, statuses
from tests.integration.replies import NOW, PHONE, suppressed, text_in
from tests.stack import Connection


@pytest.fixture(autouse=True)
def noon(clocks: Clocks) -> None:
    clocks.set(NOW)


def bare(db: Connection, text: str) -> Any:
    row = db.execute("select outbox_engine.normalized_word(%s)", [text]).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("zrušit", ["ZRUŠIT", "zrusit", "zrus\u030cit"]),
        ("iptal", ["İPTAL", "IPTAL", "\u0131ptal", "i\u0307ptal"]),
        ("Oprește", ["opreste", "OPREŞTE", "OPREȘTE"]),
        ("wyłącz", ["WYLACZ", "WYŁĄCZ"]),
        ("dừng", ["DUNG", "DỪNG", "du\u031b\u0300ng"]),
        ("đăng xuất", ["DANG XUAT", "ĐĂNG XUẤT"]),
        ("leállít", ["LEALLIT"]),
        ("stopp på", ["STOPP PA", "stopp pa\u030a"]),
        ("STØP", ["støp", "stop"]),
        ("стоп", ["СТОП", "Стоп!"]),
        ("стой", ["СТОЙ", "стои"]),
        ("σταμάτα", ["ΣΤΑΜΑΤΑ", "ΣΤΑΜΆΤΑ"]),
        ("τέλος", ["ΤΕΛΟΣ"]),
        ("կանգ", ["ԿԱՆԳ", "կանգ։"]),
        ("توقف", ["توقف،", "توقّف", "توقف؟", "\u061cتوقف", "توقـف"]),
        ("إلغاء", ["الغاء"]),
        ("הסר", ["הסר\u05be", "הָסֵר", "הסר׃"]),
        ("停止", ["停止。", "停 止"]),
        ("ストップ", ["ｽﾄｯﾌﾟ", "ストップ！", "ス・トップ"]),
        ("रोकें", ["रोकें।"]),
        ("중지", ["중지\u3164", "\u115f중지"]),
        ("stop", [
            "stop؟", "stop،", "stop؛", "stop।", "stop・", "stop\u05be", "stop\u061c", "stop\u180e", "\ufffcstop", "stop\ufffd",
            "stop\u3164", "stop\u115f", "stop\u1160", "stop\U000e0067", "stop´", "stop˙", "stop〽", "stop።", "ſtop", "ⓢⓣⓞⓟ",
        ]),
    ],
)  # fmt: skip
def test_word_matches_without_accents_and_with_punctuation(db: Connection, word: str, typed: list[str]) -> None:
    expected = bare(db, word)
    assert expected
    assert {one: bare(db, one) for one in typed} == dict.fromkeys(typed, expected)


@pytest.mark.parametrize(("one", "other"), [("か", "が"), ("고", "거"), ("रोक", "रूक"), ("stop1", "stop2")])
def test_letters_that_are_different_stay_different(db: Connection, one: str, other: str) -> None:
    assert bare(db, one) != bare(db, other)


@pytest.mark.parametrize("sender", ["+1 202 555 0111", "0012025550111", "12025550111", "+1 (202) 555-0111"])
def test_sender_is_stored_as_it_is_compared(db: Connection, sender: str) -> None:
    db.execute("insert into public.outbox_opt_out_words (word, sender, effect) values ('bye', %s, 'stop')", [sender])

    text_in(db, "bye", to="+12025550111")
    text_in(db, "bye", phone=number(2), to=SENDER, name="another sender's")

    assert [recipient for recipient, _ in suppressed(db)] == [PHONE]
    assert db.execute("select sender from public.outbox_opt_out_words where word = 'BYE'").fetchone() == ("+12025550111",)


@pytest.mark.parametrize(("sender", "kept"), [("12 34", "1234"), ("+12345", "12345"), (" Acme ", "Acme")])
def test_short_codes_lose_their_plus_names_stay_unchanged(db: Connection, sender: str, kept: str) -> None:
    insert = "insert into public.outbox_opt_out_words (word, sender, effect) values ('bye', %s, 'stop') returning sender"
    assert db.execute(insert, [sender]).fetchone() == (kept,)


@pytest.mark.parametrize("sender", ["+0123", "12", "our other number", "+1202555O111", "+44 (0)7700 900123"])
def test_invalid_sender_of_a_word_is_refused(db: Connection, sender: str) -> None:
    with pytest.raises(psycopg.DataError, match="is not a sender"):
        db.execute("insert into public.outbox_opt_out_words (word, sender, effect) values ('bye', %s, 'stop')", [sender])


@pytest.mark.parametrize("reply", ["", " ", "\n", "\t\r\n "])
def test_an_answer_that_is_all_blank_is_refused(db: Connection, reply: str) -> None:
    with pytest.raises(psycopg.DataError, match="of 1 to 2000 characters"):
        db.execute("update public.outbox_opt_out_words set reply = %s where word = 'HELP'", [reply])


def test_failing_help_answer_blocks_no_other_reply(db: Connection) -> None:
    """The STOP and the other answer of the same call are kept."""
    db.execute("update public.outbox_opt_out_words set reply = 'Acme' where word = 'HELP'")
    db.execute(
        "create function public.no_answers() returns trigger language plpgsql as"
        f" $$ begin if new.recipient = '{number(2)}' then raise 'no'; end if; return new; end $$;"
        " create trigger no_answers before insert on public.outbox for each row execute function public.no_answers()"
    )
    try:
        db.execute(
            "select public.outbox_record_inbounds('webhook', array_fill('sinch'::text, '{3}'), '{a,b,c}',"
            " array_fill('mo_text'::text, '{3}'), %s, array_fill(%s::text, '{3}'), '{STOP,HELP,HELP}',"
            ' array_fill(%s::text, \'{3}\'), \'{"","",""}\', \'{"{}","{}","{}"}\')',
            [[number(1), number(2), number(3)], SENDER, NOW.isoformat()],
        )
    finally:
        db.execute("drop trigger no_answers on public.outbox; drop function public.no_answers()")

    assert suppressed(db) == [(PHONE, "replied STOP")]
    assert statuses(db) == {"pending": 1}
    assert db.execute("select kind, detail ->> 'error' from outbox_engine.alarms").fetchall() == [("help.unanswered", "no")]
    assert db.execute("select recipient from outbox_engine.help_answers").fetchall() == [(number(3),)]
