"""The dispatch job wakes the jobs that a claim names, but not at every claim."""

from jobs.dispatching.other_jobs import AGAIN_SECONDS, OtherJobs


def test_named_jobs_are_woken_once_in_a_while() -> None:
    woken: list[str] = []
    others = OtherJobs(again_after={"recover": 1.0})
    others.wake_with(woken.append)

    others.due(("recover", "campaigns"), now=0.0)
    assert woken == ["recover", "campaigns"]
    others.due(("recover", "campaigns"), now=0.9)
    assert len(woken) == 2
    others.due(("recover", "campaigns"), now=1.0)
    assert woken[2:] == ["recover"]
    others.due(("campaigns",), now=AGAIN_SECONDS)
    assert woken[3:] == ["campaigns"]


def test_job_is_woken_once_a_wake_is_set() -> None:
    woken: list[str] = []
    others = OtherJobs(again_after={})

    others.due(("upkeep",), now=0.0)
    others.wake_with(woken.append)
    others.due(("upkeep",), now=AGAIN_SECONDS)

    assert woken == ["upkeep"]


def test_plan_wakes_its_own_jobs() -> None:
    woken: list[str] = []
    others = OtherJobs(again_after={"recover": 1.0}, names={"recover": "recover vonage"})
    others.wake_with(woken.append)

    others.due(("recover", "campaigns"), now=0.0)
    others.due(("recover", "campaigns"), now=1.0)

    assert woken == ["recover vonage", "campaigns", "recover vonage"]
