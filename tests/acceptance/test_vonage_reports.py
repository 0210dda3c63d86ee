"""The Vonage simulator over HTTP: the Reports API."""

from typing import Any
from uuid import uuid4

import pytest

from sandbox.simulator import control as faults
from sandbox.simulator.control import Control
from tests.acceptance.messages_api import ONE, SENDER, TWO, MessagesApi, sms
from tests.acceptance.xms import instant


@pytest.fixture
def reports(sim: Control, messages_api: MessagesApi) -> MessagesApi:
    sim.vonage.change(records_lag=0)
    return messages_api


def found(reports: MessagesApi, **query: Any) -> list[str]:
    answer = reports.records(**query)
    assert answer.status_code == 200, answer.text
    return [record["message_id"] for record in answer.json()["records"]]


def test_record_has_the_reference_and_only_strings(sim: Control, reports: MessagesApi) -> None:
    name = reports.send("12029991330", client_ref="dispatch-1")
    sim.settle()

    page = reports.records(date_start=instant(hours=-1), include_message="true").json()

    (record,) = page["records"]
    assert (page["request_status"], page["items_count"]) == ("SUCCESS", 1)
    assert (record["message_id"], record["client_ref"], record["message_body"]) == (name, "dispatch-1", "Hello")
    assert (record["status"], record["error_code"], record["provider"]) == ("rejected", "1330", "sms")
    assert {type(value) for value in record.values()} == {str}


@pytest.mark.parametrize(
    ("of_accepted", "expected"), [(True, [[], ["accepted"], ["delivered"]]), (False, [[], [], ["delivered"]])]
)
def test_records_follow_the_truth_after_their_lag(
    sim: Control, messages_api: MessagesApi, of_accepted: bool, expected: list[list[str]]
) -> None:
    sim.change(dispatch_delay=60, final_delay=60, vonage={"records_of_accepted": of_accepted})
    name = messages_api.send()
    seen = []

    for _ in range(3):
        seen.append([record["status"] for record in messages_api.records(id=name).json()["records"]])
        sim.advance(185)

    assert seen == expected


def test_at_most_twenty_ids_are_found_or_named(sim: Control, reports: MessagesApi) -> None:
    ids, unknown = [reports.send() for _ in range(2)], str(uuid4())

    page = reports.records(id=",".join([*ids, unknown])).json()

    assert [record["message_id"] for record in page["records"]] == ids
    assert page["ids_not_found"] == unknown
    assert reports.records(id=",".join([ids[0]] * 21)).status_code == 422
    assert reports.records(id=ids[0], status="delivered").json()["invalid_parameters"][0]["name"] == "status"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"to": ONE}, ["us"]),
        ({"from": SENDER}, ["us", "gb"]),
        ({"country": "GB"}, ["gb"]),
        ({"provider": "mms"}, []),
        ({"status": "accepted"}, []),
        ({"status": "delivered", "to": TWO}, []),
        ({"date_start": instant(hours=-2), "date_end": instant(hours=-1)}, []),
    ],
)
def test_filters_narrow_a_window(sim: Control, reports: MessagesApi, query: dict[str, str], expected: list[str]) -> None:
    names = {reports.send(): "us", reports.send("447700900123"): "gb"}
    sim.settle()

    assert [names[name] for name in found(reports, **query)] == expected


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"date_start": instant(hours=-25), "date_end": instant(hours=-0.5)}, 422),
        ({"date_start": "yesterday"}, 422),
        ({"product": "SMS"}, 422),
        ({"direction": "sideways"}, 422),
        ({"account_id": "somebody"}, 403),
        ({"cursor": "x"}, 422),
    ],
)
def test_queries_beyond_the_limits_are_refused(reports: MessagesApi, query: dict[str, str], status: int) -> None:
    assert reports.records(**query).status_code == status


def test_reports_take_key_and_secret_alone(reports: MessagesApi) -> None:
    bearer = reports.post(sms()).request.headers["authorization"]

    answer = reports.http.get("/v2/reports/records", headers={"Authorization": bearer})

    assert answer.status_code == 401


def test_pages_are_linked_until_the_last(sim: Control, reports: MessagesApi) -> None:
    ids = [reports.send() for _ in range(5)]
    sim.vonage.change(records_page=2)
    start, seen, sizes = instant(minutes=-5), list[str](), list[int]()

    page = reports.records(date_start=start).json()
    reports.send()
    while True:
        seen += [record["message_id"] for record in page["records"]]
        sizes.append(page["items_count"])
        if "next" not in page["_links"]:
            break
        assert page["cursor"] in page["_links"]["next"]["href"]
        page = reports.records(date_start=start, cursor=page["cursor"], iv=page["iv"]).json()

    assert (seen, sizes) == (ids, [2, 2, 1])


def test_next_link_can_be_followed_as_it_is(sim: Control, reports: MessagesApi) -> None:
    ids = [reports.send() for _ in range(2)]
    sim.vonage.change(records_page=1)

    following = reports.records(date_start=instant(minutes=-5)).json()["_links"]["next"]["href"]

    answer = reports.http.get(following, auth=reports.account)
    assert [record["message_id"] for record in answer.json()["records"]] == ids[1:]


def test_eleventh_request_of_a_second_is_throttled(sim: Control, reports: MessagesApi) -> None:
    sim.vonage.change(records_per_second=1)

    answers = [reports.records().status_code for _ in range(3)]
    sim.advance(1)

    assert answers == [200, 429, 429]
    assert reports.records().status_code == 200


def test_each_record_is_charged(sim: Control, reports: MessagesApi) -> None:
    for _ in range(3):
        reports.send()
    sim.advance(1)  # a window ends before the current millisecond
    reports.records(date_start=instant(hours=-1))
    reports.records(id=str(uuid4()))

    (account,) = sim.vonage.accounts()
    assert (account.report_requests, account.report_records, account.price) == (2, 3, "0.0012")


def test_records_may_lack_references_or_be_unreadable(sim: Control, reports: MessagesApi) -> None:
    reports.send(client_ref="dispatch-1")
    sim.add(faults.list_without_references(on="records"), faults.list_with_an_unreadable_item(on="records"))

    first, second = reports.records(), reports.records()

    assert "client_ref" not in first.json()["records"][0]
    with pytest.raises(ValueError, match=r"Expecting value"):
        second.json()


def test_inbound_records_are_a_direction_of_their_own(sim: Control, reports: MessagesApi) -> None:
    inbound = sim.vonage.text_in(sender=ONE, to=SENDER, text="hi")
    reports.send()

    assert found(reports, direction="inbound", **{"from": ONE}) == [inbound.message_uuid]
    assert found(reports, direction="inbound", id=inbound.message_uuid) == [inbound.message_uuid]
