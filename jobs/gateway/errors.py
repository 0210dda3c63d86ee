"""The ways in which a call to Supabase fails.

This module imports nothing, so that a process can catch these errors without loading the Supabase client.
"""


class GatewayError(Exception):
    """A call to the database failed. As far as this process knows, the database committed nothing of it."""


class GatewayUnavailable(GatewayError):
    """A failure that passes: the network, a 5xx, a timeout, a missing function. The same call may succeed later."""


class GatewayFault(GatewayUnavailable):
    """Supabase answered, and its answer is an error that passes: a 5xx, a timeout in the database."""


class FunctionMissing(GatewayFault):
    """The database has no such function: the schema is missing, or it is older than this process."""


class KeyNotAccepted(GatewayFault):
    """The project does not know the key, or it is not a secret key. A waiting process goes on once an operator corrects it."""


class GatewayRefused(GatewayError):
    """The database refuses these values (a NUL character, an impossible date). The same call fails again.

    ``code`` is the SQLSTATE, or None if none is known. ``hint`` says what to do, where the database does.
    """

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
