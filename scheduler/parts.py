"""Parts of the package that a subcommand needs and an installation may lack."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


class DevelopmentPartsMissing(typer.TyperException):
    """A development subcommand was called, but only the production packages are installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"{package} is not installed: outbox local and outbox demo are for a clone of the outbox's "
            "repository, after make setup. For your own project, use supabase start (docs/local.md)"
        )


class DashboardPartsMissing(typer.TyperException):
    """`outbox dashboard` was called without the packages of its extra."""

    exit_code = 2

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed, which the dashboard needs: pip install 'supabase-outbox[dashboard]'")


@contextmanager
def development_parts() -> Iterator[None]:
    """The sandbox needs packages that production installations lack."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DevelopmentPartsMissing(str(error.name)) from None


@contextmanager
def dashboard_parts() -> Iterator[None]:
    """The dashboard needs packages of the extra ``dashboard``."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DashboardPartsMissing(str(error.name)) from None
