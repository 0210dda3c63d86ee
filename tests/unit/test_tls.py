"""Certificate authorities are read once for a process, because that is slow."""

from unittest import mock

import httpx

from jobs.providers import registry
from jobs.runtime import tls
from jobs.runtime.accounts import SinchSettings
from jobs.runtime.clocks import Clocks
from jobs.runtime.settings import EngineSettings, SupabaseSettings
from jobs.schema import releases
from scheduler.engine import build_engine


async def test_all_clients_share_the_certificate_authorities() -> None:
    supabase = SupabaseSettings(_env_file=None, supabase_url="http://supabase.test", supabase_secret_key="sb_secret_key")
    sinch = SinchSettings(
        _env_file=None, sinch_service_plan_id="plan", sinch_api_token="token", sinch_base_url="https://sinch.test"
    )
    tls.trust.cache_clear()

    with mock.patch("httpx.create_ssl_context", wraps=httpx.create_ssl_context) as read:
        for _ in range(2):
            engine = await build_engine(supabase, {None: sinch}, EngineSettings(_env_file=None), known=releases.packaged())
            await engine.aclose()
            await registry.account(sinch).build(Clocks()).aclose()

    # Supabase's may be those of the environment.
    assert [call.kwargs for call in read.call_args_list] == [{"trust_env": True}, {"trust_env": False}]
