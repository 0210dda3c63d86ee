"""Client for the simulator's controls, for tests and the demo. Blocking; from async code call it in a thread."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeVar

import httpx
import msgspec

from jobs.runtime.tls import trust
from sandbox.simulator.behaviour import Behaviour, Fault, Kind, ProviderName, Span
from sandbox.simulator.books import Accepted, Asked, Summary, Tally
from sandbox.simulator.callbacks import Figures, Tried
from sandbox.simulator.controls import Settled, Struck
from sandbox.simulator.sinch.plans import InboundView, PlanSettings
from sandbox.simulator.vonage_control import VonageControl

Shape = TypeVar("Shape")


class Control:
    """The controls of the simulator at ``url``. Raises httpx errors; 400 means the control was used wrongly."""

    def __init__(self, url: str) -> None:
        # No proxy of the environment may come between a test and its simulator.
        self._http = httpx.Client(base_url=f"{url}/_sim", timeout=120, verify=trust(trust_env=False), trust_env=False)
        self.vonage = VonageControl(self._ask)

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> None:
        self._ask("GET", "/health")

    def behaviour(self) -> Struck:
        """The current behaviour, and how often each request fault was applied."""
        return self._get("/faults", Struck)

    def behave(self, behaviour: Behaviour) -> None:
        """Replace the whole behaviour. Random numbers and counts start again."""
        self._ask("PUT", "/faults", behaviour)

    def change(self, **fields: Any) -> None:
        """Replace some fields of the behaviour."""
        self._ask("PATCH", "/faults", fields)

    def add(self, *faults: Fault) -> None:
        """Add request faults to the current ones. The first that matches is applied."""
        for fault in faults:
            self._ask("POST", "/faults", fault)

    def heal(self) -> None:
        """End all request faults."""
        self.change(requests=())

    def refuse(self, seconds: float) -> None:
        """Hang up on all clients and take no connection for so long, not even one for controls."""
        self._ask("POST", "/refuse", {"seconds": seconds})

    def plans(self) -> list[PlanSettings]:
        return self._get("/plans", list[PlanSettings])

    def agree(self, settings: PlanSettings) -> None:
        """Add a service plan or change one."""
        self._ask("PUT", "/plans", settings)

    def text_in(self, *, sender: str, to: str, body: str, **fields: Any) -> InboundView:
        """A phone sends a text. ``fields`` as in :class:`~sandbox.simulator.controls.Inject`."""
        answer = self._ask("POST", "/inbounds", {"sender": sender, "to": to, "body": body, **fields})
        return msgspec.json.decode(answer.content, type=InboundView)

    def reset(self) -> None:
        """Delete everything except plans, applications and behaviour."""
        self._ask("POST", "/reset")

    def advance(self, seconds: float) -> None:
        """Move the simulator's clock forward. Its reports then carry times ahead of all other clocks."""
        self._ask("POST", "/advance", {"seconds": seconds})

    def settle(self, *, seconds: float = 30, retries: bool = False) -> bool:
        """Let every message end and every callback be tried, now; ``retries`` tries those that failed before once more.

        False where that took longer than ``seconds``. Must not be called on the event loop that answers the callbacks.
        """
        answer = self._ask("POST", "/settle", {"seconds": seconds, "retries": retries})
        return msgspec.json.decode(answer.content, type=Settled).settled

    def wait(
        self, *, messages: int = 0, kind: Kind = "any", requests: int = 0, acknowledged: int = 0, seconds: float = 30
    ) -> bool:
        """Wait until this many messages were accepted, requests of a kind answered and callbacks acknowledged."""
        wanted = {"messages": messages, "kind": kind, "requests": requests, "acknowledged": acknowledged, "seconds": seconds}
        return msgspec.json.decode(self._ask("POST", "/wait", wanted).content, type=Settled).settled

    def summary(self, *, provider: ProviderName | None = None) -> Summary:
        """The totals of one provider or, like all of the books, of both together."""
        return self._get(f"/books?{_of(provider)}", Summary)

    def accepted(self, *, after: int = 0, provider: ProviderName | None = None) -> Iterator[Accepted]:
        """Every accepted message, without those of the first ``after`` requests."""
        return self._lines(f"/books/accepted?after={after}{_of(provider)}", Accepted)

    def tallies(self, *, least: int = 0, provider: ProviderName | None = None) -> Iterator[Tally]:
        """How often each text was accepted for each number; with ``least=2`` only those sent twice."""
        return self._lines(f"/books/tallies?least={least}{_of(provider)}", Tally)

    def asked(self, *, after: int = 0, provider: ProviderName | None = None) -> Iterator[Asked]:
        """Every request, without the first ``after``."""
        return self._lines(f"/books/requests?after={after}{_of(provider)}", Asked)

    def callbacks(self) -> Figures:
        return self._get("/callbacks", Figures)

    def tried(self, *, after: int = 0) -> Iterator[Tried]:
        """Every try of a callback, if ``record_callbacks`` is on."""
        return self._lines(f"/callbacks/tried?after={after}", Tried)

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        answer = self._http.request(method, path, content=None if body is None else msgspec.json.encode(body))
        if answer.status_code == 400:
            raise ValueError(answer.text.strip())
        return answer.raise_for_status()

    def _get(self, path: str, shape: type[Shape]) -> Shape:
        return msgspec.json.decode(self._ask("GET", path).content, type=shape)

    def _lines(self, path: str, shape: type[Shape]) -> Iterator[Shape]:
        decoder = msgspec.json.Decoder(shape)
        with self._http.stream("GET", path) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if line:
                    yield decoder.decode(line)


