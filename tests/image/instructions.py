"""What `deploy/Dockerfile` says, read strictly: an instruction or a form that is not known here is refused."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from dockerfile_parse import DockerfileParser

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TEXTS = {"WORKDIR": "folder", "USER": "user", "STOPSIGNAL": "stop_signal"}
_FLAGS_OF_HEALTHCHECK = {"--interval", "--timeout", "--start-period", "--retries"}


class Unreadable(Exception):
    """The file has something that this reader does not know. The text names the line."""


@dataclass(frozen=True, slots=True)
class Run:
    command: str


@dataclass(frozen=True, slots=True)
class Copy:
    """``stage`` is the name of another stage; None copies from the folder that the image is built from."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction that changes files, and the folder and the environment that it has."""

    does: Run | Copy
    folder: str
    env: dict[str, str]


@dataclass(slots=True)
class Stage:
    base: str
    name: str | None
    steps: list[Step] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    labels: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    stop_signal: str = "SIGTERM"
    ports: tuple[int, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


def read(path: Path) -> list[Stage]:
    """The stages in order; the last one is the image."""
    with path.open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    stages: list[Stage] = []
    for one in structure:
        where, name, value = f"{path.name}:{one['startline'] + 1}", one["instruction"], " ".join(one["value"].split())
        if name == "COMMENT":
            continue
        if name == "FROM":
            stages.append(_stage(where, value.split()))
        elif not stages:
            raise Unreadable(f"{where}: {name} before FROM")
        else:
            _apply(where, name, value, stages[-1])
    return stages


def _stage(where: str, words: Sequence[str]) -> Stage:
    match words:
        case [base]:
            return Stage(base, None)
        case [base, "AS", name]:
            return Stage(base, name)
    raise Unreadable(f"{where}: FROM {' '.join(words)}")


def _apply(where: str, name: str, value: str, stage: Stage) -> None:
    if name in _TEXTS:
        setattr(stage, _TEXTS[name], value)
        return
    match name:
        case "RUN" if not value.startswith(("[", "--", "<<")):
            stage.steps.append(Step(Run(value), stage.folder, dict(stage.env)))
        case "COPY":
            stage.steps.append(Step(_copy(where, value.split()), stage.folder, dict(stage.env)))
        case "ENV":
            known = dict(stage.env)
            stage.env |= {key: Template(text).substitute(known) for key, text in _pairs(where, value).items()}
        case "LABEL":
            stage.labels |= _pairs(where, value)
        case "EXPOSE":
            stage.ports = tuple(int(port) for port in value.split())
        case "ENTRYPOINT" | "CMD":
            setattr(stage, {"ENTRYPOINT": "entrypoint", "CMD": "command"}[name], _words(where, value))
        case "HEALTHCHECK":
            stage.health = _health(where, value)
        case _:
            raise Unreadable(f"{where}: {name} {value} is not known")


def _copy(where: str, words: list[str]) -> Copy:
    stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
    if len(words) < 2 or any(word.startswith(("-", "[")) or "*" in word for word in words):
        raise Unreadable(f"{where}: COPY {' '.join(words)}")
    return Copy(tuple(words[:-1]), words[-1], stage)


def _pairs(where: str, value: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in shlex.split(value)]
    if not all(sign for _, sign, _ in pairs):
        raise Unreadable(f"{where}: not of the form NAME=value")
    return {key: text for key, _, text in pairs}


def _words(where: str, value: str) -> tuple[str, ...]:
    """The exec form alone: a shell would keep signals from the process."""
    try:
        words: Any = json.loads(value)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise Unreadable(f"{where}: {value} is not a list of words")
    return tuple(words)


def _health(where: str, value: str) -> tuple[str, ...]:
    options, found, command = value.partition("CMD ")
    if not found or not {option.partition("=")[0] for option in options.split()} <= _FLAGS_OF_HEALTHCHECK:
        raise Unreadable(f"{where}: HEALTHCHECK {value}")
    return _words(where, command)
