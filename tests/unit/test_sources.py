"""The source address of a request, and how often a source may fail."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.runtime.checks import Network
from jobs.runtime.sources import FailureLimit, is_within, source_of

PROXIES: list[Network] = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
ADDRESSES = st.ip_addresses().map(str)
HOPS = ADDRESSES | st.ip_addresses(network="10.0.0.0/8").map(str) | st.text(max_size=10)


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),  # a source that is no trusted proxy is not believed
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9"),  # what stands further left was written by the source
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.9", "10.0.0.2"], "203.0.113.9"),  # one header a hop
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ['"2001:db8::1"'], "2001:db8::1"),
        ("10.0.0.1", ["203.0.113.9, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, "], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),  # IPv4 on a socket that does both
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        (None, ["203.0.113.9"], None),
        ("/run/outbox.sock", ["203.0.113.9"], None),
    ],
)
def test_source_is_the_rightmost_untrusted_hop(peer: str | None, forwarded: list[str], source: str | None) -> None:
    assert source_of(peer, forwarded, PROXIES) == (None if source is None else ip_address(source))


@given(peer=ADDRESSES, forwarded=st.lists(HOPS))
def test_without_proxies_no_header_changes_the_source(peer: str, forwarded: list[str]) -> None:
    assert source_of(peer, forwarded, []) == source_of(peer, [], [])


@given(claimed=st.lists(HOPS), honest=st.ip_addresses(network="203.0.113.0/24").map(str))
def test_a_source_cannot_talk_itself_into_another(claimed: list[str], honest: str) -> None:
    forwarded = [", ".join([*claimed, honest]), "10.0.0.2"]

    assert source_of("10.0.0.1", forwarded, PROXIES) == ip_address(honest)


@given(peer=st.none() | HOPS, forwarded=st.lists(st.text()))
def test_any_header_gives_an_address_or_none(peer: str | None, forwarded: list[str]) -> None:
    source = source_of(peer, forwarded, PROXIES)

    assert source is None or is_within(source, [ip_network("0.0.0.0/0"), ip_network("::/0")])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def exceeded(limit: FailureLimit, source: str) -> bool:
    return limit.exceeded(limit.count(ip_address(source)))


def test_a_source_may_fail_so_often_a_minute() -> None:
    clock = Clock()
    limit = FailureLimit(failures=2, seconds=60, clock=clock)

    assert [exceeded(limit, "203.0.113.9") for _ in range(3)] == [False, False, True]
    assert not exceeded(limit, "203.0.113.10")

    clock.now = 60.0
    assert not exceeded(limit, "203.0.113.9")


def test_ipv6_addresses_of_a_host_are_one_source() -> None:
    limit = FailureLimit(failures=1)

    assert [exceeded(limit, f"2001:db8::{number}") for number in range(2)] == [False, True]
    assert not exceeded(limit, "2001:db8:1::1")


def test_oldest_sources_are_forgotten_beyond_the_limit() -> None:
    limit = FailureLimit(failures=1, sources=2)
    for source in ("203.0.113.1", "203.0.113.2", "203.0.113.3"):
        limit.count(ip_address(source))

    assert exceeded(limit, "203.0.113.3")
    assert not exceeded(limit, "203.0.113.1")


def test_peer_without_address_counts_as_a_source() -> None:
    limit = FailureLimit(failures=1)

    assert [limit.count(None), limit.count(None)] == [1, 2]
