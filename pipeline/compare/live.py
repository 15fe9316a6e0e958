"""`cascade compare --live`: one microphone, several systems; a key chooses which one is heard.

Each system has a driver of its own, as `cascade talk` has one, and its own share of the microphone
and of the loudspeaker. Its playout is read in real time whether anybody hears it or not, so what is
not heard is played, interrupted and timed as if it were. What becomes of one system does not touch
the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import string
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pipeline import talk
from pipeline.audio.line import Ends
from pipeline.audio.playout import Playout, Sounding, Tap
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.compare.panes import Pane, Screen
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.systems import System, Systems, parse
from pipeline.config import Settings, VadSettings
from pipeline.driver import Driver
from pipeline.engines.vad import RATE, WINDOW, VoiceDetector
from pipeline.engines.worker import apart
from pipeline.errors import BadInput, CascadeError, first_of
from pipeline.events import Event, Frame, ReplyAudio, Samples, to_json
from pipeline.keyboard import Keyboard, letters
from pipeline.measure.conduct import PARTS
from pipeline.measure.plan import Load
from pipeline.session import Session
from pipeline.speech_to_speech import specs
from pipeline.speech_to_speech.brief import SCRIPTED, SystemSpec
from pipeline.terminal import stderr
from pipeline.trace import Trace, description
from pipeline.turns.listener import Detector, Hearing

PATIENCE_S = 2.0
"""Silence after a recording that shows that no system will answer any more: longer than any server
takes to notice that somebody spoke."""

FADE_S = 0.010
"""One system fades into another over this long: shorter clicks, longer is heard as two voices."""

MOST = 9
"""Systems that can be chosen between: each has a digit."""

LOOK_S = 0.03
"""How often keys are looked for: nobody notices that he waits."""

STALE_NS = 250 * NS_PER_MS
"""Sound older than this when all sessions are ready was captured while they connected."""

CLOSE_S = 3.0
"""How long a session may take to leave before it is cut off."""

MOST_WAITING = 250
"""Frames (5 s) that may wait for a session that does not take them; then the oldest are lost."""

SILENT_S = 60.0
"""A session that has neither said nor done anything for so long is not waited for any more."""

KEPT_S = 120.0
"""How long the user's voice is remembered: longer than anybody waits for a reply."""

ANYTHING = Step(said="(a simulation understands nothing)", path=Path())
"""All that is known of what the user will say: the script of a simulated server is made of it."""


def prepare(
    load: Load, systems: Sequence[str], options: talk.TalkOptions
) -> Coroutine[Any, Any, int]:
    """Check all that can be checked, and fetch a language model that is missing.

    Not for an event loop: that would take notice of Ctrl-C only when the fetch is over.

    Args:
        load: Gives the settings of a cascade.
        systems: As given on the command line, two or more; the first is heard first.
        options: Inputs, output, files, and whether events are printed.

    Returns:
        The conversation, to be run. It gives the exit code: 1 if a system or a turn failed, or if
        something could not be written that was asked for, which does not end it.

    Raises:
        CascadeError: It cannot begin.
    """
    console = stderr()
    if not 2 <= len(systems) <= MOST:
        raise BadInput(f"--live: needs 2 to {MOST} paths; give each as --path")
    targets = parse(systems)
    for target in targets:
        specs.check(target, os.environ)
        if target.options.get("turns") == "manual":
            raise BadInput(f"--path {target.name}: turns=manual is for recordings; leave it out")
    talk.check_files(options)
    base = load({})
    ends = Ends(
        base.audio,
        options.inputs,
        options.output,
        record=options.record,
        patience_s=PATIENCE_S,
        parts=PARTS,
    )
    scenario = Scenario("live", "latency", base.llm.instructions, (ANYTHING,))
    opening = Systems(targets, load, [scenario])
    asyncio.run(ends.find())
    opening.pool.prepare(console)
    return _hold(base, targets, opening, scenario, options, ends, console)


