"""The command `reconpatch-run`: what it imports takes seconds, and whoever interrupts it then is told so as later."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and call it."""
    try:
        from pipelines.cli import main as command
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
