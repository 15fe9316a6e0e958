"""`python -m pipeline` is `cascade`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line (`cli.main`); Ctrl-C while it is imported is no louder than later."""
    # Nothing that an import makes is garbage: looking for it takes a tenth of the time.
    gc.disable()
    try:
        from pipeline import cli
    except KeyboardInterrupt:
        sys.exit(130)
    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
