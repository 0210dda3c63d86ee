"""The settings of accounts at providers: which of them this process serves, and what each needs."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from jobs.runtime import checks

REGIONS: Final = ("us", "eu", "ca", "au", "br")
"""Those of Sinch."""

_VONAGE_HOST: Final = "https://api.nexmo.com"
_PEM: Final = "-----BEGIN"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class ProvidersSettings(BaseSettings):
    """Which providers have an account here, in order. None: those that are configured, Sinch first."""

    model_config = checks.CONFIG

    outbox_providers: Annotated[list[str] | None, NoDecode] = None

    @field_validator("outbox_providers", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        names = [str(name).lower() for name in checks.commas(value) or ()]
        if len(set(names)) < len(names):
            raise ValueError("names a provider twice")
        return names or None


class SinchSettings(BaseSettings):
    """One service plan at Sinch."""

    model_config = checks.CONFIG

    sinch_service_plan_id: str = Field(
        min_length=1, description="the service plan's id, from the Sinch dashboard. For Vonage set VONAGE_APPLICATION_ID"
    )
    sinch_api_token: SecretStr = Field(min_length=1, description="the service plan's API token, from the Sinch dashboard")
    # Before the region, whose check reads it.
    sinch_base_url: str | None = None
    sinch_region: Literal["us", "eu", "ca", "au", "br"] | None = Field(default=None, validate_default=True)
    sinch_from_number: str | None = None
    sinch_callback_url: str | None = None
    sinch_messages_per_second: float | None = Field(default=None, gt=0, le=1_000_000)
    sinch_requests_per_minute: int = Field(default=600, ge=5, le=1_000_000)

    @field_validator("sinch_service_plan_id")
    @classmethod
    def _plan(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.~-]+", value, re.ASCII):
            raise ValueError("must be letters and digits, as the dashboard shows it")
        return value

    @field_validator("sinch_api_token")
    @classmethod
    def _token(cls, value: SecretStr) -> SecretStr:
        return checks.header_safe(value)

    @field_validator("sinch_from_number")
    @classmethod
    def _sender(cls, value: str | None) -> str | None:
        return checks.sender(value)

    @field_validator("sinch_base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        return None if value is None else checks.origin(value)

    @field_validator("sinch_callback_url")
    @classmethod
    def _callback_url(cls, value: str | None) -> str | None:
        return checks.callback_url(value, provider="Sinch")

    @field_validator("sinch_region", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.strip().lower() or None if isinstance(value, str) else value

    @field_validator("sinch_region")
    @classmethod
    def _region_or_host(cls, value: str | None, info: ValidationInfo) -> str | None:
        # An origin that is wrong is missing here: it is told on its own.
        if value is None and info.data.get("sinch_base_url", "") is None:
            raise checks.NotSet("SINCH_REGION", "us, eu, ca, au or br, the region of the service plan")
        return value

    @property
    def host(self) -> str:
        """The origin that serves this plan."""
        return self.sinch_base_url or f"https://{self.sinch_region}.sms.api.sinch.com"


class VonageSettings(BaseSettings):
    """One application at Vonage. The key and secret of the account are for the Reports API, which takes nothing else."""

    model_config = checks.CONFIG

    vonage_application_id: str = Field(description="the application's id, from the Vonage dashboard")
    vonage_private_key: SecretStr = Field(
        description="the application's private key: the text of private.key, or the path of that file"
    )
    # Before the key and secret, whose checks read it.
    vonage_reports: bool = True
    vonage_api_key: str | None = Field(default=None, validate_default=True)
    vonage_api_secret: SecretStr | None = Field(default=None, validate_default=True)
    vonage_from_number: str | None = None
    vonage_base_url: str = _VONAGE_HOST
    vonage_callback_url: str | None = None
    vonage_messages_per_second: float = Field(default=30.0, gt=0, le=1_000_000)

    @field_validator("vonage_application_id")
    @classmethod
    def _application(cls, value: str) -> str:
        if not _UUID.fullmatch(value):
            raise ValueError("must be a UUID, as the dashboard shows it")
        return value.lower()

    @field_validator("vonage_private_key")
    @classmethod
    def _key(cls, value: SecretStr) -> SecretStr:
        """The key as PEM text. In one line, its line breaks may be written as a backslash and an n."""
        text = value.get_secret_value().strip()
        if _PEM not in text:
            text = _read(text)
        text = text.replace("\\n", "\n").strip()
        if _PEM not in text:
            raise ValueError("holds no private key: it must begin with -----BEGIN PRIVATE KEY-----")
        checks.rsa_key(text)
        return SecretStr(text)

    @field_validator("vonage_api_key")
    @classmethod
    def _api_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        _needed_for_reports("VONAGE_API_KEY", value, info)
        if value is not None and not re.fullmatch(r"[!-~]+", value):
            raise ValueError("must be letters and digits, as the dashboard shows it")
        return value

    @field_validator("vonage_api_secret")
    @classmethod
    def _secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        _needed_for_reports("VONAGE_API_SECRET", value, info)
        return None if value is None else checks.header_safe(value)

    @field_validator("vonage_from_number")
    @classmethod
    def _sender(cls, value: str | None) -> str | None:
        return checks.sender(value)

    @field_validator("vonage_base_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        return checks.origin(value)

    @field_validator("vonage_callback_url")
    @classmethod
    def _callback_url(cls, value: str | None) -> str | None:
        checked = checks.callback_url(value, provider="Vonage")
        if checked is not None and "@" in urlsplit(checked).netloc:
            raise ValueError(
                "holds a user or a password. Vonage's signature needs the header that would carry them: leave them out, and "
                "set VONAGE_SIGNATURE_SECRETS"
            )
        return checked

    @property
    def host(self) -> str:
        """The origin that serves this application."""
        return self.vonage_base_url


AccountSettings = SinchSettings | VonageSettings


def _needed_for_reports(name: str, value: object, info: ValidationInfo) -> None:
    if value is None and info.data.get("vonage_reports"):
        raise checks.NotSet(
            name,
            "the account's, from the Vonage dashboard. Missing delivery reports are read with it (or set VONAGE_REPORTS=0 to "
            "rely on callbacks alone)",
        )


def _read(path: str) -> str:
    """The text of a file. The errors name neither the path nor its text: a key without its first line may stand there."""
    try:
        return Path(path).expanduser().read_text(encoding="ascii")
    except OSError as error:
        raise ValueError(f"is neither a private key nor a file that can be read: {error.strerror}") from None
    except ValueError:
        raise ValueError("names a file that is no text") from None
