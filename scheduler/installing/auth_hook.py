"""The lines of ``config.toml`` that make Supabase Auth send its one-time codes through the outbox."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scheduler.installing.project import CONFIG, Project

URI: Final = "pg-functions://postgres/public/outbox_send_sms"
_SIGN_UP: Final = ("auth", "sms")
_HOOK: Final = ("auth", "hook", "send_sms")
_HOOK_KEYS: Final[dict[tuple[str, ...], dict[str, Any]]] = {_HOOK: {"enabled": True, "uri": URI}}
_PROVIDER: Final[dict[tuple[str, ...], dict[str, Any]]] = {
    ("auth", "sms", "twilio"): {"enabled": True}
    | dict.fromkeys(("account_sid", "message_service_sid", "auth_token"), "unused"),
}
"""The Supabase CLI turns sign-in by phone off where no SMS provider is on, although Auth asks none beside the hook."""


@dataclass(frozen=True, slots=True)
class HookConfig:
    """``text`` is the file with the missing sections at its end, None where none can be added.

    ``by_hand`` says in one line for each section that is there already what to change in it.
    """

    path: Path
    added: tuple[str, ...]
    text: str | None
    by_hand: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return not self.added and not self.by_hand


def read(project: Project) -> HookConfig:
    """What the configuration of a project lacks. Raises OSError. A file is only added to, and only if it stays readable."""
    path = project.folder / CONFIG
    text = path.read_bytes().decode("utf-8")
    config = _parsed(text)
    wanted = {_SIGN_UP: _sign_up(config)} | _HOOK_KEYS | ({} if _has_provider(config) else _PROVIDER)
    missing = {section: keys for section, keys in wanted.items() if _at(config, section) is None}
    by_hand = tuple(
        f"In [{'.'.join(section)}] of {CONFIG}, set {' and '.join(_lines(keys))}."
        for section, keys in wanted.items()
        if section not in missing and not _holds(_at(config, section), keys)
    )
    if not missing:
        return HookConfig(path, (), None, by_hand)

    longer = text + _appendix(text, missing)
    if not _adds_only(config, longer, missing):
        lines = (f"Add to {CONFIG}, in [{'.'.join(one)}]: {' and '.join(_lines(missing[one]))}." for one in missing)
        return HookConfig(path, (), None, (*by_hand, *lines))
    return HookConfig(path, tuple(".".join(one) for one in missing), longer, by_hand)


def _sign_up(config: dict[str, Any]) -> dict[str, Any]:
    """The key that turns sign-in by phone on, in the words of the file's Supabase CLI.

    From version 3 it is ``enabled``, which wins over ``enable_signup``. Older ones know only ``enable_signup``.
    """
    for section in ("sms", "email"):
        for name in ("enabled", "enable_signup"):
            if _at(config, ("auth", section, name)) is not None:
                return {name: True}
    return {"enable_signup": True}


def _has_provider(config: dict[str, Any]) -> bool:
    providers = _at(config, _SIGN_UP)
    return isinstance(providers, dict) and any(_holds(provider, {"enabled": True}) for provider in providers.values())


def _appendix(text: str, missing: dict[tuple[str, ...], dict[str, Any]]) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    lines = [] if not text or text.endswith("\n") else [""]
    for section, keys in missing.items():
        lines += ["", f"[{'.'.join(section)}]", *_lines(keys)]
    return end.join([*lines, ""])


def _lines(keys: dict[str, Any]) -> Iterator[str]:
    # Of a truth value and a text, JSON is TOML too.
    return (f"{name} = {json.dumps(value)}" for name, value in keys.items())


def _adds_only(before: dict[str, Any], longer: str, missing: dict[tuple[str, ...], dict[str, Any]]) -> bool:
    """Whether the longer text is TOML that says what the old one said, and the missing sections."""
    try:
        after = _parsed(longer)
    except tomllib.TOMLDecodeError:
        # A section that is written inline, or by dotted keys, cannot be continued.
        return False
    if not all(_holds(_at(after, section), keys) for section, keys in missing.items()):
        return False
    # The sections within others go first.
    for section in sorted(missing, key=len, reverse=True):
        _remove(after, section)
    return _without_empty(after) == _without_empty(before)


def _remove(config: dict[str, Any], section: tuple[str, ...]) -> None:
    for name in section[:-1]:
        config = config[name]
    del config[section[-1]]


def _without_empty(config: dict[str, Any]) -> dict[str, Any]:
    """Tables that only hold tables come with the sections in them."""
    kept = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in config.items()}
    return {name: value for name, value in kept.items() if value != {}}


def _at(config: dict[str, Any], section: tuple[str, ...]) -> Any:
    found: Any = config
    for name in section:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _holds(found: Any, keys: dict[str, Any]) -> bool:
    return isinstance(found, dict) and all(found.get(name) == value for name, value in keys.items())


def _parsed(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix("\ufeff"))
