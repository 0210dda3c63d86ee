"""What the process trusts when it opens TLS connections."""

import ssl
from functools import cache

import httpx


@cache
def trust(*, trust_env: bool) -> ssl.SSLContext:
    """The certificate authorities, read once for all clients of the process, since that takes about 30 ms.

    With ``trust_env``, `SSL_CERT_FILE` and `SSL_CERT_DIR` replace those that come with httpx.
    """
    return httpx.create_ssl_context(trust_env=trust_env)
