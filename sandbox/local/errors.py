"""What can go wrong with the local stack, in one line that says what to do."""


class StackError(Exception):
    """The local stack cannot do what was asked. The text is one line and says what to do about it."""


class WrongUsage(StackError):
    """What was asked for cannot be had: another option is needed."""


class AlreadyRuns(StackError):
    """A local stack works with this data folder already."""


def by_name(name: str) -> type[StackError]:
    """The class a supervisor named in its answer."""
    return {kind.__name__: kind for kind in (WrongUsage, AlreadyRuns)}.get(name, StackError)
