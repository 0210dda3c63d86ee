"""Texts that a provider refuses, in words: whose they are, and why they wait."""

from jobs.gateway import pause_words
from jobs.gateway.status import Held
from jobs.providers import registry
from jobs.runtime.masking import scrub


def whose(held: Held) -> str:
    """Which texts are held."""
    sender = "the default sender" if held.sender is None else f"sender {scrub(held.sender)}"
    if not held.by_sender:
        return f"one text of {sender}"
    return f"{held.texts:,} {'text' if held.texts == 1 else 'texts'} of {sender}"


def why(held: Held) -> str:
    """The provider's reason, and the setting to check."""
    is_setting = held.by_sender and held.sender is None
    setting = registry.setting_to_check(held.provider, held.reason, is_held=True) if is_setting else None
    return scrub(held.reason) + pause_words.check(setting)
