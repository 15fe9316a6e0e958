"""`cascade`, with all that is given to the loudspeaker kept: `overheard.py FOLDER talk …`.

Each reply's sound goes to `FOLDER/REPLY.RATE.raw` (int16, mono), as the voice made it: with it one
can tell, from a recording of the loudspeaker, how loud each of its samples was played.
"""

from __future__ import annotations

import functools
import selectors
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import cli
from pipeline.audio.playout import Playout
from pipeline.engines.vad import VoiceDetector
from pipeline.events import Samples


def time_loop(folder: Path) -> None:
    """Keep what the event loop's thread has taken, and what of that is not our own."""
    loop = np.memmap(folder / "loop", np.int64, "w+", shape=3)

    def timed(work: Callable[..., Any], share: int) -> Callable[..., Any]:
        @functools.wraps(work)
        def run(*args: Any) -> Any:
            began = time.thread_time_ns()
            try:
                return work(*args)
            finally:
                if threading.current_thread() is threading.main_thread():
                    loop[0] = now = time.thread_time_ns()
                    loop[share] += now - began

        return run

    VoiceDetector.push = timed(VoiceDetector.push, 1)  # type: ignore[method-assign]
    selector = selectors.DefaultSelector
    selector.select = timed(selector.select, 2)  # type: ignore[method-assign]


def main() -> None:
    """Run the command line."""
    folder = Path(sys.argv.pop(1))
    write = Playout.write

    def keep(self: Playout, reply_id: str, samples: Samples, rate: int) -> None:
        with (folder / f"{reply_id}.{rate}.raw").open("ab") as file:
            file.write(samples.tobytes())
        write(self, reply_id, samples, rate)

    Playout.write = keep  # type: ignore[method-assign]
    time_loop(folder)
    cli.main()


if __name__ == "__main__":
    main()
