"""The `outbox` command.

Nothing is imported before the subcommand that needs it runs: production carries neither the sandbox's parts nor the time it
takes to load them. What a subcommand of this package does is in `scheduler.commands`; those of other packages are mounted here,
and parse their own arguments.
"""

import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer
from typer.main import get_command

from scheduler.failures import failed
from scheduler.parts import dashboard_parts, development_parts

app = typer.Typer(
    name="outbox",
    help="Send the text messages of a Supabase table, each once and on time, and record their delivery status.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_loading = threading.Timer(
    3.0, typer.echo, ["outbox: still loading its parts, which takes long on this machine"], {"err": True}
)
"""Runs on a terminal until the parts of a command are loaded."""

MOUNTED = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage or configuration."""
    from scheduler.commands.terminal import replace_what_streams_lack

    replace_what_streams_lack()
    if sys.stderr.isatty():
        _loading.daemon = True
        _loading.start()
    sys.exit(run_command_line(sys.argv[1:]))


def run_command_line(arguments: list[str]) -> int:
    """Run one command and return its exit code. What went wrong is on stderr.

    It is one line, or one for each wrong setting. With ``--json`` it is one JSON object.
    """
    try:
        return _code(get_command(app)(arguments, prog_name="outbox", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:  # noqa: BLE001  # a command ends with one line and an exit code, whatever went wrong
        return failed(error, as_json="--json" in arguments)


def _code(answer: object) -> int:
    return answer if isinstance(answer, int) else 0


def _version(wanted: bool) -> None:
    if wanted:
        from jobs.schema.releases import packaged

        typer.echo(f"outbox {version('supabase-outbox')} (schema {packaged().newest})")
        raise typer.Exit


@app.callback()
def _outbox(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version, and the newest schema version that it knows."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Do all work that is due and exit, for cron-style hosting. Overlapping runs are safe.",
        ),
    ] = False,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            "--plan",
            metavar="PROVIDER[:PLAN]",
            help="Serve this account only, and not all that are configured. Repeat it for more.",
        ),
    ] = None,
) -> int:
    """Run the scheduler, which sends the messages.

    It also looks up lost requests, polls missing reports, expands campaigns and prunes old rows. SIGTERM and Ctrl-C let open
    requests finish and stop it within 10 seconds. Several schedulers may run at once.
    """
    _say_start("the scheduler")
    from scheduler.commands.run import run

    return run(once=once, plans=plan or ())


@app.command(context_settings=MOUNTED, add_help_option=False)
def webhook(context: typer.Context) -> int:
    """Run the webhook app, which receives callbacks."""
    _say_start("the webhook app", context)
    from webhook.commands import webhook

    return _hand_over(context, _alone(webhook))


@app.command(context_settings=MOUNTED, add_help_option=False)
def dashboard(context: typer.Context) -> int:
    """Run the dashboard: pages for operators in a browser."""
    _say_start("the dashboard", context)
    with dashboard_parts():
        from dashboard.commands import dashboard as command

    return _hand_over(context, _alone(command))


@app.command("all")
def run_all(
    host: Annotated[str, typer.Option(help="Address that the webhook app and the dashboard listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(help="Its port; 0 picks a free one. Without it, the setting PORT or 8080.", min=0, max=65535),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes of the webhook app.", min=1, max=60)] = 1,
    plan: Annotated[
        list[str] | None,
        typer.Option("--plan", metavar="PROVIDER[:PLAN]", help="Serve this account only, as `outbox run` does."),
    ] = None,
) -> int:
    """Run the scheduler and the webhook app together.

    If DASHBOARD_PORT is set, the dashboard runs beside them.

    What ends is started again. If it ends five times, each within a minute, all end with exit code 1. SIGTERM and Ctrl-C stop
    all within 10 seconds.
    """
    _say_start("all processes")
    from scheduler.commands.together import run_all

    return run_all(host=host, port=port, workers=workers, plans=plan or ())


@app.command(context_settings=MOUNTED, add_help_option=False)
def health(context: typer.Context) -> int:
    """Probe the processes on this machine, for containers."""
    from scheduler.commands.health import health

    return _hand_over(context, _alone(health))


@app.command(context_settings=MOUNTED, add_help_option=False)
def doctor(context: typer.Context) -> int:
    """Check everything that sending needs, and say what to do."""
    from scheduler.commands.doctor import doctor

    return _hand_over(context, _alone(doctor))


@app.command(context_settings=MOUNTED, add_help_option=False)
def status(context: typer.Context) -> int:
    """Show the backlog, pauses, jobs, alarms and delivery figures."""
    from scheduler.commands.status import status

    return _hand_over(context, _alone(status))


@app.command(context_settings=MOUNTED, add_help_option=False)
def trace(context: typer.Context) -> int:
    """Show the history of one message."""
    from scheduler.commands.trace import trace

    return _hand_over(context, _alone(trace))


@app.command(context_settings=MOUNTED, add_help_option=False)
def retry(context: typer.Context) -> int:
    """Send final messages again that were not delivered."""
    from scheduler.commands.retry import retry

    return _hand_over(context, _alone(retry))


@app.command(context_settings=MOUNTED, add_help_option=False)
def cancel(context: typer.Context) -> int:
    """Cancel messages that are not sent yet."""
    from scheduler.commands.cancel import cancel

    return _hand_over(context, _alone(cancel))


@app.command(context_settings=MOUNTED, add_help_option=False)
def pause(context: typer.Context) -> int:
    """Stop sending, until a time or until `outbox resume`."""
    from scheduler.commands.pausing import pause

    return _hand_over(context, _alone(pause))


@app.command(context_settings=MOUNTED, add_help_option=False)
def resume(context: typer.Context) -> int:
    """Resume sending after `outbox pause`."""
    from scheduler.commands.pausing import resume

    return _hand_over(context, _alone(resume))


@app.command(context_settings=MOUNTED, add_help_option=False)
def plans(context: typer.Context) -> int:
    """Show which plans can send, and pin their weights."""
    from scheduler.commands.plans import app as plans_app

    return _hand_over(context, plans_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def adopt(context: typer.Context) -> int:
    """After a restore from a backup: adopt what was sent since."""
    from scheduler.commands.adopt import adopt

    return _hand_over(context, _alone(adopt))


@app.command(context_settings=MOUNTED, add_help_option=False)
def held(context: typer.Context) -> int:
    """Show or send messages that are held since `outbox adopt`."""
    from scheduler.commands.held import held

    return _hand_over(context, _alone(held))


@app.command(context_settings=MOUNTED, add_help_option=False)
def bind(context: typer.Context) -> int:
    """Choose the project that the database sends from."""
    from scheduler.commands.binding import bind

    return _hand_over(context, _alone(bind))


@app.command(context_settings=MOUNTED, add_help_option=False)
def routes(context: typer.Context) -> int:
    """Choose which plans carry which messages."""
    from scheduler.commands.routes import app as routes_app

    return _hand_over(context, routes_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def senders(context: typer.Context) -> int:
    """Choose what a sender is called at each plan."""
    from scheduler.commands.senders import app as senders_app

    return _hand_over(context, senders_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def suppressions(context: typer.Context) -> int:
    """Import and export the numbers that get no messages."""
    from scheduler.commands.suppressions import app as suppressions_app

    return _hand_over(context, suppressions_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def replies(context: typer.Context) -> int:
    """List what recipients wrote, and decide unclear replies."""
    from scheduler.commands.replies import app as replies_app

    return _hand_over(context, replies_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def events(context: typer.Context) -> int:
    """Tell your own servers what happened, by signed requests."""
    from scheduler.commands.events import app as events_app

    return _hand_over(context, events_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def person(context: typer.Context) -> int:
    """Show, export or erase what is kept of one person."""
    from scheduler.commands.person import app as person_app

    return _hand_over(context, person_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def campaign(context: typer.Context) -> int:
    """Import members, preview, start, pause, stop, report, list."""
    from scheduler.commands.campaign.commands import app as campaign_app

    return _hand_over(context, campaign_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def install(context: typer.Context) -> int:
    """Write the schema's migrations into your Supabase project."""
    from scheduler.commands.install import install

    return _hand_over(context, _alone(install))


