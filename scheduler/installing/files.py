"""Writes several files, all or none."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_UNFINISHED: Final = ".unfinished"


def write_all(new: Mapping[Path, str], *, replaced: Mapping[Path, str] | None = None) -> None:
    """Write ``new`` files, which must not exist, and at most one ``replaced`` file, which may. Lines end in LF.

    Raises OSError, FileExistsError among them; then every file and folder is as it was.
    """
    replaced = replaced or {}
    unfinished: list[Path] = []
    written: list[Path] = []
    folders: list[Path] = []
    try:
        for path, text in {**new, **replaced}.items():
            folders += _make_folders(path.parent)
            # Appended before it is written, so that half a file is cleaned up as well.
            unfinished.append(_unfinished(path))
            unfinished[-1].write_text(text, encoding="utf-8", newline="\n")
        for path in new:
            # On POSIX a rename would overwrite.
            if path.exists():
                raise FileExistsError(f"{path} is there already")
            _unfinished(path).rename(path)
            written.append(path)
        # Last, because the file that it replaces would be lost if a later step failed.
        for path in replaced:
            _unfinished(path).replace(path)
    except BaseException:
        for path in (*written, *unfinished):
            path.unlink(missing_ok=True)
        for folder in reversed(folders):
            with suppress(OSError):
                folder.rmdir()
        raise


def _unfinished(path: Path) -> Path:
    """In the same folder, because a rename is atomic only within a file system. The Supabase CLI skips this ending."""
    return path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")


def _make_folders(folder: Path) -> list[Path]:
    """Make the folder and its missing parents. Returns the folders made, from the top down."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]