async def _hold(
    base: Settings,
    targets: Sequence[SystemSpec],
    opening: Systems,
    scenario: Scenario,
    options: talk.TalkOptions,
    ends: Ends,
    console: Console,
) -> int:
    """Open everything, and listen.

    Raises:
        CascadeError: The engines cannot be loaded, a file cannot be written, or a device is gone.
    """
    async with contextlib.AsyncExitStack() as stack:
        names = [target.name for target in targets]
        simulated = [target.kind in SCRIPTED for target in targets]
        about = {
            **description(base, opening.pool.models),
            "paths": names,
            "simulated": any(simulated),
        }
        trace = stack.enter_context(Trace(options.trace, about))
        keyboard = stack.enter_context(Keyboard())
        screen = stack.enter_context(Screen(console, names, simulated))
        screen.note(f"loading {', '.join(pane.title for pane in screen.panes)}")
        opened = await stack.enter_async_context(opening.open())
        detector = await apart(VoiceDetector.ready)
        voice = UserVoice(detector, base.vad)
        live = LiveComparison(opened, scenario, ends, screen, trace, voice, as_json=options.json)
        line = ends.open(live.rate, mixed=live.mixed)
        await stack.enter_async_context(line)
        if ends.echo_note:
            screen.note(ends.echo_note)
        code = await live.run(keyboard)
    return 1 if code or trace.failed or ends.failed else 0


def choose(keys: str, heard: int, alive: Sequence[bool]) -> tuple[int, bool]:
    """What comes of keys that were pressed one after another.

    1 or a chooses the first system, 2 or b the second, and so on; a tab or a space the next one; q
    ends. What means nothing changes nothing, and nobody can choose a system that has failed.

    Args:
        keys: As the terminal sent them.
        heard: Index of the system that is heard now.
        alive: Of each system, whether it can be heard.

    Returns:
        Index of the system that is heard then, and whether it is to end.
    """
    for key in letters(keys).lower():
        if key == "q":
            return heard, True
        if key in "\t ":
            heard = following(heard, alive)
            continue
        chosen = max("123456789".find(key), string.ascii_lowercase[:MOST].find(key))
        if 0 <= chosen < len(alive) and alive[chosen]:
            heard = chosen
    return heard, False


def following(heard: int, alive: Sequence[bool]) -> int:
    """The next system that can be heard; `heard` itself if there is no other."""
    later = ((heard + step) % len(alive) for step in range(1, len(alive)))
    return next((index for index in later if alive[index]), heard)


