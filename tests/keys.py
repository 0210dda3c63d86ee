"""Private keys for tests. They are made anew in each process, so that none lies in the repository."""

from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def private_key(*, bits: int = 2048, password: str | None = None) -> str:
    """An application's private key, as the dashboard gives it."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return rsa_key(bits).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@cache
def public_key() -> str:
    """The public key that belongs to :func:`private_key`."""
    return rsa_key(2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@cache
def elliptic_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
