"""The stylesheet, the scripts and the icon, read once. Their addresses carry a digest, so that browsers may keep them."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served."""

    content: bytes
    kind: str
    digest: str


@cache
def static_files() -> dict[str, StaticFile]:
    """The files by their path below ``static/``."""
    found: dict[str, StaticFile] = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in _KINDS:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            found[path.relative_to(FOLDER).as_posix()] = StaticFile(content, _KINDS[path.suffix], digest)
    return found