@app.command(context_settings=MOUNTED, add_help_option=False)
def schema(context: typer.Context) -> int:
    """Compare, print or remove the database schema."""
    from scheduler.commands.schema import app as schema_app

    return _hand_over(context, schema_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def local(context: typer.Context) -> int:
    """Start and stop a local Supabase for development."""
    with development_parts():
        from sandbox.local.commands import app as local_app

    return _hand_over(context, local_app)


@app.command(context_settings=MOUNTED, add_help_option=False)
def simulator(context: typer.Context) -> int:
    """Run a simulator of Sinch and Vonage for development."""
    with development_parts():
        from sandbox.simulator.commands import simulator

    return _hand_over(context, _alone(simulator))


@app.command(context_settings=MOUNTED, add_help_option=False)
def receiver(context: typer.Context) -> int:
    """Run a server that gets events and prints them."""
    with development_parts():
        from sandbox.receiver.commands import receiver

    return _hand_over(context, _alone(receiver))


@app.command(context_settings=MOUNTED, add_help_option=False)
def demo(context: typer.Context) -> int:
    """Start everything on this machine and watch messages move."""
    with development_parts():
        from sandbox.demo.commands import demo

    return _hand_over(context, _alone(demo))


def _say_start(what: str, context: typer.Context | None = None) -> None:
    """Tell a person at once that something happens: imports and the first answers take seconds on a slow machine.

    Only on a terminal, because a log has one event a line.
    """
    _loading.cancel()
    asks_for_help = context is not None and "--help" in context.args
    if sys.stderr.isatty() and not asks_for_help:
        typer.echo(f"outbox: starting {what}, Ctrl-C stops it", err=True)


def _alone(command: Callable[..., object]) -> typer.Typer:
    """The function as a command line with a single command."""
    single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    single.command()(command)
    return single


def _hand_over(context: typer.Context, commands: typer.Typer) -> int:
    _loading.cancel()
    return _code(get_command(commands).main(context.args, prog_name=context.command_path, standalone_mode=False))
