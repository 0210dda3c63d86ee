"""`outbox bind`: which project the database sends from. A copy under another host sends nothing."""

from typing import Annotated

import typer

from jobs.gateway.operating import Binding, Operating
from jobs.runtime import settings
from jobs.runtime.project import project_host
from jobs.runtime.settings import SupabaseSettings
from scheduler.commands.operator import agreed, console, operate, say_json


def bind(
    *,
    also: Annotated[
        str | None, typer.Option("--also", help="Let processes use this host too, such as a custom domain or an internal name.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Print the hosts and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> int:
    """Have the database send from the project of SUPABASE_URL only.

    The first `outbox run` does this by itself. Processes with another host in SUPABASE_URL send nothing, so that a copy of the
    database with the same credentials sends no message a second time. Before a copy may send, set ALLOWED_RECIPIENTS for it,
    because its due messages are those of the original too. `outbox cancel --all` ends them. After a restore into another
    project, run `outbox adopt` first.
    """
    if also is not None and listed:
        raise typer.BadParameter("give --also or --list")
    project = project_host(settings.load(SupabaseSettings).supabase_url)
    added = None if also is None else _host(also)

    async def work(operating: Operating) -> int:
        bound = await operating.bind(None)
        if not listed:
            moves = added is None and bool(bound.hosts) and project not in bound.hosts
            if moves and not as_json:
                console().print(await _warning(operating))
            if not agreed(_question(bound, project, added), yes=yes or not bound.hosts):
                return 1
            bound = await _bind(operating, bound, project, added)
        if as_json:
            say_json({"hosts": bound.hosts, "moved": bound.moved})
        else:
            console().print(f"sends from {', '.join(bound.hosts)}" if bound.hosts else "not bound: the first claim binds it")
        return 0

    return operate(work)


async def _warning(operating: Operating) -> str:
    backlog = (await operating.status()).backlog
    return (
        f"Messages in this database: {backlog.due} due, {backlog.scheduled} scheduled. `outbox run` will send them, as "
        "far as ALLOWED_RECIPIENTS allows. If they are the original's, end them first: pause the campaigns, then run "
        "`outbox cancel --all`"
    )


def _host(text: str) -> str:
    try:
        return project_host(text if "://" in text else f"https://{text}")
    except ValueError:
        raise typer.BadParameter(f"--also {text!r} is no host, such as api.example.com") from None


def _question(bound: Binding, project: str, added: str | None) -> str:
    if added is not None:
        return f"This database sends from {', '.join(bound.hosts)}. Send from {added} too?"
    if project in bound.hosts:
        return f"This database sends from {', '.join(bound.hosts)}. Send from {project} only?"
    return (
        f"This database sends from {', '.join(bound.hosts)}. If it is a copy, its due messages are also the original's. "
        f"Send them from {project}?"
    )


async def _bind(operating: Operating, before: Binding, project: str, added: str | None) -> Binding:
    if added is None:
        return await operating.bind(project)
    if not before.hosts:
        await operating.bind(project, also=True)
    return await operating.bind(added, also=True)
