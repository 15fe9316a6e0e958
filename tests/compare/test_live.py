"""One microphone, several sessions: what each hears, what is heard of each, and what a key does.

In virtual time, with sessions whose latency is known.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from rich.console import Console
from support.cli_child import json_lines, read_wav
from support.metronome import RATE, Answer, MetronomeSystem
from support.scripted import Detector
from support.virtual_time import VirtualClock
from support.virtual_time import run as in_virtual_time

from pipeline.audio.audible import ending, onset
from pipeline.audio.files import WavWriter
from pipeline.audio.line import Ends
from pipeline.compare.live import FADE_S, LiveComparison, UserVoice
from pipeline.compare.panes import Screen
from pipeline.compare.scenario import Scenario
from pipeline.config import AudioSettings, VadSettings
from pipeline.driver import REPORT_S
from pipeline.errors import StageError
from pipeline.events import Event, Failure, Frame, ReplyAudio, ReplyInterrupted, Samples
from pipeline.keyboard import Keyboard
from pipeline.session import Session
from pipeline.trace import Trace

IN_RATE = 16_000
LEAD_S, SPEECH_S, TAIL_S = 0.3, 1.0, 0.2
END_S = LEAD_S + SPEECH_S
LOUD = 8000
LOW, HIGH = 220, 660
PARTS = 4
BLOCK_S = 0.02
ERROR_MS = 15.0


def hum(hz: float, seconds: float) -> Samples:
    """A tone that begins and ends softly."""
    at = np.arange(int(seconds * RATE)) / RATE
    soft = np.minimum(1, np.minimum(at, at[-1] - at) / 0.02)
    return (LOUD * soft * np.sin(2 * np.pi * hz * at)).astype(np.int16)


@dataclass
class Spy:
    """A session that is watched, hums in a key of its own, and may break down.

    Attributes:
        frames: What it was sent, and when.
        positions: How much of its replies was played, and when (s).
        interrupted: When its reply was (s).
    """

    session: Session
    hz: float
    breaks: str = ""
    connects_s: float = 0.0
    frames: list[Frame] = field(default_factory=list)
    positions: list[tuple[float, int]] = field(default_factory=list)
    interrupted: list[float] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        await asyncio.sleep(self.connects_s)
        await self.session.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.session.__aexit__(*exc)

    async def send(self, frame: Frame) -> None:
        self.frames.append(frame)
        await self.session.send(frame)

    async def heard(self, reply_id: str, samples: int) -> None:
        self.positions.append((asyncio.get_running_loop().time(), samples))
        await self.session.heard(reply_id, samples)

    async def tool_result(self, call_id: str, output: str) -> None:
        await self.session.tool_result(call_id, output)

    async def events(self) -> AsyncGenerator[Event, None]:
        async for event in self.session.events():
            if isinstance(event, ReplyAudio):
                sound = hum(self.hz, len(event.frame.samples) / RATE)
                yield ReplyAudio(event.turn, event.id, Frame(sound, RATE, 0, event.frame.t_ns))
                if self.breaks:
                    await asyncio.sleep(0.3)
                    yield Failure(event.turn, "direct", self.breaks, True)
                    return
                continue
            if isinstance(event, ReplyInterrupted):
                self.interrupted.append(asyncio.get_running_loop().time())
            yield event


class Humming(MetronomeSystem):
    """A path to such a session."""

    def __init__(self, name: str, hz: float, latency_ms: float, **more: Any) -> None:
        breaks = more.pop("breaks", "")
        connects_s = more.pop("connects_s", 0.0)
        self.simulated = more.pop("simulated", False)
        answers = more.pop("answers", [Answer(seconds=2.0)])
        super().__init__(latency_ms, more.pop("ends_s", [SPEECH_S]), answers, **more)
        self.name = name
        self.spies: list[Spy] = []

        def watched(session: Session) -> Session:
            self.spies.append(Spy(session, hz, breaks, connects_s))
            return self.spies[-1]

        self.wrap = watched

    @property
    def spy(self) -> Spy:
        return self.spies[0]

    def facts(self, session: Session) -> Mapping[str, Any]:
        return {"model": "hum", "simulated": {"name": "hum"} if self.simulated else None}


class Typed(Keyboard):
    """Keys that are pressed at given times (s of the loop), or where there is no terminal."""

    def __init__(self, at: Mapping[float, str] | None) -> None:
        super().__init__()
        self.available = at is not None
        self._at = dict(at or {})

    def pressed(self) -> str:
        now = asyncio.get_running_loop().time()
        return "".join(self._at.pop(at) for at in sorted(self._at) if at <= now)


@dataclass
class Outcome:
    """What came of it."""

    code: int
    said: str
    screen: Screen
    out: Samples
    folder: Path


def noise(path: Path, *starts_s: float) -> Path:
    """A recording in which the user speaks for a second at each of these times."""
    length = int((max(starts_s) + SPEECH_S + TAIL_S) * IN_RATE)
    sound = np.zeros(length, np.int16)
    for start in starts_s:
        n = int(SPEECH_S * IN_RATE)
        voice = np.random.default_rng(7).integers(-9000, 9000, n)
        voice[0] = voice[-1] = 9000
        sound[int(start * IN_RATE) :][:n] = voice
    with WavWriter(path, IN_RATE) as wav:
        wav.write(sound)
    return path


def hold(
    folder: Path,
    ways: Sequence[MetronomeSystem],
    keys: Mapping[float, str] | None = None,
    *,
    starts_s: Sequence[float] = (LEAD_S,),
    before: Callable[[Ends], None] = lambda ends: None,
) -> Outcome:
    """Speak into a virtual card whose microphone all paths hear."""

    async def work() -> Outcome:
        file = noise(folder / "in.wav", *starts_s)
        ends = Ends(
            AudioSettings(),
            [str(file)],
            str(folder / "out.wav"),
            record=folder / "both.wav",
            patience_s=1,
            parts=PARTS,
        )
        ends.clock = VirtualClock()  # type: ignore[assignment]
        before(ends)
        said = io.StringIO()
        names = [way.name for way in ways]
        screen = Screen(Console(file=said, width=300), names, [False] * len(names))
        scenario = Scenario("live", "latency", "", ())
        with Trace(folder / "trace") as trace, screen:
            voice = UserVoice(Detector(), VadSettings())
            live = LiveComparison(ways, scenario, ends, screen, trace, voice, as_json=True)
            async with ends.open(live.rate, mixed=live.mixed):
                code = await live.run(Typed(keys))
        out, _ = read_wav(folder / "out.wav")
        return Outcome(code, said.getvalue(), screen, out[:, 0], folder)

    return in_virtual_time(work())


def share(sound: Samples, hz: float) -> float:
    """How much of a sound's energy is this tone's."""
    at = np.arange(len(sound)) / RATE
    wanted = np.exp(2j * np.pi * hz * at)
    energy = float(np.sum(sound.astype(float) ** 2))
    return 2 * abs(np.dot(sound, wanted)) ** 2 / len(sound) / energy if energy else 0.0


def cut(outcome: Outcome, begin_s: float, end_s: float) -> Samples:
    return outcome.out[int(begin_s * RATE) : int(end_s * RATE)]


def two(**more: Any) -> list[Humming]:
    """A quick path that hums low and a slow one that hums high."""
    return [Humming("quick", LOW, 300, **more), Humming("slow", HIGH, 700, **more)]


Held = tuple[list[Humming], Outcome]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """A conversation in which nobody touches a key."""
    ways = two()
    return ways, hold(tmp_path_factory.mktemp("live"), ways, {})


def test_all_sessions_hear_the_same(held: Held) -> None:
    ways, outcome = held
    assert outcome.code == 0
    heard = [[(f.t_ns, f.offset, f.samples.tobytes()) for f in way.spy.frames] for way in ways]
    assert heard[0] == heard[1]
    sound = np.concatenate([frame.samples for frame in ways[0].spy.frames])
    said, _ = read_wav(outcome.folder / "in.wav")
    np.testing.assert_array_equal(sound[: len(said)], said[:, 0])


def test_only_the_first_is_heard(held: Held) -> None:
    _, outcome = held
    begin, end = onset(outcome.out, RATE), ending(outcome.out, RATE)
    assert begin is not None
    assert end is not None
    assert (begin / RATE - END_S) * 1000 == pytest.approx(300, abs=25)
    assert (end - begin) / RATE == pytest.approx(2, abs=0.05)
    assert share(outcome.out[begin:end], LOW) > 0.98
    both, rate = read_wav(outcome.folder / "both.wav")
    assert rate == RATE
    spoken = onset(both[:, 0], rate)
    replied = onset(both[:, 1], rate)
    assert spoken is not None
    assert replied is not None
    assert share(both[replied : ending(both[:, 1], rate), 1], LOW) > 0.98
    assert (replied - spoken) / rate - SPEECH_S == pytest.approx(0.3, abs=0.025)


def test_what_is_not_heard_is_played_in_real_time(held: Held) -> None:
    ways, _ = held
    for way, latency_s in zip(ways, (0.3, 0.7), strict=True):
        moving = [(at, n) for at, n in way.spy.positions if 0 < n < 2 * RATE]
        assert len(moving) > 0.9 * 2 / REPORT_S
        begin_s, first = moving[0]
        assert begin_s == pytest.approx(END_S + latency_s, abs=2 * BLOCK_S)
        for at, n in moving:
            assert (n - first) / RATE == pytest.approx(at - begin_s, abs=1e-3)
        assert way.spy.positions[-1][1] == 2 * RATE


def test_both_latencies_are_measured(held: Held) -> None:
    _, outcome = held
    latencies = [pane.latencies_ms for pane in outcome.screen.panes]
    # What is cut off ends more abruptly than a voice, for whose fade there is some allowance.
    [late_s] = {pane.marks["speech.end"] / 1e9 - END_S for pane in outcome.screen.panes}
    assert 0 <= late_s <= 0.06
    assert latencies[0] == [pytest.approx(300 - late_s * 1000, abs=ERROR_MS)]
    assert latencies[1] == [pytest.approx(700 - late_s * 1000, abs=ERROR_MS)]
    for pane in outcome.screen.panes:
        assert f"{pane.name}: median voice-to-voice {pane.latencies_ms[0]:.0f} ms" in outcome.said
    _, *lines = json_lines((outcome.folder / "trace").read_text("utf-8"))
    names = [[line["mark"] for line in lines if line["path"] == n] for n in ("quick", "slow")]
    assert sorted(names[0]) == sorted(names[1])
    assert {"committed", "speech.end", "heard.first", "heard.last"} <= set(names[0])
    assert len({line["session"] for line in lines}) == 2


def test_a_key_switches_in_the_middle_of_a_reply_without_a_click(tmp_path: Path) -> None:
    outcome = hold(tmp_path, two(), {2.6: "2"})
    pressed = 2.6 + 0.03
    assert share(cut(outcome, END_S + 0.4, 2.59), LOW) > 0.98
    assert share(cut(outcome, pressed + BLOCK_S + 0.015, 3.9), HIGH) > 0.98
    steps = np.abs(np.diff(outcome.out.astype(int))).max()
    own = LOUD * 2 * np.pi * HIGH / RATE
    assert steps <= own + 2 * LOUD / (FADE_S * RATE) + 2
    assert outcome.screen.heard == 1
    assert "now heard: slow" in outcome.said


def test_switching_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = hold(tmp_path, two(), {2.4: "2", 2.7: "1", 3.0: "2"})
    assert share(cut(outcome, 2.48, 2.69), HIGH) > 0.98
    assert share(cut(outcome, 2.78, 2.99), LOW) > 0.98
    assert share(cut(outcome, 3.08, 3.9), HIGH) > 0.98
    switched = [e for e in json_lines(capsys.readouterr().out) if e["type"] == "switched"]
    assert [event["path"] for event in switched] == ["slow", "quick", "slow"]


def test_q_ends_it(tmp_path: Path) -> None:
    outcome = hold(tmp_path, two(), {2.5: "q"})
    assert outcome.code == 0
    assert len(outcome.out) / RATE == pytest.approx(2.5, abs=0.1)


def test_nobody_is_heard_before_all_are_there(tmp_path: Path) -> None:
    ways = [Humming("quick", LOW, 300), Humming("late", HIGH, 300, connects_s=2.0)]
    outcome = hold(tmp_path, ways)
    heard = [[frame.samples.tobytes() for frame in way.spy.frames] for way in ways]
    assert heard[0] == heard[1]
    assert [len(pane.latencies_ms) for pane in outcome.screen.panes] == [1, 1]


def test_q_ends_it_while_a_path_still_connects(tmp_path: Path) -> None:
    ways = [Humming("quick", LOW, 300), Humming("late", HIGH, 300, connects_s=1000.0)]
    outcome = hold(tmp_path, ways, {1.0: "q"})
    assert outcome.code == 0
    assert len(outcome.out) == 0


def test_without_a_terminal_it_is_said_once_that_no_key_switches(
    held: Held, tmp_path: Path
) -> None:
    outcome = hold(tmp_path, two(), None)
    assert outcome.said.count("no key switches") == 1
    assert "Tab" not in outcome.said
    assert "1 2 or Tab: hear another path · q: end" in held[1].said


def test_events_of_both_are_told_with_their_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick, slow = two()
    slow.simulated = True
    hold(tmp_path, [quick, slow])
    told = json_lines(capsys.readouterr().out)
    by_path = {
        name: [line["type"] for line in told if line["path"] == name] for name in ("quick", "slow")
    }
    assert by_path["quick"] == by_path["slow"]
    assert by_path["quick"][0] == "speech_started"
    assert by_path["quick"][-1] == "reply_done"
    assert {line["path"]: line.get("simulated") for line in told} == {"quick": None, "slow": True}
    lines = json_lines((tmp_path / "trace").read_text("utf-8"))[1:]
    assert {line["path"]: line.get("simulated") for line in lines} == {"quick": None, "slow": True}


def test_a_simulation_is_called_one_in_every_line(tmp_path: Path) -> None:
    quick, slow = two()
    slow.simulated = True
    said = hold(tmp_path, [quick, slow], {2.5: "2"}).said
    mentions = [line for line in said.splitlines() if "slow" in line]
    assert len(mentions) > 4
    assert all("slow [SIMULATED]" in line for line in mentions if "Tab" not in line), mentions
    assert not any("quick [SIMULATED]" in line for line in said.splitlines())


def test_a_path_that_cannot_be_had_leaves_the_other(tmp_path: Path) -> None:
    refused = Humming("refused", HIGH, 100, refuses="the key is refused (401); set OPENAI_API_KEY")
    outcome = hold(tmp_path, [refused, Humming("works", LOW, 300)])
    assert outcome.code == 1
    assert "error: refused: the key is refused (401); set OPENAI_API_KEY" in outcome.said
    # The one that was to be heard is not there: the other one is.
    assert outcome.screen.heard == 1
    assert share(cut(outcome, END_S + 0.4, END_S + 2.2), LOW) > 0.98


def test_a_path_that_breaks_off_leaves_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Humming("broken", HIGH, 100, breaks="the connection was lost")
    outcome = hold(tmp_path, [broken, Humming("works", LOW, 300)])
    assert outcome.code == 1
    assert outcome.said.count("error: broken: the connection was lost") == 1
    assert outcome.screen.panes[0].failed == "the connection was lost"
    assert share(cut(outcome, END_S + 0.2, END_S + 0.35), HIGH) > 0.98
    assert share(cut(outcome, END_S + 0.6, END_S + 2.2), LOW) > 0.98
    told = json_lines(capsys.readouterr().out)
    (failed,) = [line for line in told if line["type"] == "path_failed"]
    assert failed == {
        "type": "path_failed",
        "message": "the connection was lost",
        "path": "broken",
    }
    done = [line["path"] for line in told if line["type"] == "reply_done"]
    assert done == ["works"]
    # Nor does one that nobody hears take anybody along.
    unheard = hold(tmp_path, [Humming("works", LOW, 300), Humming("lost", HIGH, 100, breaks="x")])
    assert (unheard.code, unheard.screen.heard) == (1, 0)
    assert share(cut(unheard, END_S + 0.4, END_S + 2.2), LOW) > 0.98


def test_it_ends_when_no_path_is_left(tmp_path: Path) -> None:
    ways = [Humming(name, LOW, 100, refuses="is gone") for name in ("one", "two")]
    outcome = hold(tmp_path, ways)
    assert outcome.code == 1
    assert outcome.said.count("is gone") == 2


def test_a_turn_that_fails_is_told_and_leaves_the_path(tmp_path: Path) -> None:
    ways = two(answers=[Answer(fails="the model is tired")])
    outcome = hold(tmp_path, [ways[0], Humming("works", LOW, 300)])
    assert outcome.code == 1
    assert "turn 1: direct: the model is tired" in outcome.said
    assert not outcome.screen.panes[0].failed


def test_speaking_over_the_reply_reaches_both(tmp_path: Path) -> None:
    over_s = 3.0
    ways = two(answers=[Answer(seconds=10), Answer(seconds=0.5)], ends_s=[SPEECH_S, SPEECH_S])
    outcome = hold(tmp_path, ways, starts_s=(LEAD_S, over_s))
    assert outcome.code == 0
    for way in ways:
        assert way.spy.interrupted == [pytest.approx(over_s, abs=2 * BLOCK_S)]
        # What it is told at the end is what had been played by then.
        cut_off = [n for at, n in way.spy.positions if over_s <= at < over_s + 0.5][-1]
        latency_s = way.latency_ms / 1000
        assert cut_off / RATE == pytest.approx(over_s - END_S - latency_s, abs=3 * BLOCK_S)
    assert not cut(outcome, over_s + 0.1, over_s + SPEECH_S + 0.25).any()
    assert share(cut(outcome, over_s + SPEECH_S + 0.35, over_s + SPEECH_S + 0.75), LOW) > 0.98


def test_a_mute_path_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    mute = Humming("mute", HIGH, 100, answers=[Answer(mute=True)])
    outcome = hold(tmp_path, [Humming("works", LOW, 300), mute])
    assert outcome.code == 0
    assert 60 < len(outcome.out) / RATE < 66


def test_a_device_that_is_gone_ends_it(tmp_path: Path) -> None:
    def unplug(ends: Ends) -> None:
        async def watch() -> None:
            await asyncio.sleep(1)
            raise StageError("audio", "loudspeaker: is gone", fatal=True)

        ends.watch = watch  # type: ignore[method-assign]

    with pytest.raises(StageError, match="loudspeaker: is gone"):
        hold(tmp_path, two(), before=unplug)


def test_a_disk_that_is_full_is_no_end(tmp_path: Path) -> None:
    def fill(ends: Ends) -> None:
        ends.failed = True

    outcome = hold(tmp_path, two(), before=fill)
    assert outcome.code == 1
    assert outcome.out.any()


def test_the_words_are_on_plain_lines(held: Held) -> None:
    for name in ("quick", "slow"):
        assert f"{name}    you  what was said" in held[1].said
        assert f"{name}  reply  Here you are." in held[1].said
