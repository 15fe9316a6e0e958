"""`python -m pipeline` is `cascade`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line (`cli.main`); Ctrl-C while it is imported is no louder than later."""
    try:
        from pipeline import cli
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
