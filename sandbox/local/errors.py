"""The errors of the local stack. Each is one line that states what to do."""


class StackError(Exception):
    """The local stack cannot do what was asked. The text is one line and states what to do about it."""


class WrongUsage(StackError):
    """The request cannot be met: another option is needed."""


class AlreadyRuns(StackError):
    """A local stack already runs in this data folder."""


def by_name(name: str) -> type[StackError]:
    """The class a supervisor named in its answer."""
    return {kind.__name__: kind for kind in (WrongUsage, AlreadyRuns)}.get(name, StackError)