class LiveComparison:
    """One run: connects all systems, lets them hear, and lets the user choose whom to hear."""

    _mixer: Mixer
    _systems: list[LiveSystem]

    def __init__(
        self,
        systems: Sequence[System],
        scenario: Scenario,
        ends: Ends,
        screen: Screen,
        trace: Trace,
        voice: UserVoice,
        *,
        as_json: bool,
    ) -> None:
        """Prepare; open `ends` with `mixed`, then `run`.

        Args:
            systems: Two or more.
            scenario: What they are told before it begins; its steps are not said.
            ends: Where sound comes from and goes to.
            screen: With a pane for each system.
            trace: Takes all marks.
            voice: Is told what the microphone hears.
            as_json: Print every event on stdout.
        """
        self._all = systems
        self._scenario = scenario
        self._ends = ends
        self._screen = screen
        self._trace = trace
        self._voice = voice
        self._as_json = as_json
        self._over = asyncio.Event()

    @property
    def rate(self) -> int:
        """The rate of a file that stands for the loudspeaker (Hz): what no system loses by."""
        return max(system.rate for system in self._all)

    def mixed(self, rate: int, tap: Tap | None) -> Sounding:
        """What is to be heard, for `Ends.open`."""
        self._mixer = Mixer(len(self._all), rate, tap)
        return self._mixer

    async def run(self, keyboard: Keyboard) -> int:
        """Listen until the recordings are over and answered, `q` is pressed, or nobody is left.

        Args:
            keyboard: Chooses which system is heard.

        Returns:
            The exit code: 1 if a system failed, or one of its turns did.

        Raises:
            StageError: A device is gone.
        """
        told = _print if self._as_json else lambda line: None
        self._systems = [
            LiveSystem(system, playout, pane, self._ends.clock, told)
            for system, playout, pane in zip(
                self._all, self._mixer.playouts, self._screen.panes, strict=True
            )
        ]
        try:
            async with asyncio.TaskGroup() as tasks:
                held = [tasks.create_task(self._talk_to(system)) for system in self._systems]
                helpers = [
                    tasks.create_task(work)
                    for work in (self._obey(keyboard), self._ends.watch(), self._listen(keyboard))
                ]
                await self._over.wait()
                for helper in helpers:
                    helper.cancel()
                await self._leave(held)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        return 1 if self._ends.failed or any(system.failed for system in self._systems) else 0

    async def _talk_to(self, system: LiveSystem) -> None:
        """Hold the conversation with a system; its failure is its own."""
        try:
            trace = SystemTrace(self._trace, system.labels, self._voice, system.pane.audible)
            await system.talk(self._scenario, trace)
        except CascadeError as error:
            system.reason = str(error)
            system.pane.failed = system.reason
            system.playout.stop()
            self._screen.warn(f"{system.pane.title}: {system.reason}")
            system.tell({"type": "path_failed", "message": system.reason})
            if system is self._systems[self._mixer.heard]:
                self._select(following(self._mixer.heard, self._alive))
        finally:
            system.ready.set()

    @property
    def _alive(self) -> list[bool]:
        """Of each system, whether it can be heard."""
        return [not system.reason for system in self._systems]

    async def _listen(self, keyboard: Keyboard) -> None:
        """Microphone → all sessions, as soon as all are ready or have failed."""
        for system in self._systems:
            await system.ready.wait()
        if keyboard.available:
            digits = " ".join(str(i) for i, _ in enumerate(self._systems, start=1))
            self._screen.keys(f"{digits} or Tab: hear another path · q: end")
        else:
            heard = self._systems[self._mixer.heard].pane.title
            self._screen.note(f"stdin is no terminal, so no key switches: {heard} is heard")
        self._screen.note("listening")
        begun_ns = self._ends.clock.now_ns()
        async with contextlib.aclosing(self._ends.frames()) as frames:
            async for frame in frames:
                if begun_ns - frame.t_ns > STALE_NS:
                    continue
                alive = [system for system in self._systems if not system.reason]
                # By now all have heard the frame before this one.
                quiet = all(system.quiet for system in alive)
                self._voice.push(frame)
                for system in alive:
                    if not system.offer(frame):
                        title = system.pane.title
                        self._screen.note(f"{title}: does not keep up; it misses sound")
                turns = max((system.turns for system in alive), default=0)
                if not alive or not self._ends.go_on(quiet, turns):
                    break
        self._over.set()

    async def _leave(self, held: Sequence[asyncio.Task[None]]) -> None:
        """Let all sessions end: those that hear when they have heard all, the others now."""
        for system, task in zip(self._systems, held, strict=True):
            if system.ready.is_set():
                system.end()
            else:
                task.cancel()
        _, hanging = await asyncio.wait(held, timeout=CLOSE_S)
        for task in hanging:
            task.cancel()

    async def _obey(self, keyboard: Keyboard) -> None:
        """Do what keys say."""
        while True:
            heard, ends = choose(keyboard.pressed(), self._mixer.heard, self._alive)
            self._select(heard)
            if ends:
                self._over.set()
                return
            await asyncio.sleep(LOOK_S)

    def _select(self, heard: int) -> None:
        """Hear another system from now on."""
        if heard != self._mixer.heard:
            self._mixer.heard = heard
            self._screen.select(heard)
            self._systems[heard].tell({"type": "switched"})


def _print(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)


