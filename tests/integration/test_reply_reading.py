"""What a reply asks for: certain opt-outs in any disguise, unclear ones that wait for a person, and all others."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.engine import SENDER
from tests.nightly import examples
from tests.stack import Connection


def read(db: Connection, text: str, *, to: str = SENDER) -> tuple[Any, ...]:
    """The effect, and whether a person has to decide."""
    return db.execute("select effect, unclear from outbox_engine.read_reply(%s, %s)", [text, to]).fetchall()[0]


@pytest.mark.parametrize(
    "text",
    [
        "STOP", "STOP ALL", "stop!!!", "Stop, John", "STOP - Anna B", "Stop – John Smith Jr", "stop\nJohn", "STOP\u2028Ann",
        "please stop", "Stop please", "STOP, thanks!", "stop, por favor, Ana", "Bitte STOPP, danke", "S'il vous plaît arrêter",
        "s’il te plait stop merci", "s-t-o-p", "S.T.O.P.", "S T O P please", "stop stop STOP", "STOOOP",
        "ЅТОР", "ѕтор", "Ѕtоp", "SΤΟΡ", "ＳＴＯＰ", "ꜱᴛᴏᴘ", "🆂🆃🅾🅿", "🇸🇹🇴🇵", "Ⓢⓣⓞⓟ", "ꓢꓔꓳꓑ", "$T0P", "s\u0336t\u0336op",
        "Stop all, stop all", "UNSUB$CRIBE пожалуйста", "🆂🆃🅾🅿 пожалуйста", "пожалуйста, $TОР",
        "\u202eSTOP\u202c", "please\u200bstop", "ST\ufffdOP \ufffd", "“stop”", "STOP 🇺🇸",
        "STOP™ 🈲 ㊙", "opt-out", "Opt out, please",
        "СТОП", "стоп, Иван", "CТOП", "cтоп", "пожалуйста, стоп", "توقف", "توقف من فضلك", "لغو",
        "الغاء الاشتراک", "ΣΤΟΠ", "στoπ",
        "停止", "请停止", "停止，谢谢", "退订。", "ストップ", "配信停止お願いします", "수신거부", "중지해주세요",
        "หยุด", "หยุดครับ", "ꜱᴛᴏᴩ", "ᔕTOᑭ", "रोकें", "הסר בבקשה",
        "No no más",
        "ARRÊT", "Arrêter", "alto", "¡Baja!", "no más", "NO MAS gracias", "İptal", "iptal lütfen", "Stopp", "abmelden", "TD",
    ],
)  # fmt: skip
def test_certain_opt_outs_are_heard(db: Connection, text: str) -> None:
    assert read(db, text) == ("stop", False)


@pytest.mark.parametrize(
    "text",
    [
        "Please cancel my appointment", "Stop by anytime, thanks", "please don't stop", "please don’t stop", "dоn't stop",
        "don´t stop", "do not stop", "Stop, not today", "never stop", "Stop, start", "start stop", "Stop, help", "the end",
        "Stop. John", "stop: John", "Stop, John Smith Junior III", "Hi, stop", "STOP CANCEL", "I want to S T O P",
        "nicht stopp", "no, stop", "stop, no", "не стоп", "Стоп, не надо", "لا توقف", "不要停止", "请不要停止",
        "停止，我以后还想收到消息", "停止しないで", "停止，不要停", "停止、やめないで", "หยุด, อย่าหยุด", "ยกเลิก, ไม่",
        "Merci d'arrêter", "n’arrêtez pas", "start, then stop", "stop\u200b by", "STOP\nI have a question about it",
        "HELP, STOP",
    ],
)  # fmt: skip
def test_uncertain_opt_outs_wait_for_a_person(db: Connection, text: str) -> None:
    assert read(db, text) == (None, True)


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "seis", "nonstop", "stopping", "0", "!!!", "Thanks", "please", "no", "unstoppable", "I am in a weekend",
        "🛑", "TDs",
    ],
)  # fmt: skip
def test_other_messages_wait_for_no_one(db: Connection, text: str) -> None:
    assert read(db, text) == (None, False)


@pytest.mark.parametrize("text", ["START", "start please", "Ѕtаrt!", "UNSTOP", "S-T-A-R-T"])
def test_certain_start_is_heard(db: Connection, text: str) -> None:
    assert read(db, text) == ("start", False)


@pytest.mark.parametrize("text", ["start, John", "start again", "don't start", "Start - not now", "please start tomorrow"])
def test_uncertain_start_changes_nothing(db: Connection, text: str) -> None:
    """Nor does it wait for a person: nothing is sent in doubt."""
    assert read(db, text) == (None, False)


def test_word_of_one_sender_counts_there_only(db: Connection) -> None:
    db.execute(
        "insert into public.outbox_opt_out_words (word, sender, effect) values"
        " ('END', '+12025550111', 'none'), ('Enough now', '+12025550111', 'stop'), ('ahoj', '', 'polite')"
    )
    assert read(db, "the end", to="+12025550111") == (None, False)
    assert read(db, "end", to="12025550111") == (None, False)
    assert read(db, "ahoj, enough now", to="12025550111") == ("stop", False)
    assert read(db, "enough now") == (None, False)
    assert read(db, "end", to="") == ("stop", False)


@pytest.mark.parametrize(("word", "effect"), [("NO", "stop"), ("thanks", "stop"), ("STOP", "start")])
def test_words_of_a_project_replace_defaults(db: Connection, word: str, effect: str) -> None:
    db.execute("insert into public.outbox_opt_out_words (word, effect) values (%s, %s)", [word, effect])
    assert read(db, word) == (effect, False)


# Any stop word in any disguise

INVISIBLE = (
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202c\u202e\u2060\u2066\u2069\ufeff\u00ad\u034f\u180e\ufe0f\u061c\u3164\U000e0067"
)
LOOKS_LIKE = {
    "A": "АΑᎪꓮＡ𝐀ⒶᴀÁ", "B": "ВΒᏴ", "C": "СϹᏟÇ", "D": "ᎠꓓᴅĐ", "E": "ЕΕᎬÈ", "I": "ІΙꓲÍ1", "J": "ЈᎫ", "K": "КΚᏦ", "L": "ꓡᏞŁ",
    "M": "МΜᎷ", "N": "ΝꓠÑ", "O": "ОΟꓳØ0", "P": "РΡᏢꓑ", "Q": "Ԛ", "R": "ᎡꓣＲ", "S": "ЅᏚꓢ5$", "T": "ТΤꓔ𝕋", "U": "ꓴᴜÜ",
    "V": "ѴᏙ", "W": "ԜᎳ", "X": "ХΧꓫ", "Y": "УΥꓬ",
    "a": "аαɑａå", "c": "сϲç", "e": "еéｅ", "i": "іιı", "j": "јϳ", "k": "кκ", "n": "пηñ", "o": "оοօø", "p": "рρｐ", "s": "ѕꜱｓ",
    "t": "тτᴛ", "u": "υսü", "v": "νѵ", "x": "хχ", "y": "уγ",
}  # fmt: skip
NAMES = st.sampled_from(["John", "Anna B", "Zoë Smith Jr", "Иван", "J.", "王小明"])
POLITE = st.sampled_from(["please", "Thanks", "por favor", "bitte", "пожалуйста", "s'il vous plaît"])
NEGATIONS = st.sampled_from(["don't", "not", "never", "nicht", "не", "no", "pas", "لا"])
OTHER_WORDS = st.sampled_from(["my appointment", "by anytime", "tomorrow", "the bus", "завтра", "calling"])


def stop_word(db: Connection, data: st.DataObject) -> str:
    """Any default stop word."""
    words = db.execute(
        "select unnest(string_to_array(words, '|')) from outbox_engine.default_stop_words() where effect = 'stop'"
    )
    return str(data.draw(st.sampled_from([word for (word,) in words]), label="word"))


def disguised(data: st.DataObject, word: str) -> str:
    """In other case, with look-alikes for Latin letters, and with invisible marks between the characters."""
    cased = data.draw(st.sampled_from([word, word.lower(), word.title()] if word.isascii() else [word]))
    shapes = LOOKS_LIKE if word.isascii() else {}
    letters = [data.draw(st.sampled_from(letter + shapes.get(letter, ""))) for letter in cased]
    return "".join(letter + data.draw(st.text(INVISIBLE, max_size=2)) for letter in letters)


@examples(150)
@given(
    data=st.data(),
    before=st.lists(POLITE, max_size=2).map(" ".join),
    after=st.lists(POLITE, max_size=2).map(" ".join),
    sign=st.sampled_from(["", "!", "...", "?!", " 🛑", "\ufffd", "\u00a0", " \n", " -"]),
    signature=st.none() | st.tuples(st.sampled_from([", ", " - ", "\n", "、", " — ", "\u2028"]), NAMES),
)
def test_disguised_stop_word_is_an_opt_out(
    db: Connection, data: st.DataObject, before: str, after: str, sign: str, signature: tuple[str, str] | None
) -> None:
    text = f"{before} {disguised(data, stop_word(db, data))}{sign} {after}{''.join(signature or ())}"
    assert read(db, text) == ("stop", False), text


@examples(100)
@given(mark=st.characters(categories=["Cf", "Cc", "Co", "Me", "Zl", "Zp", "Zs"], exclude_characters="\0"))
def test_no_mark_hides_an_opt_out(db: Connection, mark: str) -> None:
    assert read(db, f"{mark}S{mark}TOP{mark}") == ("stop", False)


@examples(150)
@given(
    data=st.data(),
    more=st.one_of(
        NEGATIONS.map("{} {{}}".format), NEGATIONS.map("{{}}, {}".format), NEGATIONS.map("{{}} {} please".format),
        OTHER_WORDS.map("{} {{}}".format), OTHER_WORDS.map("please {{}} {}".format), OTHER_WORDS.map("{{}} {}, thanks".format),
    ),
)  # fmt: skip
def test_more_words_make_a_reply_unclear(db: Connection, data: st.DataObject, more: str) -> None:
    text = more.format(stop_word(db, data))
    words = text.casefold().split()
    # "No no más" says its first word twice, and is an opt-out.
    assume(all(word != after for word, after in pairwise(words)))
    assert read(db, text) == (None, True), text


@examples(100)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200))
def test_any_text_can_be_read(db: Connection, text: str) -> None:
    effect, unclear = read(db, text)
    assert not (effect and unclear)
