"""Ids as the provider makes them: 26 characters, the first ten of them the time."""

from random import Random

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(moment: int, random: Random) -> str:
    """A new id for ``moment`` (milliseconds). Sorts by time."""
    return _encode(moment, 10) + _encode(random.getrandbits(80), 16)


def _encode(value: int, length: int) -> str:
    return "".join([_ALPHABET[(value >> shift) & 31] for shift in range(5 * (length - 1), -1, -5)])
