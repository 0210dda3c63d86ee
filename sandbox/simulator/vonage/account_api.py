"""What an account may ask about itself: its applications (``/v2/applications/{id}``) and its numbers (``/account/numbers``)."""

from typing import Any, Final

from sandbox.simulator.http import Answer, Call, json_answer
from sandbox.simulator.vonage.problems import Problem, unauthorized
from sandbox.simulator.vonage.provider import Client, Vonage

APPLICATIONS: Final = "/v2/applications/"
NUMBERS: Final = "/account/numbers"


def application(vonage: Vonage, client: Client, call: Call) -> Answer:
    """One application of the account: its public key and the URLs of its webhooks."""
    if not client.basic:
        raise unauthorized()
    found = vonage.applications.get(call.parts[0])
    if found is None or found.api_key != client.settings.api_key:
        raise Problem(404, "Resource not found", "The resource could not be found")
    urls: dict[str, Any] = {
        name: {"address": address, "http_method": "POST"}
        for name, address in (("status_url", found.status_url), ("inbound_url", found.inbound_url or found.status_url))
        if address
    }
    messages = {"webhooks": urls, "version": "v1", "authenticate_inbound_media": False}
    return json_answer(
        200, {"id": found.id, "keys": {"public_key": found.public_key or ""}, "capabilities": {"messages": messages}}
    )


def numbers(vonage: Vonage, client: Client, call: Call) -> Answer:  # noqa: ARG001  # as every handler
    """The rented numbers that hold the pattern. An account here rents every number that it asks for."""
    if not client.basic:
        raise unauthorized()
    pattern = call.query().get("pattern", "")
    found = [{"country": "US", "msisdn": pattern, "type": "mobile-lvn", "features": ["SMS"]}] if pattern else []
    return json_answer(200, {"count": len(found), "numbers": found} if found else {})
