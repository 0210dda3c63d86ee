"""The cost of a campaign: the messages of all members, by country."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from jobs.gateway.campaigning import Campaigning, Counted, NonGsmCharacter

_CHARACTERS_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Total:
    """The whole campaign, before caps and budgets; of a cron campaign, one occurrence of each member.

    ``warnings`` say which characters make texts take more than twice the parts, and which zones may be a mistake.
    ``process_countries`` are the allowed countries of the running processes. An ended campaign has no messages.
    """

    status: str
    schedule: str
    members: int
    countries: tuple[Counted, ...]
    problems: tuple[Counted, ...]
    warnings: tuple[str, ...] = ()
    process_countries: tuple[tuple[str, ...] | None, ...] = ()

    @property
    def messages(self) -> int:
        return sum(country.messages for country in self.countries)

    @property
    def parts(self) -> int:
        return sum(country.parts for country in self.countries)


async def count(
    campaigns: Campaigning,
    name: str,
    *,
    progress: Callable[[int], None] = lambda _: None,
    seconds: float | None = None,
) -> Total:
    """Add up the messages of all members. After each stretch, ``progress`` is called with the members counted so far.

    After ``seconds`` no further stretch begins: then ``members`` are fewer than the campaign has.
    """
    began = monotonic()
    members = 0
    status = schedule = ""
    messages: Counter[str | None] = Counter()
    parts: Counter[str | None] = Counter()
    problems: Counter[str | None] = Counter()
    warnings: list[str] = []
    characters: dict[str, NonGsmCharacter] = {}
    zones: Counter[tuple[str, str]] = Counter()
    process_countries: tuple[tuple[str, ...] | None, ...] = ()
    async for costs in campaigns.costs(name):
        members += costs.members
        status, schedule, process_countries = costs.status, costs.schedule, costs.process_countries
        messages.update({country.name: country.messages for country in costs.countries})
        parts.update({country.name: country.parts for country in costs.countries})
        problems.update({problem.name: problem.messages for problem in costs.problems})
        warnings = [] if costs.warning is None else [f"template {costs.template!r}: {costs.warning}"]
        for one in costs.beyond_gsm7:
            known = characters.get(one.character)
            characters[one.character] = one if known is None else replace(known, messages=known.messages + one.messages)
        zones.update({(zone.zone, zone.place): zone.members for zone in costs.abbreviated_zones})
        progress(members)
        if seconds is not None and monotonic() - began >= seconds:
            break
    return Total(
        status=status,
        schedule=schedule,
        members=members,
        countries=tuple(Counted(country, messages[country], amount) for country, amount in parts.most_common()),
        problems=tuple(Counted(problem, amount) for problem, amount in problems.most_common()),
        warnings=(*warnings, *_characters_in_words(characters.values()), *_zones_in_words(zones)),
        process_countries=process_countries,
    )


def _characters_in_words(characters: Iterable[NonGsmCharacter]) -> Iterator[str]:
    by_messages = sorted(characters, key=lambda one: -one.messages)
    for one in by_messages[:_CHARACTERS_NAMED]:
        texts = "1 text" if one.messages == 1 else f"{one.messages:,} texts"
        hint = "; plain = true replaces look-alikes" if one.replaceable else ""
        yield (
            f"{one.character!r} is not in GSM-7, so in {texts}, such as member {one.external_id!r} gets,"
            f" a part holds 70 characters instead of 160{hint}"
        )
    if by_messages[_CHARACTERS_NAMED:]:
        more = sum(one.messages for one in by_messages[_CHARACTERS_NAMED:])
        yield f"{len(by_messages) - _CHARACTERS_NAMED:,} other characters are not in GSM-7 either, in {more:,} texts"


def _zones_in_words(zones: Counter[tuple[str, str]]) -> Iterator[str]:
    for (zone, place), members in sorted(zones.items()):
        who = "1 member is" if members == 1 else f"{members:,} members are"
        yield f"{who} in {zone}, which has no summer time; {place} has"
