"""Vonage: its applications, their messages and inbounds, and the webhooks about them."""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from msgspec import Struct

from sandbox.simulator.behaviour import milliseconds
from sandbox.simulator.callbacks import Notice
from sandbox.simulator.core import Core
from sandbox.simulator.outcomes import VONAGE_DELIVERED, VONAGE_OPTED_OUT, Outcome
from sandbox.simulator.rules import RuleBook
from sandbox.simulator.vonage.accounts import Account
from sandbox.simulator.vonage.applications import ApplicationSettings
from sandbox.simulator.vonage.messages import Message, Workflow, live
from sandbox.simulator.vonage.problems import throttled, wrong
from sandbox.simulator.vonage.timeline import Failover, Statuses, schedule
from sandbox.simulator.vonage.tokens import signed_webhook
from sandbox.simulator.vonage.wanted import Wanted
from sandbox.simulator.vonage.webhooks import Inbound


@dataclass(frozen=True, slots=True)
class Client:
    """An application with its token, or with ``basic`` an account with its key and secret."""

    settings: ApplicationSettings
    basic: bool

    @property
    def application_id(self) -> str | None:
        return None if self.basic else self.settings.id


@dataclass(frozen=True, slots=True)
class Received:
    """A message from a phone, and its time in milliseconds."""

    at: int
    api_key: str
    inbound: Inbound
    visible_after: int


