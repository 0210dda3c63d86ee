"""HTTP answers in any form and in any pieces: the plain reader and h11 read the same."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.providers.answers import Answer
from jobs.providers.reading import AnswerReader, Unfinished

HEADERS = st.sampled_from(
    [
        b"Date: Tue, 24 Nov 2026 12:00:00 GMT",
        b"X-Request-Id:abc",
        b"X-Empty:",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Set-Cookie: a=1",
        b"X-Odd: \xe9",
        b"Content-Type: application/json  ",
    ]
)
BODIES = st.binary(max_size=40)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer with a length, in chunks, or until the end of the connection; perhaps after an informational one."""
    body = draw(BODIES)
    lines = [draw(st.sampled_from([b"HTTP/1.1 202 Accepted", b"HTTP/1.1 422 ", b"HTTP/1.1 204 No", b"HTTP/1.0 500 X"]))]
    lines += draw(st.lists(HEADERS, max_size=4))
    framing = draw(st.sampled_from(["length", "chunks", "end", "twice"]))
    if framing == "chunks":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif framing != "end":
        lines += [b"Content-Length: %d" % len(body)] * (2 if framing == "twice" else 1)
    if lines[0].startswith(b"HTTP/1.1 204"):
        body = b""
    before = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]))
    return before + b"\r\n".join(lines) + b"\r\n\r\n" + body


class H11Reader(AnswerReader):
    """Never takes an answer for a plain one."""

    def _read_plain(self) -> bool:
        return False


def read(reader: AnswerReader, pieces: list[bytes]) -> tuple[Answer | None, bool]:
    """The answer, or as much of it as counts, and whether another may follow."""
    try:
        for piece in [*pieces, b""]:
            answer = reader.feed(piece)
            if answer is not None:
                return answer, reader.may_go_on
    except Unfinished:
        pass
    return reader.head, False


@given(answers(), st.integers(0, 200), st.integers(0, 200))
def test_pieces_and_readers_make_no_difference(raw: bytes, one: int, other: int) -> None:
    first, second = sorted((min(one, len(raw)), min(other, len(raw))))
    pieces = [piece for piece in (raw[:first], raw[first:second], raw[second:]) if piece]

    whole = read(H11Reader(), [raw])

    assert read(AnswerReader(), [raw]) == whole
    assert read(AnswerReader(), pieces) == whole


@given(answers(), st.integers(0, 200))
def test_a_cut_answer_is_never_whole(raw: bytes, end: int) -> None:
    cut = [raw[:end]] if end else []

    assert read(AnswerReader(), cut) == read(H11Reader(), cut)


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    read(AnswerReader(), [raw] if raw else [])


@pytest.mark.parametrize(
    "raw", [b"HTTP/1.1 202 X\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 202 X\r\nContent-Length: 2\r\nA: b\r\nA: c\r\n\r\n{}"]
)
def test_bytes_after_an_answer_end_the_connection(raw: bytes) -> None:
    assert read(AnswerReader(), [raw])[1]
    assert not read(AnswerReader(), [raw + b"HTTP/1.1 422"])[1]


def test_body_that_cannot_be_decompressed_is_missing() -> None:
    packed = zlib.compress(b"{}")
    head = b"HTTP/1.1 200 X\r\nContent-Encoding: deflate\r\nContent-Length: %d\r\n\r\n"

    assert read(AnswerReader(), [head % len(packed) + packed])[0] == Answer(
        200, {"content-encoding": "deflate", "content-length": str(len(packed))}, b"{}"
    )
    answer, _ = read(AnswerReader(), [head % 4 + b"nope"])
    assert answer is not None
    assert answer.body is None


def test_endless_head_ends_the_connection() -> None:
    reader = AnswerReader()

    with pytest.raises(Unfinished):
        any(reader.feed(b"x" * 1000) for _ in range(1000))
