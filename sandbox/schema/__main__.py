"""``python -m sandbox.schema`` writes the open version's files, ``python -m sandbox.schema check`` checks sources and files."""

import sys

from sandbox.schema import house
from sandbox.schema.release import Release


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    match arguments:
        case []:
            found = Release().write()
            sys.stderr.write("".join(f"{line}\n" for line in found))
            return 1 if found else 0
        case ["check"]:
            found = [*house.complaints(), *house.wide_scripts(), *Release().complaints()]
            sys.stdout.write("".join(f"{line}\n" for line in found) or f"{house.summary()}\n")
            return 1 if found else 0
        case _:
            sys.stderr.write("usage: python -m sandbox.schema [check]\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
