"""The settings of the dashboard: where it listens, and who may see it."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from jobs.runtime import checks

SHORTEST_PASSWORD: Final = 12
SHORTEST_SECRET: Final = 32


class DashboardSettings(BaseSettings):
    """Who may see the dashboard, and how they sign in.

    Without ``dashboard_auth`` people sign in with a password, if there is one. With neither, only this machine reaches the
    dashboard, and people sign in by an address that it prints.
    """

    model_config = checks.CONFIG

    dashboard_port: int | None = Field(default=None, ge=0, le=65_535)
    dashboard_password: SecretStr | None = None
    dashboard_viewer_password: SecretStr | None = None
    dashboard_secret: SecretStr | None = None
    dashboard_require_mfa: bool = False
    dashboard_proxy_header: str = "X-Forwarded-Email"
    dashboard_trusted_proxies: Annotated[list[checks.Network], NoDecode] = Field(default_factory=list)
    dashboard_operators: Annotated[list[str], NoDecode] = Field(default_factory=list)
    dashboard_viewers: Annotated[list[str], NoDecode] = Field(default_factory=list)
    dashboard_hosts: Annotated[list[str], NoDecode] = Field(default_factory=list)
    dashboard_root_path: str | None = None
    dashboard_frame_ancestors: str = "'none'"
    # The last one, because its check reads the others.
    dashboard_auth: Literal["password", "supabase", "proxy"] | None = Field(default=None, validate_default=True)

    @property
    def sign_in(self) -> Literal["password", "supabase", "proxy", "link"]:
        """How people sign in. ``link``: by an address that the dashboard prints, on this machine only."""
        if self.dashboard_auth is not None:
            return self.dashboard_auth
        return "link" if self.dashboard_password is None else "password"

    @field_validator("dashboard_trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        return checks.networks(value)

    @field_validator("dashboard_operators", "dashboard_viewers", "dashboard_hosts", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        parts = checks.commas(value)
        return [part.lower() for part in parts] if isinstance(parts, list) else parts

    @field_validator("dashboard_password", "dashboard_viewer_password", "dashboard_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # A person with a cookie can guess the secret that signed it, without asking the dashboard.
        shortest = SHORTEST_SECRET if info.field_name == "dashboard_secret" else SHORTEST_PASSWORD
        if value is not None and len(value.get_secret_value()) < shortest:
            raise ValueError(f"has fewer than {shortest} characters. Use a longer one")
        return value

    @field_validator("dashboard_root_path")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        path = (value or "").rstrip("/")
        if path and (not path.startswith("/") or "//" in path or "\\" in path):
            raise ValueError("must begin with a single /, such as /outbox")
        return path or None

    @field_validator("dashboard_frame_ancestors")
    @classmethod
    def _one_directive(cls, value: str) -> str:
        if any(sign in value for sign in ";,\r\n"):
            raise ValueError("must be the sources of one frame-ancestors directive, separated by spaces")
        return value

    @field_validator("dashboard_auth", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("dashboard_auth")
    @classmethod
    def _complete(cls, value: str | None, info: ValidationInfo) -> str | None:
        # A setting that is wrong is missing here: it is told on its own.
        given = {name for name in cls.model_fields if info.data.get(name, True)}
        password = "dashboard_password" in given
        if not password and (value == "password" or (value is None and "dashboard_viewer_password" in given)):
            raise checks.NotSet("DASHBOARD_PASSWORD", "the password of operators, of at least 12 characters")
        if value == "proxy" and "dashboard_trusted_proxies" not in given:
            raise checks.NotSet(
                "DASHBOARD_TRUSTED_PROXIES", "the networks of the proxies whose DASHBOARD_PROXY_HEADER is believed"
            )
        if value == "proxy" and not given & {"dashboard_operators", "dashboard_viewers"}:
            raise checks.NotSet(
                "DASHBOARD_OPERATORS", "the people who may act, as the proxy names them (or set DASHBOARD_VIEWERS)"
            )
        same = info.data.get("dashboard_password")
        if same is not None and same == info.data.get("dashboard_viewer_password"):
            raise ValueError("DASHBOARD_VIEWER_PASSWORD is the same as DASHBOARD_PASSWORD, so viewers could act. Use two")
        return value
