"""Private keys for tests. They are made anew in each process, so that none lies in the repository."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID


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


def tls(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server called localhost and of clients that trust it. ``folder`` keeps its certificate."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, rsa_key(2048).public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(rsa_key(2048), SHA256())
    )
    (folder / "localhost.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + private_key().encode())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "localhost.pem")
    return server, ssl.create_default_context(cadata=certificate.public_bytes(Encoding.PEM).decode())
