"""PostgreSQL refuses to run as root, so root runs it as an unprivileged user."""

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

from sandbox.local.errors import StackError

_USER = "nobody"


def needed() -> bool:
    return os.geteuid() == 0


def give_away(path: Path) -> None:
    """Make the unprivileged user the owner of a file or folder."""
    if needed():
        user = pwd.getpwnam(_USER)
        os.chown(path, user.pw_uid, user.pw_gid)


def unprivileged(command: Sequence[str | Path], *, reaches: Sequence[Path]) -> list[str]:
    """The command as the unprivileged user where we are root, able to get to the paths in ``reaches``.

    If the checkout is below a folder that other users may not enter (``/root``), the process is given
    the one capability that ignores it.
    """
    words = [str(word) for word in command]
    if not needed():
        return words
    setpriv = which("setpriv")
    if setpriv is None:
        raise StackError("PostgreSQL does not run as root and there is no setpriv: install util-linux, or use another user")
    user = pwd.getpwnam(_USER)
    as_user = [setpriv, "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    closed = next((folder for path in reaches for folder in _closed(path)), None)
    if closed is not None:
        # Without the securebit the capability would not count in access(2), by which initdb looks for its postgres.
        as_user += ["--securebits", "+no_setuid_fixup"]
        as_user += ["--inh-caps", "-all,+dac_override", "--ambient-caps", "-all,+dac_override"]
        _check(as_user, words[0], closed)
    return [*as_user, "--", *words]


def _closed(path: Path) -> list[Path]:
    return [folder for folder in path.resolve().parents if not folder.stat().st_mode & stat.S_IXOTH]


def _check(as_user: list[str], program: str, closed: Path) -> None:
    works = subprocess.run([*as_user, "--", program, "--version"], capture_output=True, check=False).returncode == 0
    if not works:
        raise StackError(
            f"PostgreSQL does not run as root, and user {_USER} may not enter {closed}: "
            f"run chmod o+x {closed}, choose a place outside with --data-dir, or use another user"
        )
