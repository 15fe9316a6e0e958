"""Several sessions hear one microphone, and one of them at a time is heard.

Each path has a driver of its own, as `cascade talk` has one, on its own branch of the line. What
becomes of one path does not touch the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

from pipeline.audio.line import Ends
from pipeline.audio.playout import Sounding, Tap
from pipeline.clock import NS_PER_MS
from pipeline.compare.junction import Branch, Mixer
from pipeline.compare.keys import Keys
from pipeline.compare.pane import Pane
from pipeline.compare.scenario import Scenario
from pipeline.compare.screen import Screen
from pipeline.compare.switch import MOST, choose, following
from pipeline.compare.systems import System
from pipeline.compare.voiced import PathTrace, Voiced
from pipeline.errors import CascadeError, first_of
from pipeline.events import Event, Frame, ReplyAudio, to_json
from pipeline.session import Session
from pipeline.talk import Driver
from pipeline.trace import Trace

LOOK_S = 0.03
"""How often keys are looked for: nobody notices that he waits."""

STALE_NS = 250 * NS_PER_MS
"""Sound older than this when all sessions are ready was captured while they connected."""

CLOSE_S = 3.0
"""How long a session may take to leave before it is cut off."""


class Audition:
    """One run: connects all paths, lets them hear, and lets the user choose whom to hear."""

    _mixer: Mixer

    def __init__(
        self,
        ways: Sequence[System],
        scenario: Scenario,
        ends: Ends,
        screen: Screen,
        trace: Trace,
        voiced: Voiced,
        *,
        as_json: bool,
    ) -> None:
        """Prepare; open `ends` with `mixed`, then `run`.

        Args:
            ways: The paths, two or more.
            scenario: What they are told before it begins; its steps are not said.
            ends: Where sound comes from and goes to.
            screen: With a pane for each path.
            trace: Takes all marks.
            voiced: Is told what the microphone hears.
            as_json: Print every event on stdout.
        """
        self._ways = ways
        self._scenario = scenario
        self._ends = ends
        self._screen = screen
        self._trace = trace
        self._voiced = voiced
        self._as_json = as_json
        self._paths: list[_Path] = []
        self._over = asyncio.Event()

    def mixed(self, rate: int, tap: Tap | None) -> Sounding:
        """What is to be heard, for `Ends.open`."""
        self._mixer = Mixer(len(self._ways), rate, tap)
        return self._mixer

    async def run(self, keys: Keys) -> int:
        """Listen until the recordings are over and answered, `q` is pressed, or no path is left.

        Args:
            keys: Choose which path is heard.

        Returns:
            The exit code: 1 if a path failed, or one of its turns did.

        Raises:
            StageError: A device is gone.
        """
        self._paths = [
            _Path(way, Branch(playout, self._ends.clock), pane)
            for way, playout, pane in zip(
                self._ways, self._mixer.playouts, self._screen.panes, strict=True
            )
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                held = [tasks.create_task(self._hold(path)) for path in self._paths]
                helpers = [
                    tasks.create_task(work)
                    for work in (self._obey(keys), self._ends.watch(), self._listen(keys))
                ]
                await self._over.wait()
                for helper in helpers:
                    helper.cancel()
                await self._leave(held)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        return 1 if self._ends.failed or any(path.failed for path in self._paths) else 0

    async def _hold(self, path: _Path) -> None:
        """Hold the conversation with a path; its failure is its own."""
        try:
            voiced, clock = self._voiced, self._ends.clock
            trace = PathTrace(self._trace, path.labels, voiced, path.pane.answered)
            path.rtt_ms = await path.way.ready(self._scenario)
            session = path.way.session(self._scenario, trace, clock)
            told = _Told(session, path, as_json=self._as_json)
            path.driver = Driver(told, path.branch, path.pane, trace, as_json=False)
            await path.driver.run()
        except CascadeError as error:
            self._lose(path, str(error))
        finally:
            path.branch.ready.set()

    async def _listen(self, keys: Keys) -> None:
        """Microphone → all sessions, as soon as all are ready or have failed."""
        for path in self._paths:
            await path.branch.ready.wait()
        self._explain(keys)
        self._screen.note("listening")
        begun_ns = self._ends.clock.now_ns()
        async with contextlib.aclosing(self._ends.frames()) as frames:
            async for frame in frames:
                if begun_ns - frame.t_ns > STALE_NS:
                    continue
                alive = [path for path in self._paths if not path.reason]
                # By now all have heard the frame before this one.
                quiet = all(path.branch.quiet for path in alive)
                self._voiced.push(frame)
                for path in alive:
                    if not path.branch.offer(frame):
                        self._screen.note(f"{path.pane.title}: does not keep up; it misses sound")
                turns = max((path.branch.turns for path in alive), default=0)
                if not alive or not self._ends.go_on(quiet, turns):
                    break
        self._over.set()

    async def _leave(self, held: Sequence[asyncio.Task[None]]) -> None:
        """Let all sessions end: those that hear when they have heard all, the others now."""
        for path, task in zip(self._paths, held, strict=True):
            if path.branch.ready.is_set():
                path.branch.end()
            else:
                task.cancel()
        _, hanging = await asyncio.wait(held, timeout=CLOSE_S)
        for task in hanging:
            task.cancel()

    async def _obey(self, keys: Keys) -> None:
        """Do what keys say."""
        while True:
            pressed = keys.pressed()
            alive = [not path.reason for path in self._paths]
            choice = choose(pressed, self._mixer.heard, alive)
            self._select(choice.heard)
            if choice.quit:
                self._over.set()
                return
            await asyncio.sleep(LOOK_S)

    def _select(self, heard: int) -> None:
        """Hear another path from now on."""
        if heard == self._mixer.heard:
            return
        self._mixer.heard = heard
        self._screen.select(heard)
        if self._as_json:
            _print({"type": "switched", **self._paths[heard].labels})

    def _lose(self, path: _Path, reason: str) -> None:
        """Go on without a path."""
        path.reason = reason
        path.pane.fail(reason)
        path.branch.playout.stop()
        self._screen.warn(f"{path.pane.title}: {reason}")
        if self._as_json:
            _print({"type": "path_failed", "message": reason, **path.labels})
        alive = [not one.reason for one in self._paths]
        if path is self._paths[self._mixer.heard]:
            self._select(following(self._mixer.heard, alive))

    def _explain(self, keys: Keys) -> None:
        """Say what the keys do, or that there are none."""
        if not keys.available:
            heard = self._paths[self._mixer.heard].pane.title
            self._screen.note(f"stdin is no terminal, so no key switches: {heard} is heard")
            return
        digits = " ".join(str(i) for i, _ in enumerate(self._paths[:MOST], start=1))
        self._screen.keys(f"{digits} or Tab: hear another path · q: end")


class _Path:
    """One path and all that is its own.

    Attributes:
        labels: What each line about it says of it, for machines.
        reason: Why it is over; empty while it goes on.
    """

    def __init__(self, way: System, branch: Branch, pane: Pane) -> None:
        self.way = way
        self.branch = branch
        self.pane = pane
        self.labels: dict[str, Any] = {"path": way.name}
        if pane.simulated:
            self.labels["simulated"] = True
        self.reason = ""
        self.rtt_ms: tuple[float, ...] = ()
        self.driver: Driver | None = None

    @property
    def failed(self) -> bool:
        """Whether it, or one of its turns, failed."""
        return bool(self.reason) or (self.driver is not None and self.driver.failed)

    def found(self, facts: Mapping[str, Any]) -> None:
        """Note what is at the other end."""
        about = [str(facts[key]) for key in ("model", "host") if facts.get(key)]
        if self.rtt_ms:
            about.append(f"round trip {statistics.median(self.rtt_ms):.0f} ms")
        simulated = facts.get("simulated") is not None
        if simulated:
            self.labels["simulated"] = True
        self.pane.found(", ".join(about), simulated)


class _Told:
    """A session whose events are also told to machines, and which is known to be alive by them."""

    def __init__(self, session: Session, path: _Path, *, as_json: bool) -> None:
        self._session = session
        self._path = path
        self._as_json = as_json

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        self._path.found(self._path.way.facts(self._session))
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._session.__aexit__(*exc)

    async def send(self, frame: Frame) -> None:
        await self._session.send(frame)

    async def heard(self, reply_id: str, samples: int) -> None:
        await self._session.heard(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        await self._session.tool_result(call_id, output)

    async def events(self) -> AsyncGenerator[Event, None]:
        async for event in self._session.events():
            self._path.branch.stir()
            if self._as_json and not isinstance(event, ReplyAudio):
                _print({**to_json(event), **self._path.labels})
            yield event


def ends_rate(ways: Sequence[System]) -> int:
    """The rate of a file that stands for the loudspeaker (Hz): what no path loses by."""
    return max(way.rate for way in ways)


def _print(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)
