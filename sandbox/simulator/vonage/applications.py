"""Applications: each with its key pair, the key and secret of its account, and the URLs of its webhooks."""

from msgspec import Struct


class ApplicationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of an application and of its account; applications with one ``api_key`` share the account.

    ``public_key`` (PEM) checks the tokens of requests; without one any signature is taken. ``signature_secrets`` sign
    webhooks: of several, as in the middle of a rotation, one is drawn for each try; without one they are unsigned.
    ``status_url`` receives the statuses of messages that name no URL, and all inbounds unless ``inbound_url`` is set.
    ``rate`` is in requests a second, beyond which the answer is 429. ``opt_outs`` keeps a list of phones that sent STOP.
    """

    id: str = "00000000-0000-4000-8000-000000000001"
    public_key: str | None = None
    api_key: str = "demo1234"
    api_secret: str = "demo-secret"
    signature_secrets: tuple[str, ...] = ()
    status_url: str | None = None
    inbound_url: str | None = None
    rate: int | None = None
    opt_outs: bool = True


class AccountView(Struct, kw_only=True):
    """An account's costs of Reports (``price`` in EUR), and its opt-outs: pairs of our number and the phone."""

    api_key: str
    report_requests: int
    report_records: int
    price: str
    opted_out: list[tuple[str, str]]