def _of(provider: ProviderName | None) -> str:
    return "" if provider is None else f"&provider={provider}"


def timeout_after_accepting(*, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    """The request takes effect, and no answer comes."""
    return Fault(effect="hang", accept=True, on=on, times=times, probability=probability)


def timeout_before_accepting(*, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    return Fault(effect="hang", on=on, times=times, probability=probability)


def reset_before_accepting(*, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    return Fault(effect="reset", on=on, times=times, probability=probability)


def reset_after_accepting(*, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    return Fault(effect="reset", accept=True, on=on, times=times, probability=probability)


def close_after_accepting(*, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    """The request takes effect, and the connection is closed without an answer and without a TCP reset."""
    return Fault(effect="close", accept=True, on=on, times=times, probability=probability)


def error_after_accepting(status: int = 500, *, times: int | None = 1, probability: float = 1.0) -> Fault:
    """The request takes effect, and the answer is an error."""
    return Fault(effect="answer", accept=True, status=status, times=times, probability=probability)


def unreadable_after_accepting(*, status: int = 201, times: int | None = 1, probability: float = 1.0) -> Fault:
    """An answer whose body is cut off in the middle: 201 at Sinch, 202 at Vonage."""
    return Fault(effect="answer", accept=True, status=status, page="truncated", times=times, probability=probability)


def throttle(*, retry_after: str | None = None, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Fault(effect="answer", status=429, headers=headers, on=on, times=times, probability=probability)


def unavailable_page(*, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    """503 from a gateway, as a page of HTML."""
    return Fault(effect="answer", status=503, page="html", on=on, times=times, probability=probability)


def redirect(location: str, *, times: int | None = 1, on: Kind = "send") -> Fault:
    return Fault(effect="answer", status=307, page="empty", headers={"location": location}, on=on, times=times)


def account_error(status: int, *, times: int | None = None, on: Kind = "any") -> Fault:
    """401, 402, 403, 404 … for every request of the account."""
    return Fault(effect="answer", status=status, page="empty", on=on, times=times)


def callback_before_answer(*, seconds: float = 10.0, times: int | None = 1, probability: float = 1.0) -> Fault:
    """The request takes effect, and the next callback to be tried, which is its own if it is alone, comes before the answer."""
    return Fault(effect="overtaken", seconds=seconds, times=times, probability=probability)


def problem(status: int, title: str, *, times: int | None = 1, on: Kind = "send", contains: str | None = None) -> Fault:
    """A refusal as Vonage writes it, such as 402 or 422. ``contains`` limits it to bodies with this text or number."""
    return Fault(effect="answer", status=status, page="problem", code=title, text=title, times=times, on=on, contains=contains)


def missing_callback_url(*, times: int | None = None) -> Fault:
    text = "A delivery report was requested, but there is no callback URL"
    return Fault(effect="answer", status=403, code="missing_callback_url", text=text, times=times, contains="per_recipient")


def late_request(seconds: Span, *, times: int | None = 1) -> Fault:
    """The request takes effect only after this many seconds, whether its sender still waits or not."""
    return Fault(effect="delay", seconds=seconds, times=times)


def stale_answer(*, accept: bool = False, times: int | None = 1, probability: float = 1.0, on: Kind = "send") -> Fault:
    """The answer to the request before it, as if a connection had mixed them up."""
    return Fault(effect="stale", accept=accept, on=on, times=times, probability=probability)


def list_without_references(*, times: int | None = 1, probability: float = 1.0, on: Kind = "list") -> Fault:
    return Fault(effect="unreferenced", on=on, times=times, probability=probability)


def list_with_other_numbers(*, times: int | None = 1, probability: float = 1.0, on: Kind = "list") -> Fault:
    """Each number is written in another way than it was sent."""
    return Fault(effect="rewritten", on=on, times=times, probability=probability)


def list_with_an_unreadable_item(*, times: int | None = 1, probability: float = 1.0, on: Kind = "list") -> Fault:
    return Fault(effect="unreadable", on=on, times=times, probability=probability)
