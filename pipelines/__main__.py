"""The command `reconpatch-run`. Its imports take seconds, so an interrupt is handled from the first one on."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and call it."""
    try:
        from pipelines.cli.main import main as command
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
