"""``make chaos``: kills and cuts things while messages go out, then counts what arrived."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated

import typer

from sandbox.demo.interrupts import Interrupted, interruptible
from sandbox.demo.parts import PartFailed
from sandbox.demo.work import Message
from sandbox.local.errors import StackError
from tests.chaos.drill import Course, Drill
from tests.chaos.events import SETTINGS, events
from tests.chaos.fleet import running
from tests.chaos.judge import Verdict
from tests.chaos.load import MOST_MESSAGES, plan_load
from tests.chaos.providers import ACCOUNTS, Accounts, Times

_OUTAGES = 6
"""Four outages and the time before each, and some time without any."""
_RESERVE = 1.5


WithEvents = Annotated[
    bool, typer.Option("--events", help="Also tell a server what happens, which refuses some, and check that it learns all.")
]


class Provider(StrEnum):
    """Where the messages go."""

    SINCH = "sinch"
    VONAGE = "vonage"


def chaos(
    *,
    provider: Annotated[Provider, typer.Option(help="The provider that all messages go to.")] = Provider.SINCH,
    providers: Annotated[
        str | None, typer.Option(help="Several, with an account each in every process: sinch,vonage. Instead of --provider.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of the default route, as many as providers: 50,50. Otherwise the first sends.")
    ] = None,
    messages: Annotated[int, typer.Option(help="How many messages to send.", min=100, max=MOST_MESSAGES)] = 20_000,
    seconds: Annotated[
        float | None, typer.Option(help="How long sending takes without disturbances; with several, six times --away.", min=5)
    ] = None,
    away: Annotated[float, typer.Option(help="How long each of several providers is away, twice, in seconds.", min=1)] = 60.0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same disturbances in the same order.")] = 1,
    lease: Annotated[float, typer.Option(help="LEASE_SECONDS of the processes.", min=2)] = 10.0,
    settle: Annotated[float, typer.Option(help="SETTLE_SECONDS of the processes.", min=1)] = 5.0,
    pace: Annotated[float, typer.Option(help="Average seconds between two disturbances.", min=0.1)] = 3.0,
    beside: Annotated[
        Path | None, typer.Option(help="The wheel of an earlier release, from which a scheduler and a webhook app run.")
    ] = None,
    clock_steps: Annotated[
        bool, typer.Option("--clock-steps", help="Also set the database's clock an hour forward or back, again and again.")
    ] = False,
    with_events: WithEvents = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON on stdout, all else on stderr.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep logs, database and report in this folder.")] = None,
) -> None:
    """Kill schedulers, webhook apps, PostgreSQL and the Supabase API, and cut the network, while messages are sent.

    Exit code 0 only if, by the simulator's records, nothing was lost or sent twice, every row is final, every acknowledged
    callback is stored, and the outbox recovered within two leases and two settling times. At Vonage a message may end as
    unknown with a reason, three days later by the database's clock. With several providers each in turn takes no connections,
    and then takes them and never answers, and the others send meanwhile.
    """
    accounts = _accounts(providers or provider, beside)
    course = Course(
        seconds=seconds or (_OUTAGES * away if accounts.several else 120.0),
        pace=pace,
        seed=seed,
        away=away,
        weights=_weights(weights, accounts),
        clock_steps=clock_steps,
        events=with_events,
    )
    # One of several alone must be able to carry everything.
    times = Times(lease=lease, settle=settle, rate=messages / course.seconds * (_RESERVE if accounts.several else 1))
    place = _make(folder)
    with _story(place, err=as_json) as say, _explained(place, folder):
        say(
            f"{','.join(accounts.names)}, seed {seed}, {messages} messages, lease {lease:g} s, settle {settle:g} s; "
            f"logs are in {place}"
        )
        verdict = _run(plan_load(messages, Random(seed), accounts), accounts, times, course, place, beside, say)
    if as_json:
        sys.stdout.write(json.dumps(verdict.as_dict()) + "\n")
    if verdict.broken:
        typer.echo(f"The story and all logs are in {place}.", err=True)
        raise typer.Exit(1)
    _forget(place, folder)


@contextmanager
def _story(place: Path, *, err: bool) -> Iterator[Callable[[str], None]]:
    """Say a line, and keep it."""
    with (place / "story.txt").open("a", buffering=1, encoding="utf-8") as story:

        def say(text: str) -> None:
            story.write(text + "\n")
            typer.echo(text, err=err)

        yield say


def _run(
    messages: Sequence[Message],
    accounts: Accounts,
    times: Times,
    course: Course,
    place: Path,
    beside: Path | None,
    say: Callable[[str], None],
) -> Verdict:
    with (
        interruptible() as interrupts,
        events(course.seed, wanted=course.events) as told,
        running(
            place,
            times,
            course.seed,
            interrupts,
            say,
            accounts=accounts,
            beside=beside,
            settings=SETTINGS if course.events else None,
        ) as fleet,
    ):
        drill = Drill(fleet, messages, times, accounts, course, say, told)
        verdict = drill.run()
        if verdict.broken:
            say(drill.histories())
    say(_words(verdict))
    return verdict


def _accounts(providers: str, beside: Path | None) -> Accounts:
    names = providers.split(",")
    if not set(names) <= ACCOUNTS.keys() or len(set(names)) < len(names):
        raise typer.BadParameter(f"{providers!r}: one or more of {', '.join(ACCOUNTS)}", param_hint="--providers")
    accounts = Accounts(tuple(ACCOUNTS[name] for name in names))
    if beside is not None and accounts.without_list:
        raise typer.BadParameter(f"no earlier release sends through {providers}", param_hint="--beside")
    return accounts


def _weights(given: str | None, accounts: Accounts) -> tuple[int, ...]:
    try:
        weights = () if given is None else tuple(int(one) for one in given.split(","))
    except ValueError:
        weights = (-1,)
    if weights and (len(weights) != len(accounts.each) or not all(0 <= weight <= 100 for weight in weights)):
        raise typer.BadParameter(f"{given}: one of 0 to 100 for each provider, such as 50,50", param_hint="--weights")
    return weights


@contextmanager
def _explained(place: Path, folder: Path | None) -> Iterator[None]:
    """End with an exit code and a sentence where the run was interrupted, or a part of it failed."""
    try:
        yield
    except Interrupted as interrupted:
        typer.echo("Stopped. Nothing is left running.", err=True)
        _forget(place, folder)
        raise typer.Exit(128 + interrupted.number) from None
    except (PartFailed, StackError) as error:
        typer.echo(f"make chaos: {error}", err=True)
        raise typer.Exit(1) from None


def _words(verdict: Verdict) -> str:
    return (
        f"{verdict.messages} messages in {verdict.seconds} s through {sum(verdict.disturbances.values())} disturbances, "
        f"{verdict.batches} batches: {', '.join(f'{count} {status}' for status, count in verdict.statuses.items())}.\n"
        f"{_undecided(verdict)} {verdict.callbacks} callbacks were acknowledged. "
        f"Recovered {verdict.recovery} s after the last disturbance, of {verdict.recovery_limit:g} s promised.\n"
        f"{_failed_over(verdict)}{_told(verdict)}"
        f"By the provider's records {', '.join(verdict.broken) or 'nothing was lost and nothing sent twice'}."
    )


def _undecided(verdict: Verdict) -> str:
    if verdict.provider == "sinch":
        return (
            f"{verdict.found} requests of unknown outcome were found at the provider, {verdict.resent} were not and went again."
        )
    by = ", ".join(f"{count} by {source}" for source, count in verdict.found_by.items())
    return (
        f"{verdict.found} requests of unknown outcome were found ({by}), {verdict.resent} went again. "
        f"{verdict.unknown_accepted + verdict.unknown_lost} messages ended as unknown with a reason: the provider had accepted "
        f"{verdict.unknown_accepted} of them and {verdict.unknown_lost} not. "
        f"{verdict.unreported} more were sent, and no report came."
    )


def _failed_over(verdict: Verdict) -> str:
    if not verdict.failovers:
        return ""
    carried = ", ".join(f"{count} through {name}" for name, count in verdict.carried.items())
    lines = [
        f"{carried}; {verdict.routed} messages went to another provider than usual, {verdict.moved} moved after a proof.",
        *(
            f"  {one.provider} {one.kind} for {one.seconds} s: "
            + ("it was standing by" if one.stood_by else f"another one sent after {_after(one.failover)}")
            + f", and it sent again {_after(one.back)} after its return"
            for one in verdict.failovers
        ),
        f"Failover took {_summary(verdict.failover, 'failover')}, the way back {_summary(verdict.failover, 'back')}.",
    ]
    return "\n".join(lines) + "\n"


def _told(verdict: Verdict) -> str:
    events = verdict.events
    if events is None:
        return ""
    return (
        f"{events.arrived} events told a server of {events.messages} messages, {events.repeated} of them more than once. It "
        f"refused {events.refused} requests, and no event took more than {events.most_attempts} recorded attempts.\n"
    )


def _summary(figures: Mapping[str, float | None], name: str) -> str:
    median, longest, never = (figures[f"{name}_{what}"] for what in ("median", "longest", "never"))
    return f"{_after(median)} (median) to {_after(longest)}" + (f", and {never} times it did not happen" if never else "")


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds} s"


def _make(folder: Path | None) -> Path:
    if folder is None:
        return Path(mkdtemp(prefix="outbox-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


def _forget(place: Path, folder: Path | None) -> None:
    """A temporary folder stays only if the run failed."""
    if folder is None:
        rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    typer.run(chaos)
