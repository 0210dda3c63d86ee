"""The webhook app: receives a provider's callbacks, commits them, and answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.gateway.recorder import Recorder
from jobs.providers.registry import callback_paths, callback_readers
from jobs.runtime.liveness import Inspection
from jobs.runtime.settings import WebhookSettings
from jobs.runtime.sources import FAILURES, FailureLimit
from webhook import answers
from webhook.access import Access
from webhook.auth_hook import PATH as AUTH_HOOK
from webhook.auth_hook import AuthHook
from webhook.callbacks import CallbackEndpoint
from webhook.connections import peer_of
from webhook.health import Readiness, healthz
from webhook.intake import Intake
from webhook.rejections import Rejections
from webhook.schema_gate import SchemaGate

HEALTH: Final = "/healthz"
METRICS: Final = "/metrics"


class WebhookApp(Starlette):
    """Callbacks go straight to their endpoint, which lets no error past; Starlette answers whatever else is asked.

    On the way through middleware and routes a callback would cost a fifth more. ``problem`` answers `outbox health`.
    """

    def __init__(self, endpoints: Mapping[str, ASGIApp], *, problem: Inspection, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._endpoints = endpoints
        self.problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        endpoint = self._endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        if peer_of(scope).is_crowded and scope["path"] != HEALTH:
            await answers.OVERLOADED.send(send)
        elif endpoint is None:
            await super().__call__(scope, receive, send)
        else:
            await endpoint(scope, receive, send)


def create_app(
    settings: WebhookSettings,
    recorder: Recorder,
    gate: SchemaGate | None = None,
    *,
    workers: int = 1,
    metrics: ASGIApp | None = None,
) -> WebhookApp:
    """The ASGI app. The caller opens and closes ``recorder`` and watches ``gate``; one app lives in one event loop.

    One of several ``workers`` takes its part of each limit, so that together they admit no more than one process does.
    """
    access, limit = Access(settings), FailureLimit(failures=max(1, FAILURES // workers))
    intake, rejections = Intake(recorder, workers=workers), Rejections(recorder, workers=workers)

    readiness = Readiness(recorder, gate)
    routes = [
        Route(HEALTH, healthz, methods=["GET"]),
        Route("/readyz", readiness.readyz, methods=["GET"]),
    ]
    if metrics is not None:
        routes.append(Route(METRICS, metrics, methods=["GET"]))
    endpoints: dict[str, ASGIApp] = {}
    for name, reader in callback_readers(settings).items():
        endpoint = CallbackEndpoint(name, reader, access=access, intake=intake, limit=limit, rejections=rejections, gate=gate)
        # A slash too many in a setting far away must not lose what is pushed only once.
        for path in callback_paths(name):
            endpoints |= {path: endpoint, f"{path}/": endpoint}
    if settings.supabase_auth_hook_secrets:
        secrets = [secret.get_secret_value() for secret in settings.supabase_auth_hook_secrets]
        hook = AuthHook(secrets, recorder, gate)
        endpoints |= {AUTH_HOOK: hook, f"{AUTH_HOOK}/": hook}
    routes += [Route(path, endpoint, methods=["POST"]) for path, endpoint in endpoints.items()]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await rejections.aclose()
        await intake.aclose()

    app = WebhookApp(endpoints, problem=readiness.problem, routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False
    return app
