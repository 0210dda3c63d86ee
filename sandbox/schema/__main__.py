"""``python -m sandbox.schema`` writes the release file, ``python -m sandbox.schema check`` checks the rules for the sources."""

import sys

from sandbox.schema import house, release


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    match arguments:
        case []:
            release.write()
            return 0
        case ["check"]:
            found = [*house.complaints(), *house.wide_scripts(), *release.complaints()]
            sys.stdout.write("".join(f"{line}\n" for line in found) or f"{house.summary()}\n")
            return 1 if found else 0
        case _:
            sys.stderr.write("usage: python -m sandbox.schema [check]\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
