"""Counts in words: every screen and every line writes them alike."""


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``0 lines``, ``1 line``, ``2,000 lines``, ``2 batches``, ``2 processes``, ``2 replies``."""
    if count == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("ly") else f"{noun}es" if noun.endswith(("ch", "ss")) else f"{noun}s"
    return f"{count:,} {many}"


def messages_a_second(rate: float) -> str:
    """A rate in words: ``1 message a second``, ``0.5 messages a second``."""
    return "1 message a second" if rate == 1 else f"{rate:g} messages a second"


def are(count: int) -> str:
    """The verb that goes with a count: ``1 line is``, ``2 lines are``."""
    return "is" if count == 1 else "are"
