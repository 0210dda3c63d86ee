"""The tokens of requests, verified as Vonage would, and the keys that sign them."""

import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from jobs.providers.vonage.tokens import Tokens
from jobs.runtime import checks
from jobs.runtime.clocks import Clocks, monotonic
from tests.keys import elliptic_key, private_key, public_key

HOUR = 3600.0


def read(token: str) -> dict[str, Any]:
    """The claims, verified with the public key. The clock of Vonage is this machine's."""
    return jwt.decode(token, public_key(), algorithms=["RS256"])


def an_hour_ahead() -> Clocks:
    return Clocks(wall=lambda: time.time() + HOUR)


async def test_each_token_is_signed_anew() -> None:
    tokens = Tokens("application-1", private_key(), Clocks())
    one, other = read(tokens.new()), read(tokens.new())

    assert jwt.get_unverified_header(tokens.new()) == {"alg": "RS256", "typ": "JWT"}
    assert one.keys() == {"application_id", "iat", "exp", "jti"}
    assert one["application_id"] == "application-1"
    assert one["exp"] - one["iat"] == 900
    assert one["jti"] != other["jti"]


async def test_clock_ahead_signs_no_token_from_the_future() -> None:
    """Vonage answers a token from the future with 401, which would stop the plan."""
    clocks = an_hour_ahead()
    with pytest.raises(jwt.ImmatureSignatureError):
        read(Tokens("a", private_key(), clocks).new())

    clocks.provider_says(datetime.now(UTC), sent=monotonic(), received=monotonic())

    assert read(Tokens("a", private_key(), clocks).new())


async def test_first_token_is_dated_by_the_database() -> None:
    """Vonage has not answered yet, but the claim has."""
    clocks = an_hour_ahead()
    clocks.database_says(datetime.now(UTC), sent=monotonic(), received=monotonic())

    assert read(Tokens("a", private_key(), clocks).new())


async def test_clock_slightly_ahead_is_no_trouble() -> None:
    clocks = Clocks(wall=lambda: time.time() + 20)

    assert read(Tokens("a", private_key(), clocks).new())


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (lambda: private_key()[:400], "cut short"),
        (lambda: private_key().replace("MII", "XII"), "cut short"),
        (lambda: private_key(password="secret"), "passphrase"),
        (lambda: private_key(bits=1024), "1024 bits"),
        (public_key, "public key"),
        (elliptic_key, "not an RSA key"),
    ],
)
def test_key_that_cannot_sign_is_refused(pem: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        checks.rsa_key(pem())

    assert "MII" not in str(refused.value)
