"""`cascade`, with all that is given to the loudspeaker kept: `overheard.py FOLDER talk …`.

Each reply's sound goes to `FOLDER/REPLY.RATE.raw` (int16, mono), as the voice made it: with it one
can tell, from a recording of the loudspeaker, how loud each of its samples was played.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline import cli
from pipeline.audio.playout import Playout
from pipeline.events import Samples


def main() -> None:
    """Run the command line."""
    folder = Path(sys.argv.pop(1))
    write = Playout.write

    def keep(self: Playout, reply_id: str, samples: Samples, rate: int) -> None:
        with (folder / f"{reply_id}.{rate}.raw").open("ab") as file:
            file.write(samples.tobytes())
        write(self, reply_id, samples, rate)

    Playout.write = keep  # type: ignore[method-assign]
    cli.main()


if __name__ == "__main__":
    main()
