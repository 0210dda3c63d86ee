"""Signing in to the dashboard with an account of a running Supabase Auth, which here is that of Supabase Lite."""

import httpx
import pytest

from dashboard.roles import Person, Role
from dashboard.signing_in.supabase import SupabaseWay
from dashboard.signing_in.ways import NotAdmitted
from sandbox.local.stack import LocalStack
from tests.engine import supabase_settings
from tests.stack import Connection

GIVEN = {"email": "ada@example.com", "password": "correct horse 1"}
# Supabase Lite keeps the metadata as a JSON string, to which nothing can be added.
ROLE = "update auth.users set raw_app_meta_data = %s where email = %s"


async def test_account_signs_in_with_its_role(stack: LocalStack, db: Connection) -> None:
    async with httpx.AsyncClient(base_url=stack.url, headers={"apikey": stack.secret_key}, trust_env=False) as api:
        signed_up = await api.post("/auth/v1/signup", json=GIVEN, timeout=60)
    assert signed_up.status_code == 200, signed_up.text
    way = SupabaseWay(supabase_settings(stack), require_mfa=False)
    strict = SupabaseWay(supabase_settings(stack), require_mfa=True)
    try:
        with pytest.raises(NotAdmitted, match="app_metadata"):
            await way.admit(GIVEN)
        db.execute(ROLE.encode(), ['{"outbox": "operator"}', GIVEN["email"]])
        person = await way.admit(GIVEN)
        assert person == Person(GIVEN["email"], Role.OPERATOR, person.account)
        # Supabase Lite has no administration of users, which is no reason to end a session.
        assert await way.still_admitted(person) == person
        with pytest.raises(NotAdmitted, match="wrong"):
            await way.admit(GIVEN | {"password": "a guess"})
        with pytest.raises(NotAdmitted, match="second factor"):
            await strict.admit(GIVEN)
    finally:
        await way.aclose()
        await strict.aclose()
        db.execute("delete from auth.users where email = %s", [GIVEN["email"]])
