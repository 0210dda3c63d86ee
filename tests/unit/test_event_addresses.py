"""Where events may go: public addresses over https."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.eventing.addresses import why_refused
from jobs.eventing.urls import endpoint_url

PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1")
REFUSED = {
    "is a loopback address": ("127.0.0.1", "127.255.255.254", "::1"),
    "is a private address": ("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "fec0::1"),
    "is a link-local address": ("169.254.169.254", "fe80::1"),
    "is an address behind a carrier's NAT": ("100.64.0.1", "100.100.100.200", "100.127.255.255"),
    "is a multicast address": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "stands for an IPv4 address": (
        "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1",
    ),
    "is a reserved address": (
        "0.0.0.0", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "255.255.255.255", "240.0.0.1", "::",
        "::127.0.0.1", "2001:db8::1", "3fff::1", "100::1", "4000::1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    assert why_refused(ip_address(address)) is None


@pytest.mark.parametrize(("reason", "address"), [(reason, one) for reason, found in REFUSED.items() for one in found])
def test_other_address_is_refused_with_reason(reason: str, address: str) -> None:
    assert why_refused(ip_address(address)) == reason


@given(st.one_of(st.ip_addresses(), st.ip_addresses(network="2000::/3")))
def test_allowed_addresses_are_global(address: IPv4Address | IPv6Address) -> None:
    if why_refused(address) is None:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "text", ["https://app.example/hooks?key=1", "https://app.example:8443", "https://b\u00fccher.example/", "https://8.8.8.8/x"]
)
def test_https_url_is_allowed(text: str) -> None:
    assert endpoint_url(text, allows_private=False).scheme == "https"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://app.example/hooks", "must begin with https://"),
        ("http://127.0.0.1:8090/hook", "in the settings of `outbox run` allows http"),
        ("https://user:s3cret@app.example/", "no user and password"),
        ("https://token@app.example/", "no user and password"),
        ("https://app.example/#part", "no fragment"),
        ("ftp://app.example/", "http or https"),
        ("https:///hooks", "http or https"),
        ("https://app .example/", "http or https"),
        ("https://app.example/" + "x" * 2048, "more than 2048"),
        ("https://\u2603\ufffd.example/", "no name"),
        ("hooks", "http or https"),
        ("https://127.0.0.1/hooks", "127.0.0.1, which is a loopback address"),
        ("https://[fd00::1]/hooks", "fd00::1, which is a private address"),
    ],
)
def test_wrong_url_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        endpoint_url(text, allows_private=False)

    assert "s3cret" not in str(caught.value)


def test_development_allows_http_and_loopback() -> None:
    assert endpoint_url("http://127.0.0.1:8090/hook", allows_private=True).port == 8090
