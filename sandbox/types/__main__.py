"""``python -m sandbox.types`` writes the types of the schema that the migrations make."""

import sys
from contextlib import closing

import psycopg

from sandbox.local.stack import LocalStack
from sandbox.types.files import write
from sandbox.types.probing import NoSample


def main() -> int:
    """Return the exit code."""
    with LocalStack() as stack, closing(psycopg.connect(stack.admin_url, autocommit=True)) as connection:
        try:
            write(connection)
        except NoSample as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
