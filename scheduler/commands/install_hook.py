"""`outbox install --auth-hook`: Supabase Auth sends its one-time codes through the outbox."""

import textwrap
from typing import Any, Final

import typer

from scheduler.commands import install_view as view
from scheduler.commands.terminal import Failed, agreed
from scheduler.installing import auth_hook
from scheduler.installing.auth_hook import URI, HookConfig
from scheduler.installing.files import write_all
from scheduler.installing.project import Project
from scheduler.installing.steps import Step

OFFER: Final = "Sign-in by phone: outbox install --auth-hook sends the codes of Supabase Auth."
_STEPS: Final[tuple[Step, ...]] = (
    Step(
        "Hosted project: in the dashboard, choose the function public.outbox_send_sms under Authentication, Hooks, Send SMS, "
        "and turn Phone on under Sign In / Providers. Or push the configuration, with every other setting in config.toml.",
        ("supabase config push",),
    ),
    Step(
        "Raise the limit of Auth: it sends 30 SMS an hour in a project, then it refuses. It is sms_sent in [auth.rate_limit] "
        "of config.toml, in the dashboard under Authentication, Rate Limits, and rate_limit_sms_sent in the management API."
    ),
    Step(
        "Self-hosted: set these variables of the service auth instead of config.toml.",
        (
            "GOTRUE_EXTERNAL_PHONE_ENABLED=true",
            "GOTRUE_HOOK_SEND_SMS_ENABLED=true",
            f"GOTRUE_HOOK_SEND_SMS_URI={URI}",
            "GOTRUE_RATE_LIMIT_SMS_SENT=1000",
        ),
    ),
    Step("Texts, caps and what is stored: docs/auth.md."),
)


def read(project: Project) -> HookConfig:
    """What the project's configuration lacks."""
    try:
        return auth_hook.read(project)
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror}") from None


def write(config: HookConfig, *, yes: bool) -> bool:
    """Add the missing sections after a question. Returns whether the file was written."""
    sections = " and ".join(f"[{name}]" for name in config.added)
    if config.text is None or not agreed(f"Add {sections} to {view.shown(config.path)}?", yes=yes):
        return False
    try:
        write_all({}, replaced={config.path: config.text})
    except OSError as error:
        raise Failed(f"{view.shown(config.path)} was not written: {error.strerror or error}") from None
    return True


def say(config: HookConfig, *, written: bool) -> None:
    """What was written, what is to be changed by hand, and the next steps."""
    typer.echo()
    if written:
        typer.echo(f"Wrote {view.shown(config.path)}")
    elif config.is_complete:
        typer.echo(f"{view.shown(config.path)} has the Send SMS hook.")
    elif config.added:
        typer.echo(f"Missing in {view.shown(config.path)}: {', '.join(f'[{name}]' for name in config.added)}")
    for line in config.by_hand:
        typer.echo(line)
    typer.echo("One-time codes of Supabase Auth:")
    for number, step in enumerate(_STEPS, 1):
        start = f"  {number}. "
        typer.echo(textwrap.fill(step.what, 80, initial_indent=start, subsequent_indent="     ", break_on_hyphens=False))
        for command in step.commands:
            typer.echo(f"       {command}")


def plain(config: HookConfig, *, written: bool) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "config": str(config.path),
        "missing": list(config.added),
        "written": written,
        "by_hand": list(config.by_hand),
        "next_steps": [{"what": step.what, "commands": list(step.commands)} for step in _STEPS],
    }
