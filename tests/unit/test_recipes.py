"""The files under deploy/ fit their schemas, our command line, our settings and each other."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from dashboard.commands import PORT as DASHBOARD_PORT
from jobs.runtime import settings
from tests.command_lines import refusal
from tests.image import context, instructions

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
OF_PYTHON = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PATH"}
FLY = tomllib.loads((DEPLOY / "fly.toml").read_text(encoding="utf-8"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
STOP_SECONDS = 10
"""A process ends itself this long after SIGTERM, so a platform must wait longer."""


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def manifests(folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / folder).glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def containers(folder: str) -> Iterator[dict[str, Any]]:
    for one in manifests(folder):
        yield from one.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])


def services() -> dict[str, Any]:
    return {name: one for name, one in loaded("compose.yaml")["services"].items() if "supabase-outbox" in one["image"]}


def railway(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / f"railway.{name}.json").read_text(encoding="utf-8"))["deploy"]
    return found


def unit(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Where each is, and the words after `outbox`."""
    (*_, image) = instructions.read(DEPLOY / "Dockerfile")
    yield "Dockerfile", list(image.command)
    yield "Dockerfile", list(image.health[1:])
    for name, service in services().items():
        yield f"compose.yaml {name}", service["command"]
    for folder in ("kubernetes", "cloudrun"):
        for container in containers(folder):
            yield folder, container["args"]
            probe = container.get("livenessProbe", {}).get("exec", {}).get("command")
            if probe:
                yield folder, probe[1:]
    for text in FLY["processes"].values():
        yield "fly.toml", text.split()
    told = [unit(path)["ExecStart"][0] for path in UNITS]
    told += [service["dockerCommand"] for service in loaded("render.yaml")["services"]]
    told += [railway(name)["startCommand"] for name in ("scheduler", "webhook")]
    for text in told:
        program, *words = text.split()
        assert program.rpartition("/")[2] == "outbox"
        yield text, words


def named_settings() -> Iterator[tuple[str, str]]:
    (*_, image) = instructions.read(DEPLOY / "Dockerfile")
    yield from (("Dockerfile", name) for name in image.env)
    for file in ("compose.yaml", "compose.selfhosted.yaml"):
        for service in loaded(file)["services"].values():
            yield from ((file, name) for name in service.get("environment", {}))
    for folder in ("kubernetes", "cloudrun"):
        for container in containers(folder):
            yield from ((folder, one["name"]) for one in container["env"])
    yield from (("kubernetes", name) for one in manifests("kubernetes") for name in one.get("data", {}))
    yield from (("fly.toml", name) for name in FLY["env"])
    for service in [*loaded("render.yaml")["services"], *loaded("render.yaml")["envVarGroups"]]:
        yield from (("render.yaml", one["key"]) for one in service["envVars"] if "key" in one)
    for path in UNITS:
        for line in unit(path)["Environment"]:
            yield from ((path.name, pair.partition("=")[0]) for pair in line.split())
    for path in [DEPLOY / "env.example"]:
        yield from ((path.name, name) for name in re.findall(r"^(?:# )?([A-Z_]+)=", path.read_text(encoding="utf-8"), re.M))


def test_command_line_accepts_every_command() -> None:
    complaints = [f"{where}: {refused}" for where, words in command_lines() if (refused := refusal([str(w) for w in words]))]

    assert complaints == []


def test_every_setting_is_known() -> None:
    found = list(named_settings())

    assert [(where, name) for where, name in found if name not in settings.names() | OF_PYTHON] == []
    assert {where for where, _ in found} >= {"Dockerfile", "compose.yaml", "kubernetes", "cloudrun", "fly.toml", "render.yaml"}


def test_all_name_this_version() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in DEPLOY.rglob("*") if path.is_file()}
    versions = {found for text in texts.values() for found in re.findall(r"supabase-outbox:([\w.]+)", text)}
    (*_, image) = instructions.read(DEPLOY / "Dockerfile")

    assert versions == {VERSION}
    assert image.labels["org.opencontainers.image.version"] == VERSION


