"""`outbox install --auth-hook` and the project's config.toml."""

import tomllib
from pathlib import Path

import pytest

from scheduler.cli import run_command_line
from tests.unit.install_project import Captured, answer, project

__all__ = ["project"]

SMS = "[auth.sms]\nenable_signup = true\n"
PROVIDER = '[auth.sms.twilio]\nenabled = true\naccount_sid = "unused"\nmessage_service_sid = "unused"\nauth_token = "unused"\n'
HOOK = '[auth.hook.send_sms]\nenabled = true\nuri = "pg-functions://postgres/public/outbox_send_sms"\n'
COMMENTED = '# [auth.hook.send_sms]\n# enabled = true\n# uri = "pg-functions://postgres/auth/send-sms-hook"\n'


def config(project: Path, text: str | None = None) -> bytes:
    """The file, after ``text`` was written to it."""
    path = project / "config.toml"
    if text is not None:
        path.write_bytes(text.encode())
    return path.read_bytes()


def test_sections_are_added_once(project: Path, capsys: Captured) -> None:
    before = config(project, f'project_id = "app"\n\n[auth.sms.twilio]\nenabled = false\n\n{COMMENTED}').decode()

    assert run_command_line(["install", "--yes", "--auth-hook"]) == 0
    after = config(project).decode()

    said = capsys.readouterr().out
    assert after.startswith(before)
    assert tomllib.loads(after)["auth"]["hook"]["send_sms"] == tomllib.loads(HOOK)["auth"]["hook"]["send_sms"]
    assert "In [auth.sms] of config.toml, set enable_signup = true." in said
    assert "In [auth.sms.twilio] of config.toml, set enabled = true and account_sid =" in said
    assert "30 SMS an hour" in said
    assert "GOTRUE_HOOK_SEND_SMS_URI" in said

    assert run_command_line(["install", "--yes", "--auth-hook"]) == 0
    assert config(project).decode() == after


def test_empty_project_gets_all_sections(project: Path, capsys: Captured) -> None:
    said = answer(capsys, "--yes", "--auth-hook")["auth_hook"]

    assert (said["missing"], said["written"], said["by_hand"]) == (
        ["auth.sms", "auth.hook.send_sms", "auth.sms.twilio"],
        True,
        [],
    )
    assert tomllib.loads(config(project).decode()) == {"project_id": "app"} | tomllib.loads(SMS + HOOK + PROVIDER)
    assert answer(capsys, "--check", "--auth-hook")["auth_hook"]["missing"] == []


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ("[auth.sms]\nenabled = false\n", "enabled"),
        ("[auth.sms]\nenabled = false\nenable_signup = true\n", "enabled"),
        ("[auth.sms]\nenable_signup = false\n[auth.email]\nenabled = true\n", "enable_signup"),
    ],
)
def test_phone_is_on_in_the_clis_words(project: Path, capsys: Captured, before: str, wanted: str) -> None:
    """From version 3 of the CLI on, ``enabled`` wins over ``enable_signup``, which older ones need."""
    config(project, f"{before}{PROVIDER}{HOOK}")

    said = answer(capsys, "--yes", "--auth-hook")["auth_hook"]

    assert said["by_hand"] == [f"In [auth.sms] of config.toml, set {wanted} = true."]


def test_new_section_uses_the_clis_word(project: Path, capsys: Captured) -> None:
    config(project, "[auth.email]\nenabled = true\n")

    answer(capsys, "--yes", "--auth-hook")

    assert tomllib.loads(config(project).decode())["auth"]["sms"]["enabled"] is True


@pytest.mark.parametrize("provider", ["twilio", "twilio_verify", "vonage"])
def test_provider_that_is_on_is_enough(project: Path, capsys: Captured, provider: str) -> None:
    """Without one, the Supabase CLI says "no SMS provider is enabled" and turns sign-in by phone off."""
    config(project, f"{SMS}[auth.sms.{provider}]\nenabled = true\n{HOOK}")

    said = answer(capsys, "--yes", "--auth-hook")["auth_hook"]

    assert (said["missing"], said["by_hand"]) == ([], [])


@pytest.mark.parametrize("hook", ["enabled = false", 'enabled = true\nuri = "https://example.com/sms"', "uri = 7"])
def test_other_hook_is_left_alone(project: Path, capsys: Captured, hook: str) -> None:
    before = config(project, f"{SMS}{PROVIDER}[auth.hook.send_sms]\n{hook}\n")

    said = answer(capsys, "--yes", "--auth-hook")["auth_hook"]

    assert config(project) == before
    assert said["by_hand"] == [
        'In [auth.hook.send_sms] of config.toml, set enabled = true and uri = "pg-functions://postgres/public/outbox_send_sms".'
    ]
    assert answer(capsys, "--check", "--auth-hook", code=1)["auth_hook"]["by_hand"] == said["by_hand"]


@pytest.mark.parametrize(
    "text",
    ["auth = {enabled = true}\n", 'auth.hook = {}\nproject_id = "app"\n', "auth = 3\n", "[auth]\nhook = {}\nsms = {}\n"],
    ids=["inline", "dotted", "no table", "inline tables"],
)
def test_file_that_cannot_be_continued_is_left_alone(project: Path, capsys: Captured, text: str) -> None:
    before = config(project, text)

    said = answer(capsys, "--yes", "--auth-hook")["auth_hook"]

    assert config(project) == before
    assert any("[auth.hook.send_sms]" in line for line in said["by_hand"])


@pytest.mark.parametrize("text", ['\ufeffproject_id = "app"', 'project_id = "app"\r\n[db]\r\n', ""])
def test_bytes_of_the_file_are_kept(project: Path, text: str) -> None:
    before = config(project, text)

    assert run_command_line(["install", "--yes", "--auth-hook"]) == 0

    after = config(project)
    assert after.startswith(before)
    assert after.count(b"\r\n") in (0, after.count(b"\n"))
    assert tomllib.loads(after.decode("utf-8-sig"))["auth"]["sms"] == tomllib.loads(SMS + PROVIDER)["auth"]["sms"]


def test_trial_and_check_write_nothing(project: Path, capsys: Captured) -> None:
    before = config(project)

    assert answer(capsys, "--dry-run", "--auth-hook")["auth_hook"]["written"] is False
    assert answer(capsys, "--check", "--auth-hook", code=1)["auth_hook"]["written"] is False
    assert config(project) == before


def test_install_mentions_the_hook_in_one_line(project: Path, capsys: Captured) -> None:
    run_command_line(["install", "--yes"])

    lines = [line for line in capsys.readouterr().out.splitlines() if "--auth-hook" in line]
    assert len(lines) == 1
    assert len(lines[0]) <= 80
    assert b"send_sms" not in config(project)
