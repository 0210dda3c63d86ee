"""Settings from the environment, read once and checked at the edge.

Each process reads only the groups it needs: :class:`SupabaseSettings`, those of :mod:`jobs.runtime.accounts` and
:mod:`jobs.runtime.dashboard`, :class:`EngineSettings`, :class:`WebhookSettings` and the others below. :func:`load` turns
mistakes into one :class:`SettingsError` whose text names the settings and never shows a secret's value; :func:`gathered` does
so for several groups. A ``.env`` file in the working directory, or the file that ``OUTBOX_ENV_FILE`` names, is read too; the
environment wins over it. An empty value counts as unset.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode
from sentry_sdk.utils import BadDsn, Dsn

from jobs.runtime import checks, environment, phone, standard_webhooks
from jobs.runtime.accounts import ProvidersSettings, SinchSettings, VonageSettings
from jobs.runtime.dashboard import DashboardSettings

_BEGINNING = re.compile(r"\+[1-9][0-9]{0,14}")
Group = TypeVar("Group", bound=BaseSettings)

_ALIASES = ("SUPABASE_SERVICE_ROLE_KEY",)
_DAY = 86_400
_WEEK = 7 * _DAY
_CENTURY_DAYS = 36_500


class SettingsError(Exception):
    """Settings are missing or wrong. ``problems`` has a line for each, which names it; the text is all of them in one line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(group: type[Group]) -> Group:
    """Read one group of settings, raising :class:`SettingsError` for all that are wrong."""
    try:
        return group(_env_file=environment.file())
    except ValidationError as error:
        raise SettingsError(*_problems(group, error)) from None
    except ValueError as error:
        raise SettingsError(str(error)) from None


def gathered(*readers: Callable[[], Any]) -> list[Any]:
    """What each of these returns. Raises one :class:`SettingsError` for the settings that any of them finds wrong."""
    values: list[Any] = []
    problems: list[str] = []
    for read in readers:
        try:
            values.append(read())
        except SettingsError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise SettingsError(*problems)
    return values


def names() -> set[str]:
    """The names of all settings, as the environment spells them."""
    return {environment.FILE, *_ALIASES, *(name.upper() for group in GROUPS for name in group.model_fields)}


def _problems(group: type[BaseSettings], error: ValidationError) -> list[str]:
    """A line for each setting, whichever of its parts are wrong."""
    found: dict[str, str] = {}
    for one in error.errors(include_input=False, include_url=False):
        name = _env_name(group, str(one["loc"][0]))
        found.setdefault(name, _one_line(group, name, one))
    return list(found.values())


def _one_line(group: type[BaseSettings], name: str, error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return _not_set(name, _description(group, name))
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, checks.NotSet):
        return _not_set(cause.name, str(cause))
    if cause is not None:
        return f"{name}: {cause}"
    return f"{name}: {error['msg'].partition(', unable to')[0].replace('Input should be', 'must be')}"


def _not_set(name: str, description: str) -> str:
    """The line about a setting that is missing. It names a misspelled one that is set in its place."""
    misspelled = environment.misspelled(name, names())
    return f"{name} is not set{f', but {misspelled} is' if misspelled else ''}: {description}"


def _env_name(group: type[BaseSettings], location: str) -> str:
    field = group.model_fields.get(location)
    return location.upper() if field is None or field.alias is None else field.alias.upper()


def _description(group: type[BaseSettings], name: str) -> str:
    field = group.model_fields.get(name.lower())
    return (field.description if field else None) or "it is required"


def _first(*days: float | None) -> float | None:
    return next((given for given in days if given is not None), None)


class DatabaseSettings(BaseSettings):
    """A connection to the project's database itself."""

    model_config = checks.CONFIG

    outbox_db_url: SecretStr | None = None


