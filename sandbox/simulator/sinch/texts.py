"""The text each recipient of a batch gets: ``${key}`` replaced by the recipient's own value, or the key's default."""

import re
from functools import partial

from sandbox.simulator.sinch.numbers import msisdn
from sandbox.simulator.sinch.wanted import Parameters

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z0-9._-]{1,16})\}")


class Texts:
    """Renders one batch's body. A body without placeholders costs nothing."""

    def __init__(self, body: str, parameters: Parameters | None) -> None:
        self.body = body
        self.personal = "${" in body and _PLACEHOLDER.search(body) is not None
        self._values = _by_digits(parameters or {}) if self.personal else {}

    def of(self, recipient: str) -> str | None:
        """The text for one recipient, or None if a placeholder has neither a value nor a default."""
        if not self.personal:
            return self.body
        try:
            return _PLACEHOLDER.sub(partial(self._value, recipient), self.body)
        except KeyError:
            return None

    def _value(self, recipient: str, placeholder: re.Match[str]) -> str:
        values = self._values[placeholder[1]]
        own = values.get(recipient)
        return values["default"] if own is None else own


def _by_digits(parameters: Parameters) -> Parameters:
    """Values are keyed by the number as the customer wrote it; recipients are digits."""
    return {key: {msisdn(name) or name: value for name, value in values.items()} for key, values in parameters.items()}
