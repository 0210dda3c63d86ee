"""The mutations: a history that does not notice a rule that is missing proves nothing."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from jobs.dispatching.leases import Leases
from jobs.gateway.values import Lookup
from jobs.providers.base import Accepted, Outcome, ProviderError, Submission
from jobs.recover import Recovery
from tests.simulation.chaos import Chaos
from tests.simulation.database import Database
from tests.simulation.mutation import Mutation
from tests.simulation.process import Observer, Process, Wire
from tests.simulation.witness import Witness

if TYPE_CHECKING:
    # Release 0.1.0 has no such module.
    from jobs.providers.answers import Answer

_ROLL_BACK: Final = """
    with gone as (
      delete from outbox_engine.dispatches where worker = %s and state = 'claimed' returning id
    ),
    left_behind as (
      delete from outbox_engine.dispatch_members m using gone where m.dispatch_id = gone.id
    )
    select outbox_engine.change_statuses(
      array_agg(row(o.id, 'requeued', null, null, null, null)::outbox_engine.status_change), 'engine', outbox_engine.now())
    from public.outbox o
    join gone on o.dispatch_id = gone.id and o.status = 'sending'
"""


class _OpenTransaction(Wire):
    """A claim is committed together with its outcome. When the process dies, its claim is rolled back."""

    def __init__(self, process: Process, database: Database, chaos: Chaos, witness: Witness, observer: Observer) -> None:
        super().__init__(process, database, chaos, witness, observer)
        die = process.die

        def roll_back() -> None:
            die()
            database.query(_ROLL_BACK, [process.name])

        process.die = roll_back  # type: ignore[method-assign]


class _Resending(Wire):
    """A request without an answer counts as refused."""

    async def call(self, function: str, arguments: dict[str, Any]) -> Any:
        if function == "outbox_mark_ambiguous":
            held = {name: arguments[name] for name in ("p_dispatch_ids", "p_lease_tokens")}
            return await super().call("outbox_release", held)
        return await super().call(function, arguments)


def _leases_never_end() -> AbstractContextManager[object]:
    return mock.patch.object(Leases, "left", return_value=math.inf)


def _errors_find_nothing() -> AbstractContextManager[object]:
    read = Recovery._read

    async def careless(recovery: Recovery, lookup: Lookup) -> Mapping[str, Sequence[str]] | None:
        try:
            return await read(recovery, lookup)
        except ProviderError:
            return {}

    return mock.patch.object(Recovery, "_read", careless)


def _candidates_are_ignored() -> AbstractContextManager[object]:
    return mock.patch("jobs.recover._Reading._doubt")


def _any_201_is_believed() -> AbstractContextManager[object]:
    def believe(answer: "Answer", _submission: Submission) -> Outcome:
        return Accepted(json.loads(answer.body or b"")["id"])

    return mock.patch("jobs.providers.sinch.acceptance.outcome", believe)


def _provider_has_our_clock() -> AbstractContextManager[object]:
    return mock.patch("jobs.runtime.clocks.Clocks.provider_latest", return_value=None)


TWICE: Final = "was accepted more than once"
UNKNOWN: Final = "was accepted and the database does not know it"
ACCEPTED: Final = "was accepted "
"""Either of these, depending on whether a report or a late lookup shows the first batch."""

MUTATIONS: Final = (
    Mutation("no write-ahead", 4, ("request.crash",), UNKNOWN, wire=_OpenTransaction),
    Mutation("resend on timeout", 5, ("request.unanswered",), TWICE, wire=_Resending),
    Mutation(
        "no fence",
        10,
        ("process.stall", "call.slow"),
        "it never settles",
        rewrites=(("outbox_engine.lock_leased", "and d.lease_token = f.token::bigint and d.state = 'claimed'", ""),),
    ),
    Mutation(
        "the fence blocks acceptances too",
        120,
        ("process.stall", "call.slow"),
        UNKNOWN,
        rewrites=(
            ("outbox_engine.accept_dispatches", "and d.batch_id is null", "and d.batch_id is null and d.state = 'claimed'"),
        ),
    ),
    Mutation(
        "one lookup is enough",
        10,
        ("list.lag", "request.unanswered"),
        TWICE,
        rewrites=(
            (
                "outbox_engine.count_missed_lookup",
                "lookup_misses >= 2 and v_now >= v_dispatch.first_missed_at + p_settle",
                "lookup_misses >= 1",
            ),
        ),
    ),
    Mutation(
        "resend on timeout at a provider without a list",
        120,
        ("provider.without_list", "request.unanswered"),
        TWICE,
        wire=_Resending,
    ),
    Mutation(
        "absence is believed where nothing proves it",
        5,
        ("provider.without_list", "request.unanswered"),
        TWICE,
        rewrites=(
            (
                "outbox_engine.count_missed_lookup",
                "not (outbox_engine.provider_of(v_dispatch.provider)).proves_absence",
                "false",
            ),
        ),
    ),
    Mutation(
        "the database's clock alone decides",
        9,
        ("clock.steps", "list.lag", "request.unanswered"),
        TWICE,
        rewrites=(("outbox_engine.has_settled", "return coalesce(", "return true or coalesce("),),
    ),
    Mutation(
        "the provider's clock is not asked for",
        3,
        ("provider.clock", "report.lost", "phone.stops"),
        "replies were never read",
        patch=_provider_has_our_clock,
    ),
    Mutation("an error counts as a lookup", 10, ("list.error", "request.unanswered"), TWICE, patch=_errors_find_nothing),
    Mutation("candidate ignored", 14, ("list.unreferenced", "request.unanswered"), ACCEPTED, patch=_candidates_are_ignored),
    Mutation(
        "narrow lookup window",
        12,
        ("provider.clock", "request.unanswered", "report.lost"),
        ACCEPTED,
        rewrites=(
            (
                "public.outbox_claim_lookups",
                "outbox_engine.lookup_since(claimed_at, v_now)",
                "claimed_at - interval '1 hour'",
            ),
        ),
    ),
    Mutation("201 believed", 190, ("answer.stale",), "it was accepted as", patch=_any_201_is_believed),
    Mutation(
        "leases are not checked before a request", 120, ("process.stall",), "a request is made for", patch=_leases_never_end
    ),
    Mutation(
        "a claim is not repeatable",
        27,
        ("call.unanswered",),
        "a claim that was asked again took more",
        rewrites=(("outbox_engine.claimed_before", "d.state = 'claimed'", "false"),),
    ),
    Mutation(
        "the last report wins",
        39,
        ("report.repeated", "report.late"),
        "the provider said",
        rewrites=(
            ("outbox_engine.advance_statuses", "when n.rank = n.reported_rank then", "when false then"),
            ("outbox_engine.advance_statuses", "n.rank > coalesce(n.reported_rank, 0)", "true"),
        ),
    ),
    Mutation(
        "the provider's time is believed",
        1,
        ("report.odd_time",),
        "ended at",
        rewrites=(
            (
                "outbox_engine.advance_statuses",
                "least(greatest(coalesce(a.at, p_now), a.sent_at), p_now)",
                "coalesce(a.at, p_now)",
            ),
        ),
    ),
    Mutation(
        "a restore is not noticed",
        5,
        ("database.restored",),
        "although the database was restored",
        rewrites=(("outbox_engine.refuse_process", "if v_reason is null then", "if true then"),),
    ),
    Mutation(
        "expiry is not checked at the claim",
        249,
        ("app.hurries", "process.stall"),
        "although it has expired",
        rewrites=(("outbox_engine.judge_messages", "when m.expires_at <= p_now then 'expired'\n", "\n"),),
    ),
    Mutation(
        "a refused request fails as a whole",
        1,
        ("answer.poisoned_number",),
        "to it alone",
        rewrites=(
            (
                "outbox_engine.decide_refusal",
                "p_dispatch.recipients = 1 and p_dispatch.split is distinct from 'shared'",
                "p_dispatch.recipients > 0",
            ),
        ),
    ),
    Mutation(
        "a refused text is not held",
        8,
        ("answer.poisoned_text",),
        "messages failed for the text",
        rewrites=(("outbox_engine.count_refusal", "v_counted.refusals >= 3", "v_counted.refusals >= 100"),),
    ),
    Mutation(
        "missing batches are not adopted",
        5,
        ("database.restored",),
        "times after a restore",
        rewrites=(("outbox_engine.judge_batches", "else b.verdict", "else 'other'"),),
    ),
    Mutation(
        "an unreadable number holds nothing",
        5,
        ("database.restored", "list.rewritten"),
        "times after a restore",
        rewrites=(
            (
                "outbox_engine.suspected_messages",
                "right(a.recipient, 8) in (right(o.recipient, 8), '')",
                "a.recipient = o.recipient",
            ),
        ),
    ),
    Mutation("move on timeout", 5, ("accounts.two", "request.unanswered"), TWICE, wire=_Resending),
    Mutation(
        "move without closing the former attempt",
        5,
        ("accounts.two", "answer.throttled"),
        "open attempts",
        rewrites=(("outbox_engine.close_refused", "state = 'refused', ", ""),),
    ),
    Mutation(
        "move when nothing was heard for some time",
        5,
        ("accounts.two", "provider.without_list", "request.unanswered"),
        "had accepted it as",
        rewrites=(
            ("outbox_engine.give_up_old_lookups", "p_now - v_provider.gives_up_after", "p_now - interval '5 minutes'"),
            (
                "outbox_engine.give_up_old_lookups",
                "'unknown', outbox_engine.given_up_error",
                "'requeued', outbox_engine.given_up_error",
            ),
        ),
    ),
    Mutation(
        "move on code 1330",
        55,
        ("accounts.two", "report.doubted"),
        "accepted it, and said only",
        rows=(
            (
                "insert into outbox_engine.move_proofs values ('vonage', 'unknown', 1330, 'stopped')",
                "delete from outbox_engine.move_proofs where provider = 'vonage' and code = 1330",
            ),
        ),
    ),
    Mutation(
        "move of what was handed on",
        5,
        ("accounts.two", "report.stopped"),
        "had handed it on",
        rewrites=(("outbox_engine.has_report_against_move", "outbox_engine.says_handed_on(e.status)", "false"),),
    ),
    Mutation(
        "every route moves what a network refused",
        5,
        ("accounts.two", "operator.routes", "operator.trusts", "report.failed"),
        "its route does not move that",
        rewrites=(("outbox_engine.may_move", "outbox_engine.is_after_network_failure(v_route)", "true"),),
    ),
    Mutation(
        "a refused message does not move",
        29,
        ("accounts.two", "answer.poisoned_number"),
        "was asked",
        rewrites=(("outbox_engine.move_or_fail", "if outbox_engine.may_have_other_plans()", "if false"),),
    ),
    Mutation(
        "an account that stands by takes its turn",
        3,
        ("accounts.two",),
        "although it stands by",
        rewrites=(("outbox_engine.shares_of", "where x.share > 0 or", "where true or"),),
    ),
    Mutation(
        "weight is ignored",
        124,
        ("accounts.two", "operator.routes"),
        "although its share is",
        rewrites=(("outbox_engine.most_by_weight", "if p_share >= 1 then", "if true then"),),
    ),
)


def named(name: str) -> Mutation:
    """The mutation of that name."""
    return next(mutation for mutation in MUTATIONS if mutation.name == name)
