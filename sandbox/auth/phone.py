"""Sign-in by phone as Supabase Auth serves it, for the local stack, whose Auth knows e-mail only.

After supabase/auth: the number loses its ``+``, the code is kept as a digest, and the Send SMS hook is called as a Postgres
function, with Auth's role, search path and time limit. Codes do not expire here, and users are kept in memory.
"""

import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

_HOOK: Final = 'select "public"."outbox_send_sms"(%s)'
_SESSION: Final = "set local role supabase_auth_admin; set local search_path = auth; set local statement_timeout = 2000"
_TOKEN_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """``error`` is what the user of Auth reads."""

    status: int
    body: dict[str, Any]

    @classmethod
    def error(cls, status: int, message: str) -> "Answer":
        return cls(status, {"code": status, "msg": message})


@dataclass(slots=True)
class PhoneAuth:
    """``db_url`` may become ``supabase_auth_admin``. ``sign`` makes the access token of a user."""

    db_url: str
    sign: Callable[[UUID], str]
    _users: dict[str, UUID] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def otp(self, request: dict[str, Any]) -> Answer:
        """Send a code to ``phone``, in the transaction that would store its digest."""
        phone = _without_plus(request["phone"])
        code = f"{secrets.randbelow(10**6):06}"
        event = {
            "metadata": {"uuid": str(uuid4()), "time": datetime.now(UTC).isoformat(), "name": "send-sms"},
            "user": self._user(phone) | {"user_metadata": request.get("data") or {}},
            "sms": {"otp": code, "phone": phone},
        }
        with psycopg.connect(self.db_url) as connection:
            connection.execute(_SESSION)
            row = connection.execute(_HOOK, [Jsonb(event)]).fetchone()
            answer: dict[str, Any] = row[0] if row else {}
            if refused := answer.get("error"):
                connection.rollback()
                return Answer.error(refused.get("http_code") or 500, refused["message"])
        self._digests[phone] = _digest(phone, code)
        return Answer(200, {"message_id": ""})

    def verify(self, request: dict[str, Any]) -> Answer:
        """A session for the code that was sent last. Each code counts once."""
        phone = _without_plus(request["phone"])
        if self._digests.get(phone) != _digest(phone, request["token"]):
            return Answer.error(403, "Token has expired or is invalid")
        del self._digests[phone]
        user = self._user(phone)
        token = self.sign(UUID(user["id"]))
        session = {"access_token": token, "refresh_token": secrets.token_hex(8), "token_type": "bearer"}
        return Answer(200, session | {"expires_in": _TOKEN_SECONDS, "user": user})

    def _user(self, phone: str) -> dict[str, Any]:
        user_id = self._users.setdefault(phone, uuid4())
        return {"id": str(user_id), "aud": "authenticated", "role": "authenticated", "phone": phone}


@contextmanager
def serving(auth: PhoneAuth) -> Iterator[str]:
    """Serve it under ``/auth/v1``. Gives the URL that stands for the project's."""
    paths = {"/auth/v1/otp": auth.otp, "/auth/v1/verify": auth.verify}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            act = paths.get(self.path.partition("?")[0])
            answer = act(json.loads(raw)) if act else Answer.error(404, "not served here")
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the method it replaces
            """Write no line for each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _without_plus(phone: str) -> str:
    return phone.removeprefix("+").replace(" ", "")


def _digest(phone: str, code: str) -> str:
    return hashlib.sha224(f"{phone}{code}".encode()).hexdigest()
