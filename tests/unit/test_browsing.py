"""The filters of the dashboard as the database takes them."""

from datetime import UTC, datetime

from jobs.gateway.browsing.bulk import BulkOptions
from jobs.gateway.browsing.messages import MessageFilter


def test_filter_leaves_out_what_is_empty() -> None:
    assert MessageFilter().as_json() == {}


def test_filter_survives_the_database() -> None:
    wanted = MessageFilter(
        recipients=("+14155550123",), codes=(0, 402), priority=0, since=datetime(2027, 1, 1, tzinfo=UTC), metadata={"order": 7}
    )
    assert MessageFilter.parse(wanted.as_json()) == wanted


def test_options_survive_the_database() -> None:
    options = BulkOptions(force=True, send_at=datetime(2027, 1, 1, tzinfo=UTC))
    assert BulkOptions.parse(options.as_json()) == options
