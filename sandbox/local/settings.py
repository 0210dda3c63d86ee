"""The settings of one data folder: its secrets and its ports, generated once and stored."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_hex, token_urlsafe
from tempfile import NamedTemporaryFile
from typing import Any

DEFAULT_API_PORT = 54321


@dataclass(frozen=True, slots=True)
class Secrets:
    """Generated with the folder, so that two local stacks never accept each other's keys."""

    publishable_key: str
    secret_key: str
    jwt_secret: str
    db_password: str

    @classmethod
    def generate(cls) -> "Secrets":
        return cls(
            publishable_key=f"sb_publishable_{token_urlsafe(24)}",
            secret_key=f"sb_secret_{token_urlsafe(24)}",
            # With capitals, because Supabase Lite considers a secret of digits and small letters weak.
            jwt_secret=token_urlsafe(48),
            db_password=token_hex(16),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """One data folder's secrets and its last ports."""

    secrets: Secrets
    api_port: int
    db_port: int


def read_settings(path: Path) -> Settings | None:
    """The stored settings, or None if there are none that can be read."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Settings(secrets=Secrets(**kept["secrets"]), api_port=int(kept["api_port"]), db_port=int(kept["db_port"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_settings(path: Path, settings: Settings) -> None:
    write_private(path, asdict(settings))


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file atomically, readable for its owner alone."""
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    os.replace(file.name, path)  # noqa: PTH105  # Path.replace does the same; this reads as what it is
