"""Runs the scenario and shows the outbox: live in a terminal, otherwise a line every few seconds."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from time import monotonic, sleep
from types import TracebackType
from typing import Final, Self

import httpx
import psycopg
from postgrest.exceptions import APIError
from rich.console import Console
from rich.live import Live
from supabase import create_client
from supabase.lib.client_options import SyncClientOptions

from jobs.runtime.masking import scrub
from sandbox.demo import words
from sandbox.demo.campaigns import Campaigns
from sandbox.demo.film import Film
from sandbox.demo.parts import PartFailed, Parts
from sandbox.demo.scenario import Scenario
from sandbox.demo.snapshot import Entry, Snapshot, burst, reminders, stuck, take_snapshot
from sandbox.demo.verdict import Verdict, compare, together
from sandbox.demo.view import Picture, line, screen
from sandbox.demo.work import Work

_REFRESH_SECONDS: Final = 0.4
_LINE_SECONDS: Final = 2.0
_LIMIT_SECONDS: Final = 240.0
_LEAST_LINES: Final = 2
"""Of a screen below other texts: the counts and how to end the demo."""
_SLOWEST_RATE: Final = 50.0
"""Messages a second, a fraction of a slow machine's rate. A slower demo counts as stuck."""


class Show:
    """The outbox of ``parts`` from the first insert on. Showing it ``live`` needs a terminal. A ``film`` keeps it."""

    def __init__(
        self,
        parts: Parts,
        work: Work,
        campaigns: Campaigns | None,
        console: Console,
        *,
        live: bool,
        film: Film | None = None,
    ) -> None:
        self._parts = parts
        self._campaigns = campaigns
        self._messages = (*work.messages, *(campaigns.messages if campaigns else ()))
        self._work = work
        self._console = console
        self._live = live
        self._film = film
        self._open = ExitStack()
        self._began = monotonic()
        self._next_line = 0.0
        self._said = ""
        self._asked = dict.fromkeys(parts.simulators, 0)
        self._acknowledged = dict.fromkeys(parts.simulators, 0)

    def __enter__(self) -> Self:
        stack = self._parts.stack
        self._db = self._open.enter_context(psycopg.connect(stack.admin_url, autocommit=True))
        http = self._open.enter_context(httpx.Client(timeout=30, trust_env=False))
        client = create_client(stack.url, stack.secret_key, SyncClientOptions(httpx_client=http))
        self._scenario = Scenario(client, self._parts, self._work, self._campaigns, self._db)
        links = {
            # The address that signs in is longer than a line. The demo prints it before.
            **{name: address.partition("?")[0] for name, address in self._parts.pages.items()},
            "table browser": f"{stack.url}/  (no key needed; this machine only)",
            "logs": str(self._parts.folder),
        }
        # Rows of campaigns come later, and one of them waits for the morning.
        self._picture = Picture(Snapshot({}, 0), expected=len(self._work.messages) + len(self._work.burst), links=links)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def watch(self) -> Verdict:
        """Run the scenario until every message is final or the time is over, and judge. Raises :class:`PartFailed`."""
        self._began = monotonic()
        limit = _LIMIT_SECONDS + (len(self._messages) + len(self._work.burst)) / _SLOWEST_RATE
        self._picture.footer = "Ctrl-C ends it and leaves nothing running."
        with self._drawing(lines_taken=0) as draw, self._naming_failures():
            while True:
                acted = self._scenario.advance(monotonic() - self._began)
                self._refresh()
                draw()
                if self._film is not None:
                    self._film.see(self._picture)
                now = self._picture.now
                if (not self._scenario.left and now.open == 0) or self._picture.elapsed > limit:
                    break
                if not acted:
                    sleep(_REFRESH_SECONDS)
            self._scenario.end()
            verdict = self._judge()
            self._picture.caption = words.ending(verdict)
            draw()
        if self._film is not None:
            self._film.end(self._picture, words.result(verdict))
        return verdict

    def stay(self, *, lines_taken: int) -> None:
        """Keep showing the outbox, below this many lines, until a signal comes."""
        self._picture.caption, self._picture.footer = "", "Ctrl-C ends the demo and leaves nothing running."
        with self._drawing(lines_taken=lines_taken) as draw, self._naming_failures():
            while True:
                self._refresh()
                draw()
                sleep(_REFRESH_SECONDS)

    def stuck(self) -> tuple[Entry, ...]:
        """Some of the rows without a final status."""
        return stuck(self._db)

    def _refresh(self) -> None:
        self._parts.check()
        simulators, picture = self._parts.simulators, self._picture
        for name, simulator in simulators.items():
            if name == self._scenario.away:
                continue
            # The simulator's record of requests is read once.
            for asked in simulator.asked(after=self._asked[name]):
                self._asked[name] += 1
                picture.requests += asked.kind == "send"
            self._acknowledged[name] = simulator.callbacks().acknowledged
        picture.caption = self._scenario.caption
        picture.elapsed = monotonic() - self._began
        picture.see(take_snapshot(self._db, several=len(simulators) > 1), callbacks=sum(self._acknowledged.values()))

    def _judge(self) -> Verdict:
        simulators, now = self._parts.simulators, self._picture.now
        inserted = self._work.burst[: self._scenario.burst_inserted]
        count = compare(
            (*self._messages, *inserted), together(tally for books in simulators.values() for tally in books.tallies())
        )
        totals = {name: books.summary() for name, books in simulators.items()}
        providers = {
            str(name): {"messages": total.messages, "requests": total.requests.get("send", 0)} for name, total in totals.items()
        }
        return Verdict(
            messages=len(self._work.messages),
            campaign_messages=now.total - len(self._work.messages) - len(inserted),
            overnight=now.overnight,
            statuses=dict(sorted(now.statuses.items())),
            reminders=reminders(self._db),
            lost=count.lost,
            sent_twice=count.sent_twice,
            sent_wrongly=count.sent_wrongly,
            stuck=now.open,
            steps_left=self._scenario.left,
            requests=sum(figures["requests"] for figures in providers.values()),
            seconds=round(self._picture.elapsed, 1),
            version=version("supabase-outbox"),
            providers=providers,
            killed=self._scenario.killed,
            burst=self._burst(),
        )

    def _burst(self) -> dict[str, float] | None:
        found = burst(self._db, self._work.burst[0].text) if self._work.burst else None
        return None if found is None else {**asdict(found), "per_second": found.per_second}

    @contextmanager
    def _drawing(self, *, lines_taken: int) -> Iterator[Callable[[], None]]:
        if not self._live:
            yield self._print_line
            return
        with Live(console=self._console, auto_refresh=False) as live:
            # The last line of the terminal stays empty, or the terminal would scroll.
            yield lambda: live.update(
                screen(self._picture, height=max(_LEAST_LINES, self._console.height - lines_taken - 1)), refresh=True
            )

    def _print_line(self) -> None:
        picture = self._picture
        if picture.caption != self._said:
            self._said = picture.caption
            self._console.print(f"demo: {picture.caption}", soft_wrap=True)
        if picture.elapsed >= self._next_line:
            self._next_line = picture.elapsed + _LINE_SECONDS
            self._console.print(line(picture), soft_wrap=True)

    @contextmanager
    def _naming_failures(self) -> Iterator[None]:
        """If a process or the database does not answer, raise an error that names the process that has ended."""
        try:
            yield
        except (httpx.HTTPError, APIError, psycopg.Error) as error:
            self._parts.check()
            raise PartFailed(f"{type(error).__name__}: {scrub(str(error))}; logs are in {self._parts.folder}") from error
