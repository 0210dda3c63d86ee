"""The webhook app: a provider's callbacks in, their truth committed, an answer out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from jobs.providers.registry import callback_readers
from jobs.recording import Recorder
from jobs.settings import WebhookSettings
from webhook.access import Access
from webhook.callbacks import CallbackEndpoint
from webhook.health import Readiness, healthz
from webhook.intake import Intake
from webhook.rejections import Rejections
from webhook.sources import FailureLimit


def create_app(settings: WebhookSettings, recorder: Recorder) -> Starlette:
    """The ASGI app. The caller opens and closes ``recorder``; one app lives in one event loop."""
    access, limit = Access(settings), FailureLimit()
    intake, rejections = Intake(recorder), Rejections(recorder)

    routes = [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", Readiness(recorder).readyz, methods=["GET"]),
    ]
    for name, reader in callback_readers(settings).items():
        endpoint = CallbackEndpoint(reader, access=access, intake=intake, limit=limit, rejections=rejections)
        # Both paths take every type, and a slash too many in a setting far away must not lose what is pushed only once.
        for path in (f"/webhooks/{name}/delivery", f"/webhooks/{name}/inbound"):
            routes += [Route(path, endpoint, methods=["POST"]), Route(f"{path}/", endpoint, methods=["POST"])]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await rejections.aclose()
        await intake.aclose()

    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app
