"""`cascade talk` on the devices of a sound server."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cli_child import HANG_S, Child, Files, Outcome
from support.pulse import Pulse
from support.sound import stretches

GAP_S = 0.6
"""Silences are longer between replies, and shorter inside one."""

ROOMY = {"CASCADE_AUDIO__LATENCY_MS": "80"}
"""A buffer into which a busy machine tears no holes, where every word counts."""

ALONE = {"CASCADE_AUDIO__ECHO": "off"}
"""Nothing of the loudspeaker gets into the microphone: it is as with headphones."""


class Talk(Child):
    """A conversation; it traces to `trace`, records to `both.wav` and saves to `said`."""

    def __init__(self, pulse: Pulse, folder: Path, llm: str, *options: str, **env: str) -> None:
        self.folder = folder
        files = ("--trace=trace", "--record=both.wav", "--save=said")
        env = {**pulse.devices, **env}
        super().__init__("talk", "--json", f"--llm={llm}", *files, *options, env=env, cwd=folder)

    def wait_turn(self, turn: int, mark: str) -> None:
        """Return once a turn has this mark."""
        wanted = re.compile(rf'"turn": {turn},.* "mark": "{mark}"')
        until = time.monotonic() + HANG_S
        while not wanted.search((self.folder / "trace").read_text("utf-8")):
            if self.over or time.monotonic() > until:
                raise AssertionError(f"no {mark} in turn {turn}: {self.finish(kill=True)}")
            time.sleep(0.02)

    def interrupt(self) -> Outcome:
        """Ctrl-C."""
        self.signal(signal.SIGINT)
        return self.finish()


@contextmanager
def talking(pulse: Pulse, folder: Path, llm: str, *options: str, **env: str) -> Iterator[Talk]:
    """A conversation that has begun to listen, and does not outlive the test."""
    talk = Talk(pulse, folder, llm, *options, **env)
    try:
        talk.wait_for("listening")
        yield talk
    finally:
        talk.finish(kill=True)


@dataclass(frozen=True)
class Talked(Files):
    """A conversation that is over; what it left in its folder."""

    outcome: Outcome

    @property
    def statuses(self) -> list[str]:
        """How each reply ended."""
        return [event["status"] for event in self.outcome.of("reply_done")]

    @property
    def sides(self) -> tuple[list[slice], list[slice]]:
        """Where there is sound in the recording: the user's, the replies'."""
        user, replies, rate = self.both
        return stretches(user, rate, GAP_S), stretches(replies, rate, GAP_S)
