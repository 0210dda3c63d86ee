"""Vonage's signature, made by PyJWT as the sender."""

import base64
import hashlib
import json
import time

import jwt
import pytest

from jobs.providers.callbacks import Verdict
from jobs.providers.vonage.reader import VonageCallbacks
from tests.unit.callback_samples import SECRET, VONAGE, encoded, vonage_headers

RAW = encoded(VONAGE.report())
HASH = hashlib.sha256(RAW).hexdigest()
READER = VonageCallbacks([SECRET])


def verdict(headers: dict[str, str], raw: bytes = RAW) -> Verdict:
    return READER.authenticate(headers, raw)


def token(claims: object, *, algorithm: str = "HS256", secret: str = SECRET, **header: object) -> dict[str, str]:
    payload = json.dumps(claims).encode()
    return {"authorization": f"Bearer {jwt.PyJWS().encode(payload, secret, algorithm, header)}"}


@pytest.mark.parametrize(
    "claim", [{"payload_hash": None}, {"payload_hash": ""}, {"payload_hash": 7}, {"payload_hash": "0" * 64}]
)
def test_token_must_sign_the_body(claim: dict[str, object]) -> None:
    assert verdict(vonage_headers(RAW, claims=claim)) is Verdict.FORGED


def test_token_of_another_body_is_forged() -> None:
    assert verdict(vonage_headers(encoded(VONAGE.report(status="rejected")))) is Verdict.FORGED


def test_hash_is_read_in_any_case() -> None:
    assert verdict(vonage_headers(RAW, claims={"payload_hash": HASH.upper()})) is Verdict.VERIFIED


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_scheme_is_read_in_any_case(scheme: str) -> None:
    authorization = vonage_headers(RAW)["authorization"].replace("Bearer", scheme)

    assert verdict({"authorization": authorization}) is Verdict.VERIFIED


@pytest.mark.parametrize("hours", [-30 * 24, -1, 1, 30 * 24])
@pytest.mark.parametrize("claim", ["iat", "nbf", "exp"])
def test_no_clock_makes_a_true_token_false(claim: str, hours: int) -> None:
    """Vonage repeats a callback for a day, and our clock may be wrong."""
    assert verdict(vonage_headers(RAW, claims={claim: int(time.time()) + hours * 3600})) is Verdict.VERIFIED


@pytest.mark.parametrize("claim", [{"iat": None, "jti": None, "iss": None, "api_key": None}, {"iat": "soon", "iss": "other"}])
def test_other_claims_count_for_nothing(claim: dict[str, object]) -> None:
    assert verdict(vonage_headers(RAW, claims=claim)) is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("algorithm", "expected"), [("HS256", Verdict.VERIFIED), ("HS384", Verdict.FORGED), ("HS512", Verdict.FORGED)]
)
def test_other_algorithms_are_forged(algorithm: str, expected: Verdict) -> None:
    signed = token({"payload_hash": HASH}, algorithm=algorithm, secret=SECRET * 2)

    assert VonageCallbacks([SECRET * 2]).authenticate(signed, RAW) is expected


def test_token_without_an_algorithm_is_forged() -> None:
    assert verdict(token({"payload_hash": HASH}, algorithm="none", secret="")) is Verdict.FORGED


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS512"},
        {"alg": "none"},
        {"alg": ["HS256"]},
        {},
        [],
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False},
    ],
)
def test_header_of_another_form_is_forged(header: object) -> None:
    """Although the HMAC over it is true."""
    signed = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, {"payload_hash": HASH})
    )
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed, SECRET.encode())
    made = b".".join((signed, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()

    assert verdict({"authorization": f"Bearer {made}"}) is Verdict.FORGED


@pytest.mark.parametrize("claims", [[], "text", None, {"payload_hash": [HASH]}])
def test_claims_of_another_form_are_forged(claims: object) -> None:
    assert verdict(token(claims)) is Verdict.FORGED


def test_every_changed_character_is_noticed() -> None:
    whole = vonage_headers(RAW)["authorization"]
    for place in range(len("Bearer "), len(whole)):
        other = "A" if whole[place] != "A" else "B"
        assert verdict({"authorization": whole[:place] + other + whole[place + 1 :]}) is Verdict.FORGED


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "bearer x", "Bearer a.b", "Bearer ..", "Bearer é.é.é"])
def test_broken_token_is_forged(authorization: str) -> None:
    assert verdict({"authorization": authorization}) is Verdict.FORGED


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": ""}, {"authorization": "Basic eDp5"}, {"authorization": "Bearers x"}]
)
def test_other_credentials_are_no_signature(headers: dict[str, str]) -> None:
    assert not READER.claims_origin(headers)
    assert verdict(headers) is Verdict.ABSENT


@pytest.mark.parametrize("secrets", [[], [SECRET]])
def test_unsigned_is_repeated_if_a_secret_exists(secrets: list[str]) -> None:
    reader = VonageCallbacks(secrets)

    assert [reader.may_verify_later(signed=signed) for signed in (False, True)] == [bool(secrets), not secrets]