class SupabaseSettings(DatabaseSettings):
    """The project whose outbox is worked off."""

    supabase_url: str = Field(description="the project's URL, such as https://your-project.supabase.co")
    supabase_secret_key: SecretStr = Field(
        description="a secret key of the project (sb_secret_…), from Project Settings → API Keys",
        validation_alias=AliasChoices("supabase_secret_key", *(name.lower() for name in _ALIASES)),
    )

    @field_validator("supabase_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return checks.origin(value)

    @field_validator("supabase_secret_key")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value().startswith("sb_publishable_"):
            raise ValueError("is a publishable key. Use a secret key (sb_secret_…)")
        return checks.header_safe(value)


class DestinationSettings(BaseSettings):
    """Where messages may go. None allows all; a message must satisfy both settings."""

    model_config = checks.CONFIG

    allowed_countries: Annotated[list[str] | None, NoDecode] = None
    allowed_recipients: Annotated[list[str] | None, NoDecode] = None

    @property
    def allowed_destinations(self) -> list[str] | None:
        """The country codes, then the beginnings of allowed numbers with ``+``, as the database takes them. None allows all."""
        if self.allowed_countries is None and self.allowed_recipients is None:
            return None
        return [*(self.allowed_countries or ()), *(self.allowed_recipients or ())]

    @field_validator("allowed_recipients", mode="before")
    @classmethod
    def _recipients(cls, value: Any) -> Any:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        beginnings = [str(one).removesuffix("*") for one in checks.commas(value)]
        for one in beginnings:
            if not _BEGINNING.fullmatch(one):
                raise ValueError(
                    f"{one[:4]!r}… is neither a number nor the beginning of one: use + and the country code, such as "
                    "+12025550100 or +1202555"
                )
            # The 1 stands for the rest of a number, where the beginning ends with the zero.
            if code := phone.trunk_zero_code(f"{one}1"):
                raise ValueError(f"{one[:4]!r}… {checks.with_zero(code)}")
        if not beginnings:
            raise ValueError("names no number, so nothing could be sent. Unset it to allow all recipients")
        return beginnings

    @field_validator("allowed_countries", mode="before")
    @classmethod
    def _countries(cls, value: Any) -> Any:
        # Blanks count as unset, like an empty value in every setting.
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        # Imported here, because loading the tables of all countries takes time that other users save.
        from phonenumbers import SUPPORTED_REGIONS

        codes = [str(code).upper() for code in checks.commas(value)]
        for code in codes:
            if code not in SUPPORTED_REGIONS:
                raise ValueError(f"{code!r} is not an ISO country code of two letters, such as US or GB")
        if not codes:
            raise ValueError("names no country, so nothing could be sent. Unset it to allow all countries")
        return codes


class EngineSettings(DestinationSettings):
    """How the scheduler works. Durations: seconds, retention: days. ``max_messages_per_day`` bounds all plans together."""

    dispatch_interval_seconds: float = Field(default=1.0, ge=0.05, le=60)
    lease_seconds: float = Field(default=30.0, ge=1, le=600)
    settle_seconds: float = Field(default=20.0, ge=0.2, le=600)
    reconcile_after_seconds: float = Field(default=300.0, ge=0, le=_WEEK)
    reconcile_interval_seconds: float = Field(default=60.0, ge=0.2, le=_DAY)
    retention_days: float = Field(default=90.0, ge=15, le=_CENTURY_DAYS)
    body_retention_days: float | None = Field(default=None, ge=0, le=_CENTURY_DAYS)
    metadata_retention_days: float | None = Field(default=None, ge=0, le=_CENTURY_DAYS)
    reply_retention_days: float | None = Field(default=None, ge=15, le=_CENTURY_DAYS)
    reply_body_retention_days: float | None = Field(default=None, ge=0, le=_CENTURY_DAYS)
    callback_retention_days: float | None = Field(default=None, ge=0, le=_CENTURY_DAYS)
    consent_retention_days: float = Field(default=1826.0, ge=30, le=_CENTURY_DAYS)
    import_retention_days: float = Field(default=1.0, ge=1, le=_CENTURY_DAYS)
    figures_retention_days: float = Field(default=800.0, ge=1, le=_CENTURY_DAYS)
    audit_retention_days: float = Field(default=400.0, ge=1, le=_CENTURY_DAYS)
    max_messages_per_day: int | None = Field(default=None, ge=1, le=1_000_000_000)

    @property
    def kept_days(self) -> dict[str, float | None]:
        """For how many days each kind is kept, by the names that the database has for them. None: as long as its row."""
        return {
            "messages": self.retention_days,
            "bodies": self.body_retention_days,
            "metadata": self.metadata_retention_days,
            "replies": _first(self.reply_retention_days, self.retention_days),
            "reply_bodies": _first(self.reply_body_retention_days, self.body_retention_days),
            "callbacks": _first(self.callback_retention_days, self.retention_days),
            "consents": self.consent_retention_days,
            "imports": self.import_retention_days,
            "figures": self.figures_retention_days,
            "audit": self.audit_retention_days,
        }


class WebhookSettings(BaseSettings):
    """Who may call the webhook app."""

    model_config = checks.CONFIG

    sinch_webhook_secrets: Annotated[list[SecretStr], NoDecode] = Field(default_factory=list)
    vonage_signature_secrets: Annotated[list[SecretStr], NoDecode] = Field(default_factory=list)
    webhook_basic_auth: SecretStr | None = None
    webhook_tokens: Annotated[list[SecretStr], NoDecode] = Field(default_factory=list)
    webhook_allowed_ips: Annotated[list[checks.Network], NoDecode] = Field(default_factory=list)
    webhook_trusted_proxies: Annotated[list[checks.Network], NoDecode] = Field(default_factory=list)
    supabase_auth_hook_secrets: Annotated[list[SecretStr], NoDecode] = Field(default_factory=list)
    # The last one, because its check reads the others.
    webhook_allow_unauthenticated: bool = Field(default=False, validate_default=True)

    @field_validator("sinch_webhook_secrets", "vonage_signature_secrets", "webhook_tokens", mode="before")
    @classmethod
    def _secrets(cls, value: Any) -> Any:
        return checks.commas(value)

    @field_validator("supabase_auth_hook_secrets", mode="before")
    @classmethod
    def _hook_secrets(cls, value: Any) -> Any:
        return standard_webhooks.secrets_in(value) if isinstance(value, str) else value

    @field_validator("webhook_allowed_ips", "webhook_trusted_proxies", mode="before")
    @classmethod
    def _ips(cls, value: Any) -> Any:
        return checks.networks(value)

    @field_validator("webhook_basic_auth")
    @classmethod
    def _user_and_password(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and ":" not in value.get_secret_value():
            raise ValueError("must have the form user:password")
        return value

    @field_validator("webhook_allow_unauthenticated")
    @classmethod
    def _can_authenticate(cls, value: bool, info: ValidationInfo) -> bool:
        # A setting that is wrong is missing here: it is told on its own.
        ways = ("sinch_webhook_secrets", "vonage_signature_secrets", "webhook_basic_auth", "webhook_tokens")
        if value or any(info.data.get(way, way) for way in ways):
            return value
        raise checks.NotSet(
            "SINCH_WEBHOOK_SECRETS",
            "set it, VONAGE_SIGNATURE_SECRETS, WEBHOOK_BASIC_AUTH or WEBHOOK_TOKENS, so that callbacks can be authenticated "
            "(or set WEBHOOK_ALLOW_UNAUTHENTICATED=1 to accept every callback)",
        )


class EventsSettings(BaseSettings):
    """Where events may go."""

    model_config = checks.CONFIG

    events_allow_private_networks: bool = False


class ProcessSettings(BaseSettings):
    """How a process is reached: ``port`` is the webhook app's, and in ``outbox_run_dir`` each answers `outbox health`."""

    model_config = checks.CONFIG

    port: int = Field(default=8080, ge=0, le=65_535)
    outbox_run_dir: Path | None = None


class MetricsSettings(BaseSettings):
    """Where `outbox run` gives metrics, and who may read them anywhere. Without a port it gives none.

    ``metrics_by_country`` adds the messages of a day by country, which takes a second call.
    """

    model_config = checks.CONFIG

    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    metrics_host: str = "127.0.0.1"
    metrics_token: SecretStr | None = None
    metrics_by_country: bool = False

    @field_validator("metrics_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else checks.header_safe(value)


class OperatorSettings(BaseSettings):
    """Who gives a command, for the audit."""

    model_config = checks.CONFIG

    outbox_actor: str | None = Field(default=None, max_length=100)


class TelemetrySettings(BaseSettings):
    """Logs and errors."""

    model_config = checks.CONFIG

    sentry_dsn: SecretStr | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    trace_url: str | None = None

    @field_validator("sentry_dsn")
    @classmethod
    def _dsn(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            Dsn(value.get_secret_value())
        except BadDsn:
            raise ValueError("is not a Sentry DSN, such as https://key@o1.ingest.sentry.io/2") from None
        return value

    @field_validator("trace_url")
    @classmethod
    def _trace_url(cls, value: str | None) -> str | None:
        if value is not None and "{trace_id}" not in value:
            raise ValueError("must have {trace_id} in it, such as https://traces.example.com/{trace_id}")
        return value

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


GROUPS: Final[tuple[type[BaseSettings], ...]] = (
    SupabaseSettings,
    ProvidersSettings,
    SinchSettings,
    VonageSettings,
    EngineSettings,
    WebhookSettings,
    EventsSettings,
    ProcessSettings,
    OperatorSettings,
    DashboardSettings,
    MetricsSettings,
    TelemetrySettings,
)
"""Every group. docs/settings.md documents the settings of them all."""
