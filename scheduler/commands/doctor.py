"""`outbox doctor`: checks settings, database, schema, providers, callbacks and processes, and says what to do."""

import asyncio
import platform
from importlib.metadata import version
from typing import Annotated

import typer

from jobs.examining.findings import Finding, Mark
from jobs.gateway.operating import Operating
from jobs.runtime import settings, telemetry
from jobs.runtime.masking import mask
from jobs.runtime.settings import SettingsError, TelemetrySettings
from scheduler.commands import doctor_view as view
from scheduler.commands.operator import WrongUsage, agreed, be_brief_about_names, console, say_json
from scheduler.doctor import text_check
from scheduler.doctor.installation import Environment, Installation
from scheduler.doctor.rounds import CHECKS, Check, examine, run


def doctor(
    *,
    send: Annotated[
        str | None,
        typer.Option("--send", metavar="NUMBER", help="Also send one text to your own phone, such as +14155550123."),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=1, max=3600, help="With --send: how many seconds to wait for its delivery.")
    ] = 120,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --send: send it without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Check the settings, Supabase, the schema, providers, callbacks and processes, and say what to do.

    Changes nothing, but for one test callback, which it deletes, and the text of --send. The output names settings, and
    holds neither keys nor whole numbers: it may be pasted into an issue. Exit code 1 if a check failed.
    """
    environment = Environment.read()
    _configure_logs()
    be_brief_about_names()
    number = None if send is None else _agreed_number(send, environment, yes=yes)
    findings = asyncio.run(_examine(environment, number, wait=wait, quiet=as_json))
    failed = any(finding.mark is Mark.FAILED for finding in findings)
    if as_json:
        say_json({"ok": not failed, "version": version("supabase-outbox"), "checks": view.plain(findings)})
    else:
        console().print(view.summary(findings))
    return 1 if failed else 0


def _configure_logs() -> None:
    """As other commands do, also where a setting of the logs is wrong: that is a finding."""
    try:
        telemetry.configure(settings.load(TelemetrySettings), component="operator")
    except SettingsError:
        telemetry.configure(TelemetrySettings.model_construct(), component="operator")


def _agreed_number(given: str, environment: Environment, *, yes: bool) -> str | None:
    """The number that the text goes to. None if the operator does not agree."""
    try:
        number = text_check.recipient(given, environment.engine)
    except text_check.NotAllowed as error:
        raise WrongUsage(f"--send: the number {error}") from None
    return number if agreed(f"Send one text to {mask(number)}? It costs what a text costs.", yes=yes) else None


async def _examine(environment: Environment, number: str | None, *, wait: float, quiet: bool) -> list[Finding]:
    """Run all checks, then the text. Prints each finding when it is its turn, unless ``quiet``."""
    out = console()

    def show(finding: Finding) -> None:
        findings.append(finding)
        if not quiet:
            out.print(view.line(finding))

    findings: list[Finding] = []
    supabase = environment.supabase
    installation = Installation(environment, None if supabase is None else await Operating.connect(supabase))
    if not quiet:
        out.print(f"outbox {version('supabase-outbox')}, Python {platform.python_version()}, {platform.system()}")
    try:
        async for finding in examine(installation, CHECKS):
            show(finding)
        if number is not None:
            say = (lambda _: None) if quiet else (lambda words: typer.echo(words, err=True))
            text = Check("text", wait + 60, lambda of: text_check.look(of, number, wait=wait, say=say))
            for finding in await run(text, installation):
                show(finding)
    finally:
        await installation.aclose()
    return findings
