"""The kinds of keys that a Supabase project has, told by the key itself."""

import base64
import json
from enum import StrEnum


class KeyKind(StrEnum):
    """What a key is, in the words of Supabase's dashboard."""

    SECRET = "secret key"
    PUBLISHABLE = "publishable key"
    SERVICE_ROLE = "service_role key"
    ANON = "anon key"
    ACCESS_TOKEN = "personal access token"
    USER_TOKEN = "token of a signed-in user"
    UNKNOWN = "key of an unknown kind"

    @property
    def is_servers(self) -> bool:
        """Whether a server may use it. An unknown kind may be right: a project of one's own can name its keys freely."""
        return self in (KeyKind.SECRET, KeyKind.SERVICE_ROLE, KeyKind.UNKNOWN)


_PREFIXES = {"sb_secret_": KeyKind.SECRET, "sb_publishable_": KeyKind.PUBLISHABLE, "sbp_": KeyKind.ACCESS_TOKEN}
_ROLES = {"service_role": KeyKind.SERVICE_ROLE, "anon": KeyKind.ANON, "authenticated": KeyKind.USER_TOKEN}


def kind_of(key: str) -> KeyKind:
    """The kind of a key, by its beginning or by the role that its token names. The signature is not checked."""
    for prefix, kind in _PREFIXES.items():
        if key.startswith(prefix):
            return kind
    return _ROLES.get(str(_claims(key).get("role")), KeyKind.UNKNOWN)


def project_of(key: str) -> str | None:
    """The reference of the project that a legacy key names, None if it names none."""
    ref = _claims(key).get("ref")
    return ref if isinstance(ref, str) and ref else None


def _claims(key: str) -> dict[str, object]:
    parts = key.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