class Vonage:
    """The provider behind the Messages and Reports APIs. ``messages`` and ``inbounds`` are in the order of their times."""

    def __init__(self, core: Core, applications: Sequence[ApplicationSettings]) -> None:
        self.core = core
        self.applications = {settings.id: settings for settings in applications}
        self.behave()
        self.reset()

    def behave(self) -> None:
        """The behaviour changed. Accepted messages keep their states."""
        vonage = self.core.behaviour.vonage
        self._rules = RuleBook(vonage.rules, vonage.outcomes, VONAGE_DELIVERED)

    def reset(self) -> None:
        """Delete everything except the applications."""
        self.messages: list[Message] = []
        self.by_id: dict[str, Message] = {}
        self.inbounds: list[Received] = []
        self._unfinished: list[Message] = []
        self._accounts: dict[str, Account] = {}

    def agree(self, settings: ApplicationSettings) -> None:
        """Add an application, or change one without touching its data."""
        self.applications[settings.id] = settings

    def account(self, api_key: str) -> Account:
        if api_key not in self._accounts:
            self._accounts[api_key] = Account(api_key)
        return self._accounts[api_key]

    def accounts(self) -> list[Account]:
        return [self.account(key) for key in dict.fromkeys(settings.api_key for settings in self.applications.values())]

    def accept(self, client: Client, wanted: Wanted) -> Message:
        """Take a message, with its failover messages. Raises Problem."""
        settings = client.settings
        now = self.core.clock.now()
        if settings.rate is not None and not self.account(settings.api_key).sends.allows(now, settings.rate):
            raise throttled(settings.rate, now)
        if self._rules.first_refused([wanted.to or ""]) is not None:
            raise wrong("Invalid recipient", ("to", "is not a number that messages can be sent to"))
        workflow = Workflow(self.new_id(), 1, 1 + len(wanted.failover)) if wanted.failover else None
        return self._accept(client, wanted, workflow, tuple(wanted.failover))

    def receive(self, settings: ApplicationSettings, inbound: Inbound, at: int | None = None) -> None:
        """A phone sends a message to one of the application's numbers: it is recorded, and sent to the application's URL."""
        now = self.core.clock.now()
        received = Received(now if at is None else at, settings.api_key, inbound, self._lag())
        insort(self.inbounds, received, key=lambda other: other.at)
        if settings.opt_outs and inbound.sms:
            keyword = inbound.sms["keyword"]
            self.account(settings.api_key).hear(phone=inbound.from_, number=inbound.to, keyword=keyword)
        self.tell_inbound(settings, inbound)

    def tell_inbound(self, settings: ApplicationSettings, inbound: Inbound) -> None:
        """Send the webhook for an inbound (again)."""
        url = settings.inbound_url or settings.status_url
        if url and self.core.behaviour.callbacks:
            post = self._poster(
                Client(settings, basic=False), url, Random(f"{self.core.behaviour.seed}/{inbound.message_uuid}")
            )
            self.core.callbacks.put([post(lambda: inbound)])

    def hurry(self, now: int) -> None:
        """Let every message become final now."""
        for message in self._unfinished:
            message.life.hurry(now)
        self._unfinished = []

    def new_id(self) -> str:
        return str(UUID(int=self.core.ids.getrandbits(128), version=4))

    def _accept(self, client: Client, wanted: Wanted, workflow: Workflow | None, following: tuple[Wanted, ...]) -> Message:
        behaviour, ordinal, now = self.core.behaviour, self.core.next_ordinal(), self.core.clock.now()
        random = Random(f"{behaviour.seed}/{ordinal}")
        message = Message(
            id=self.new_id(),
            ordinal=ordinal,
            api_key=client.settings.api_key,
            application_id=client.application_id,
            wanted=wanted,
            created=now,
            life=live(self._outcome(client, wanted, random), behaviour, random, now, wanted.ttl),
            behaviour=behaviour,
            visible_after=self._lag(),
            workflow=workflow,
        )
        self.messages.append(message)
        self.by_id[message.id] = message
        self._unfinished.append(message)
        self.core.books.accept(message)
        self._follow(client, message, following)
        self.core.changed()
        return message

    def _outcome(self, client: Client, wanted: Wanted, random: Random) -> Outcome:
        account = self.account(client.settings.api_key)
        if account.opted_out(phone=wanted.to or "", number=wanted.from_ or ""):
            return VONAGE_OPTED_OUT
        return self._rules.outcome(wanted.to or "", random)

    def _follow(self, client: Client, message: Message, following: tuple[Wanted, ...]) -> None:
        url = message.wanted.webhook_url or (None if client.basic else client.settings.status_url)
        if url and self.core.behaviour.callbacks:
            random = Random(f"{message.behaviour.seed}/{message.ordinal}/webhooks")
            self.core.reporter.watch(Statuses(message, self._poster(client, url, random)))
        if following and message.workflow is not None:
            workflow = Workflow(message.workflow.id, message.workflow.number + 1, message.workflow.total)
            send_next = partial(self._send_next, client, following[0], workflow, following[1:])
            self.core.reporter.watch(Failover(message, send_next))

    def _send_next(self, client: Client, wanted: Wanted, workflow: Workflow, following: tuple[Wanted, ...]) -> None:
        self._accept(client, wanted, workflow, following)

    def _poster(self, client: Client, url: str, random: Random) -> Callable[[Callable[[], Struct]], Notice]:
        """Makes notices to a URL, signed by the application's settings at the time of each try."""
        plain = _without_password(url)

        def post(make: Callable[[], Struct]) -> Notice:
            vonage = self.core.behaviour.vonage
            unsigned = random.random() < vonage.unsigned

            def sign(body: bytes, failed: int) -> dict[str, str]:
                settings = self.applications.get(client.settings.id, client.settings)
                if not settings.signature_secrets or (unsigned and failed == 0):
                    return {}
                secret = random.choice(settings.signature_secrets)
                token = signed_webhook(body, secret=secret, api_key=settings.api_key, application_id=client.application_id)
                return {"Authorization": f"Bearer {token}"}

            return Notice(plain, make, sign, schedule(unanswered=vonage.retry_unanswered))

        return post

    def _lag(self) -> int:
        return milliseconds(self.core.behaviour.vonage.records_lag, self.core.random)


def _without_password(url: str) -> str:
    """The signature takes the header that a user and a password in the URL would need."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
