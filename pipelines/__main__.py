"""Entry point of `reconpatch-run`. The imports take seconds, so an interrupt during them is handled as well."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and run it; exit with code 130 if the import is interrupted."""
    try:
        from pipelines.cli.main import main as command
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
