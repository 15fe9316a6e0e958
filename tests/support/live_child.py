"""`cascade compare --live` as a child process: real engines, real files, real terminals."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = """
import asyncio, json, sys
from pathlib import Path

from pipeline.compare.live import prepare
from pipeline.config import load
from pipeline.terminal import log_to_stderr, show_error, stderr
from pipeline.errors import CascadeError
from pipeline.talk import TalkOptions

log_to_stderr(False)
flags, options = map(json.loads, sys.argv[1:])
for name in ("record", "trace"):
    options[name] = Path(options[name]) if name in options else None
try:
    paths = options.pop("paths")
    work = prepare(lambda more: load(None, {**flags, **more}), paths, TalkOptions(**options))
    sys.exit(asyncio.run(work))
except CascadeError as error:
    show_error(stderr(), str(error))
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    sys.exit(130)
"""


def command(flags: Mapping[str, Any], **options: Any) -> Sequence[str]:
    """The command line of a child, with these settings, paths and `TalkOptions`."""
    plain = {
        name: str(value) if isinstance(value, Path) else value for name, value in options.items()
    }
    return [sys.executable, "-c", PROGRAM, json.dumps(flags), json.dumps(plain)]
