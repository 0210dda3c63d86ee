"""A clean root for an image: Debian from its packages, and the steps of the Dockerfile done in it.

Where no image can be built, this does what a builder does. It needs the user root, `mmdebstrap` and `unshare`. Debian's own
Python of the same version stands in for that of the base image.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.image import context
from tests.image.instructions import Copy, Run, Stage, Step

BASE: Final = "python:3.13-slim-trixie"
_SUITE: Final = "trixie"
_PACKAGES: Final = "python3,python3-venv,ca-certificates"
_TOOLS: Final = ("mmdebstrap", "unshare", "nsenter", "chroot", "tar", "mount")
_OF_THE_MACHINE: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""What a builder has of its machine too: names, certificates, and where packages come from."""
_ENTER: Final = """
set -e
root=$1 mode=$2 user=$3 folder=$4
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
if [ "$mode" = build ]; then
    while [ "$1" != -- ]; do
        mount --bind "$1" "$root$2"
        shift 2
    done
else
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mount -o remount,bind,ro "$root"
fi
[ "$1" != -- ] || shift
exec chroot --userspec="$user" "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""
"""In namespaces of its own, so that every mount goes with the process. As in a container, the command is process 1."""


class Failed(Exception):
    """A step did not end well. The text has the end of what it said."""


def missing() -> str | None:
    """Why no clean root can be made on this machine."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a clean root needs the user root"
    lacking = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"a clean root needs {', '.join(lacking)}" if lacking else None


def make_base(archive: Path) -> None:
    """Debian with Python, from the packages of its mirror."""
    _run(["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "--quiet", _SUITE, str(archive)])


def build(stages: Sequence[Stage], base: Path, folder: Path) -> Path:
    """Do all steps, and return the root of the last stage."""
    roots: dict[str | None, Path] = {}
    for number, stage in enumerate(stages):
        if stage.base != BASE:
            raise Failed(f"FROM {stage.base}: only {BASE} has a stand-in")
        root = folder / f"stage{number}"
        root.mkdir()
        _run(["tar", "--extract", "--file", str(base), "--directory", str(root)])
        for step in stage.steps:
            _do(step, root, roots)
        roots[stage.name] = root
        (root / stage.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return roots[stages[-1].name]


def _do(step: Step, root: Path, roots: Mapping[str | None, Path]) -> None:
    inside = root / step.folder.lstrip("/")
    inside.mkdir(parents=True, exist_ok=True)
    match step.does:
        case Run(command):
            given = _of_the_machine(root)
            words = ["/bin/sh", "-c", command]
            own = {**step.env, "HOME": "/tmp", "PIP_CONFIG_FILE": "/run/pip.conf", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
            _run(entered(root, "build", "0:0", step.folder, [*given, "--", *words]), env=own)
        case Copy(sources, target, None):
            copied = list(context.files())
            for source in sources:
                _copy_in(copied, source, inside, target, several=len(sources) > 1)
        case Copy(sources, target, stage):
            for source in sources:
                _run(["cp", "--archive", f"{roots[stage]}{source}", f"{root}{target}"])


def _copy_in(files: Sequence[str], source: str, inside: Path, target: str, *, several: bool) -> None:
    within = [path for path in files if path == source or path.startswith(f"{source}/")]
    if not within:
        raise Failed(f"COPY {source}: .dockerignore leaves it out, or it is not there")
    for path in within:
        place = inside / target
        if path != source:
            place /= path.removeprefix(f"{source}/")
        elif target.endswith("/") or several:
            place /= Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(context.ROOT / path, place)


def _of_the_machine(root: Path) -> list[str]:
    """Pairs of a file of this machine and its place in the root."""
    pairs = [(Path(path), path) for path in _OF_THE_MACHINE]
    pairs.append((Path.home() / ".config" / "pip" / "pip.conf", "/run/pip.conf"))
    given: list[str] = []
    for source, place in pairs:
        if source.is_file():
            mounted = root / place.lstrip("/")
            mounted.parent.mkdir(parents=True, exist_ok=True)
            mounted.touch()
            given += [str(source.resolve()), place]
    return given


def entered(root: Path, mode: str, user: str, folder: str, words: Sequence[str]) -> list[str]:
    """The command that runs these words in the root. ``mode`` is ``build``, or ``run``: then the root is read-only."""
    unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    return [*unshare, "/bin/sh", "-c", _ENTER, "enter", str(root), mode, user, folder, *words]


@dataclass(slots=True)
class Container:
    """A process of the image. ``process`` is the parent of its process 1."""

    process: "subprocess.Popen[bytes]"
    stage: Stage
    env: dict[str, str]
    log: Path

    @classmethod
    def start(cls, root: Path, stage: Stage, words: Sequence[str], settings: Mapping[str, str], log: Path) -> "Container":
        env = {**stage.env, **settings}
        command = entered(root, "run", stage.user, stage.folder, ["--", *stage.entrypoint, *(words or stage.command)])
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return cls(process, stage, env, log)

    @property
    def first(self) -> int:
        """Process 1 of the container, by its number on this machine."""
        (pid,) = children(self.process.pid)
        return pid

    def execute(self, *words: str, user: str | None = None) -> "subprocess.CompletedProcess[str]":
        """What `docker exec` runs."""
        uid, _, gid = (user or self.stage.user).partition(":")
        ids = ["--setuid", uid, "--setgid", gid or uid]
        command = ["nsenter", "--target", str(self.first), "--mount", "--pid", "--root", "--wd", *ids, "--", *words]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, timeout=60)

    def end(self) -> None:
        """Kill what still runs."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    ran = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode:
        shown = command[-1] if "enter" in command else " ".join(command)
        raise Failed(f"{shown}: exit code {ran.returncode}\n{(ran.stdout + ran.stderr)[-3000:]}")