def test_ports_of_callers_and_processes_agree() -> None:
    compose, metrics = services(), str(services()["scheduler"]["environment"]["METRICS_PORT"])
    port = compose["webhook"]["environment"]["PORT"]
    (*_, image) = instructions.read(DEPLOY / "Dockerfile")
    kubernetes = {one["ports"][0]["name"]: str(one["ports"][0]["containerPort"]) for one in containers("kubernetes")}
    (scraped,) = loaded("monitoring/prometheus.yaml")["scrape_configs"][0]["static_configs"]

    assert compose["webhook"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert image.ports == (int(port), DASHBOARD_PORT)
    assert compose["dashboard"]["ports"] == [f"127.0.0.1:{DASHBOARD_PORT}:{DASHBOARD_PORT}"]
    assert compose["dashboard"]["command"][-1] == str(DASHBOARD_PORT)
    assert kubernetes == {"http": port, "metrics": metrics}
    assert (FLY["env"]["PORT"], FLY["http_service"]["internal_port"]) == (port, int(port))
    assert (FLY["env"]["METRICS_PORT"], FLY["metrics"][0]["port"]) == (metrics, int(metrics))
    assert scraped["targets"] == [f"scheduler:{metrics}", f"webhook:{port}"]


def test_platforms_wait_until_processes_have_ended() -> None:
    deployments = [one for one in manifests("kubernetes") if one["kind"] == "Deployment"]
    waits = [
        *(int(service["stop_grace_period"].removesuffix("s")) for service in services().values()),
        *(one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for one in deployments),
        *(int(unit(path)["TimeoutStopSec"][0]) for path in UNITS),
        *(service["maxShutdownDelaySeconds"] for service in loaded("render.yaml")["services"]),
        *(railway(name)["drainingSeconds"] for name in ("scheduler", "webhook")),
        FLY["kill_timeout"],
    ]

    assert len(waits) == 13
    assert min(waits) > STOP_SECONDS


def test_image_runs_as_a_plain_user() -> None:
    builder, image = instructions.read(DEPLOY / "Dockerfile")

    assert image.user == "65532:65532"
    assert image.stop_signal == "SIGTERM"
    assert image.entrypoint == ("outbox",)
    assert [type(step.does).__name__ for step in image.steps] == ["Copy"]
    assert {builder.base, image.base} == {"python:3.13-slim-trixie"}
    for one in containers("kubernetes"):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True


def test_context_holds_no_secret() -> None:
    ignored = context.Ignored.read(ROOT / ".dockerignore")
    builder, _ = instructions.read(DEPLOY / "Dockerfile")
    sources = [source for step in builder.steps if isinstance(step.does, instructions.Copy) for source in step.does.sources]
    files = list(context.files())

    assert [source for source in sources if not any(f"{path}/".startswith(f"{source}/") for path in files)] == []
    for secret in (".env", "deploy/.env", "jobs/private.key", ".git/config", "supabase/.temp/pooler-url", "dist/a.whl"):
        assert not ignored.lets(secret)


def test_dockerfile_has_no_complaint_of_hadolint() -> None:
    assert checked("hadolint", DEPLOY / "Dockerfile") == (0, "")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.selfhosted.yaml"])
def test_compose_files_fit_the_specification(name: str) -> None:
    code, said = checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / name)

    assert code == 0, said


@pytest.mark.nightly
@pytest.mark.skipif(find_spec("kubernetes_validate") is None, reason="make nightly installs kubernetes-validate")
def test_manifests_fit_the_schemas_of_kubernetes() -> None:
    code, said = checked("kubernetes-validate", "--strict", *sorted((DEPLOY / "kubernetes").glob("*.yaml")))

    assert code == 0, said


@pytest.mark.skipif(which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_understands_every_line(path: Path, tmp_path: Path) -> None:
    here = tmp_path / path.name
    here.write_text(path.read_text(encoding="utf-8").replace("/opt/outbox/bin/outbox", "/bin/true"), encoding="utf-8")

    ran = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)

    assert [line for line in ran.stderr.splitlines() if path.name in line] == []


@pytest.mark.parametrize(
    "line",
    ["ADD a b", "RUN --mount=type=cache true", "CMD outbox run", "COPY *.py .", "HEALTHCHECK NONE", 'SHELL ["sh"]', "ENV A"],
)
def test_unknown_instruction_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(f"FROM base\n{line}\n")

    with pytest.raises(instructions.Unreadable, match="Dockerfile:2"):
        instructions.read(path)


def checked(program: str, *words: str | Path) -> tuple[int, str]:
    ran = subprocess.run(
        [Path(sys.executable).with_name(program), *words], capture_output=True, text=True, check=False, timeout=120
    )
    return ran.returncode, (ran.stdout + ran.stderr).strip() if ran.returncode else ""