class LiveSystem:
    """One system and its share of the microphone and the loudspeaker: a `Line` for its driver.

    Attributes:
        system: Makes its session.
        playout: What it says.
        pane: What is shown of it.
        labels: What each line about it says of it, for machines.
        ready: Set once the session begins to hear, or never will.
        reason: Why it is over; empty while it goes on.
        turns: How many turns have begun.
        lost: Frames that it did not take in time.
    """

    def __init__(
        self,
        system: System,
        playout: Playout,
        pane: Pane,
        clock: Clock,
        told: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """Make its share; `told` is given what machines are told of it."""
        self.system = system
        self.playout = playout
        self.pane = pane
        self.labels: dict[str, Any] = {"path": system.name}
        if pane.simulated:
            self.labels["simulated"] = True
        self.ready = asyncio.Event()
        self.reason = ""
        self.turns = 0
        self.lost = 0
        self._clock = clock
        self._told = told
        self._rtt_ms: tuple[float, ...] = ()
        self._session: Session | None = None
        self._driver: Driver | None = None
        self._waiting: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._ended = False
        self._quiet = True
        self._stirred_ns = 0
        pane.listener = self._event

    @property
    def failed(self) -> bool:
        """Whether it, or one of its turns, failed."""
        return bool(self.reason) or (self._driver is not None and self._driver.failed)

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks, thinks or is about to; also if it has been mute for a minute."""
        if not self._waiting.empty():
            return False
        silent_ns = self._clock.now_ns() - self._stirred_ns
        given_up = silent_ns > SILENT_S * NS_PER_S and self.playout.pending_ns == 0
        return self._quiet or given_up

    async def talk(self, scenario: Scenario, trace: Trace) -> None:
        """Hold the conversation, until `end`.

        Raises:
            CascadeError: It cannot be had, or breaks off.
        """
        self._rtt_ms = await self.system.ready(scenario)
        self._session = self.system.session(scenario, trace, self._clock)
        self._driver = Driver(self._session, self, trace, self.pane)
        await self._driver.run()

    def tell(self, line: Mapping[str, Any]) -> None:
        """Tell machines something of it."""
        self._told({**line, **self.labels})

    def stir(self) -> None:
        """Take note that the session has done something."""
        self._stirred_ns = self._clock.now_ns()

    def offer(self, frame: Frame) -> bool:
        """Give it the microphone's next frame. Never waits.

        Returns:
            False if that was too much, for the first time: an older frame is lost.
        """
        if self._ended:
            return True
        behind = self._waiting.qsize() >= MOST_WAITING
        if behind:
            self._waiting.get_nowait()
            self.lost += 1
        self._waiting.put_nowait(frame)
        return not (behind and self.lost == 1)

    def end(self) -> None:
        """Let the conversation end, once what was offered has been heard."""
        self._ended = True
        self._waiting.put_nowait(None)

    async def frames(self) -> AsyncGenerator[Frame]:
        """What the microphone hears, until `end`. It is asked for once the session is entered."""
        self._connected()
        self.stir()
        self.ready.set()
        while (frame := await self._waiting.get()) is not None:
            yield frame

    async def watch(self) -> None:
        """Nothing to do: the mixer is read by who owns the loudspeaker."""

    def go_on(self, quiet: bool, turns: int) -> bool:
        """Take note of what the driver sees; the end comes by `end`."""
        if not quiet and self.playout.pending_ns:
            self.stir()
        self._quiet = quiet
        self.turns = turns
        return True

    def _connected(self) -> None:
        """Note what is at the other end."""
        if self._session is None:
            return
        facts = self.system.facts(self._session)
        about = [str(facts[key]) for key in ("model", "host") if facts.get(key)]
        if self._rtt_ms:
            about.append(f"round trip {statistics.median(self._rtt_ms):.0f} ms")
        simulated = facts.get("simulated") is not None
        if simulated:
            self.labels["simulated"] = True
        self.pane.found(", ".join(about), simulated)

    def _event(self, event: Event) -> None:
        self.stir()
        if not isinstance(event, ReplyAudio):
            self.tell(to_json(event))


class Mixer:
    """One loudspeaker for several playouts, as a loudspeaker reads one (`Sounding`).

    Args:
        systems: How many there are; the first is heard.
        rate: The device's sample rate (Hz), and so of all playouts.
        tap: Gets what is really heard; called in the reader's thread, as a playout's.

    Attributes:
        playouts: One for each system.
        heard: Index of the system that is let through; to be set from any thread. What is heard
            changes with the next block, and fades within 10 ms.
    """

    def __init__(self, systems: int, rate: int, tap: Tap | None = None) -> None:
        self.rate = rate
        self.playouts = [Playout(rate) for _ in range(systems)]
        self.heard = 0
        self._levels = [1.0] + [0.0] * (systems - 1)
        self._tap = tap

    @property
    def pending_ns(self) -> int:
        """How much sound is still queued, be it heard or not (ns)."""
        return max(playout.pending_ns for playout in self.playouts)

    def read(self, n: int, t_ns: int, *, not_before_ns: int = 0, ahead_ns: int = 0) -> Samples:
        """Take the next stretch from every playout; gives what of it is heard.

        Args and result are those of `Playout.read`.
        """
        heard, fade = self.heard, np.arange(1, n + 1) / (FADE_S * self.rate)
        mixed = np.zeros(n)
        for index, playout in enumerate(self.playouts):
            block = playout.read(n, t_ns, not_before_ns=not_before_ns, ahead_ns=ahead_ns)
            level = self._levels[index]
            if level or index == heard:
                # Together the levels are never more than 1, so nothing clips.
                levels = np.clip(level + fade if index == heard else level - fade, 0, 1)
                self._levels[index] = levels[-1] if n else level
                mixed += block * levels
        samples = np.rint(mixed).astype(np.int16)
        if self._tap is not None:
            self._tap(samples, t_ns)
        return samples


class UserVoice:
    """Listens to the microphone for voice, as the cascade does."""

    def __init__(self, detector: Detector, settings: VadSettings) -> None:
        """Judge by `detector`, with the thresholds of `settings`."""
        self._hearing = Hearing(detector, KEPT_S)
        self._settings = settings
        self._voice = False
        self._windows: deque[tuple[int, int]] = deque(maxlen=int(KEPT_S * RATE / WINDOW))

    def push(self, frame: Frame) -> None:
        """Hear the next frame, at any rate."""
        for verdict in self._hearing.push(frame):
            least = self._settings.release if self._voice else self._settings.threshold
            self._voice = verdict.probability >= least
            if self._voice:
                self._windows.append((verdict.start, verdict.end))

    def last_before(self, t_ns: int) -> int | None:
        """When the last voiced sample before `t_ns` was captured (ns); None if none was."""
        for start, end in reversed(self._windows):
            if self._hearing.time_of(start) < t_ns:
                return self._hearing.time_of(self._hearing.last_sound(end))
        return None


class SystemTrace(Trace):
    """The marks of one system, which go to the file of all of them.

    A speech-to-speech model does not say when the user fell silent: where its session marks no
    `speech.end`, that is the last voiced sample before it took the turn for over.
    """

    def __init__(
        self,
        file: Trace,
        labels: Mapping[str, Any],
        voice: UserVoice,
        tell: Callable[[Mapping[str, int]], None],
    ) -> None:
        """Take the marks of a system.

        Args:
            file: Of all systems.
            labels: What each line of this one has beside its own fields; may change.
            voice: Knows when the user spoke.
            tell: Is given a turn's marks once its reply is heard.
        """
        super().__init__()
        self._all = file
        self._labels = labels
        self._user_voice = voice
        self._tell = tell

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Note a mark (see `Trace.mark`)."""
        super().mark(turn, name, t_ns, generation=generation, **more)
        if name != "heard.first":
            return
        marks = self.marks(turn)
        if "speech.end" not in marks and "committed" in marks:
            end_ns = self._user_voice.last_before(marks["committed"])
            if end_ns is not None:
                super().mark(turn, "speech.end", end_ns)
        self._tell(self.marks(turn))

    def _write(self, line: Mapping[str, Any]) -> None:
        self._all._write({**line, **self._labels})
