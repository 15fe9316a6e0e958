"""How soon people are answered, and what that costs: `scripts/bench people FOLDER…`.

Recordings of people are played into the microphone of a running `cascade talk`, with the default
models, and its loudspeaker is recorded: both at a private sound server, from outside. Where a
recording's speech ends is known from its file. Several builds take turns in one run (`--against`),
and other programs (`--beside`), so that a machine whose speed drifts does the same to all.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import sounds
from figures import Aims, median, quantile, show, show_all, show_machine
from orders import REST_S, surrounded
from studio import HANG_S, ROOT, Outside, Play, Studio, Talk, cpu_s, cut
from support.cli_child import memory
from support.pulse import RATE as MIC_RATE

from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_S
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.wav import begin_of
from pipeline.trace import PARTS, Timeline
from pipeline.turns.speech_end import end_of_speech

RATE = 16_000

SHORT = {"CASCADE_LLM__MAX_TOKENS": "24"}
"""Replies of a sentence: how they begin is measured, and nobody waits for the rest."""

SILENCE_S = 20.0
"""So long nothing is said at the beginning of a conversation (s), to see what that costs."""

LATE_NS = 10 * NS_PER_S
"""A reply that has not begun so long after the speech is none."""

OVER_S = 1.5
"""A loudspeaker that is silent for so long has no more to say (s)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What somebody says, with quiet around it: 16 kHz.

    Attributes:
        name: Its folder's name and its own.
        samples: The sound.
        end: One past the last sample of speech.
    """

    name: str
    samples: Samples
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """How a recording was answered.

    Attributes:
        name: Of the recording.
        cut: Whether a turn with words was ended before the speech was; of another program, whether
            it was heard before.
        total_ms: Voice-to-voice, from outside; None: it was cut into, or got no reply.
        endpoint_ms: Of it the wait for the end of the turn: until it was committed. This and what
            follows is not known of another program.
        timeline: What the trace says.
        thrown_away: Answers that were begun and not given.
        wasted_s: Sound made for them (s).
    """

    name: str
    cut: bool
    total_ms: float | None
    endpoint_ms: float
    timeline: Timeline | None
    thrown_away: int
    wasted_s: float


@dataclass(slots=True)
class Found:
    """What was found of one build, or of another program: of that, only how it answered.

    Attributes:
        answers: To each recording, in each round.
        listening_s: From the command to "listening", of each conversation (s).
        cpu_s: CPU time of the process for each recording, its reply included (s).
        loop_ms: Of that, the event loop's thread (ms).
        silence_s: CPU time of the process in a minute of silence (s).
        memory_mb: The most memory that each conversation took (MB).
    """

    answers: list[Answer] = field(default_factory=list)
    listening_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    loop_ms: list[float] = field(default_factory=list)
    silence_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def recordings(folders: Iterable[Path], most: int) -> Iterator[Recording]:
    """The recordings of people in some folders whose end of speech can be told.

    Args:
        folders: What is no sound in them is left out.
        most: So many of each folder, spread over it; 0: all.
    """
    for folder in folders:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        mine = [one for path in paths if (one := _recording(path)) is not None]
        step = max(1, len(mine) // most) if most else 1
        yield from mine[::step][: most or None]


def _recording(path: Path) -> Recording | None:
    try:
        samples = surrounded(sounds.read(path))
    except (BadInput, OSError):
        return None
    end = end_of_speech(samples, RATE)
    if end is None or not end.measurable:
        return None
    return Recording(f"{path.parent.name}/{path.name}", samples, end.end)


@contextmanager
def builds(commits: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Trees of some commits, each with this one's models, and this tree itself."""
    with tempfile.TemporaryDirectory(prefix="cascade-builds-") as name:
        trees = {}
        for commit in commits:
            tree = trees[commit] = Path(name) / commit.replace("/", "-")
            packed = subprocess.run(
                ["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True
            )
            with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
                archive.extractall(tree, filter="data")
            for model in (ROOT / "models").iterdir():
                if not (tree / "models" / model.name).exists():
                    (tree / "models" / model.name).symlink_to(model)
        yield {**trees, "this": ROOT}


def hold(studio: Studio, tree: Path, asked: Sequence[Recording], found: Found) -> None:
    """A conversation with one build: ask everything, and note how it was answered."""
    plays = []
    with studio.recording() as outside, Talk(studio, env=SHORT, tree=tree) as talk:
        found.listening_s.append(talk.listening_s)
        before, _ = cpu_s(talk.pid)
        time.sleep(SILENCE_S)
        found.silence_s.append((cpu_s(talk.pid)[0] - before) * 60 / SILENCE_S)
        for one in asked:
            before, loop = cpu_s(talk.pid)
            plays.append(talk.ask(one.name, one.samples))
            after, loop_after = cpu_s(talk.pid)
            found.cpu_s.append(after - before)
            found.loop_ms.append(1000 * (loop_after - loop))
        found.memory_mb.append(memory(talk.pid, "VmHWM") / 1e6)
    for one, play in zip(asked, plays, strict=True):
        found.answers.append(_answer(outside[0], studio, talk, one, play))


def hold_beside(studio: Studio, command: str, asked: Sequence[Recording], found: Found) -> None:
    """A conversation with another program, of which no more is known than what is heard."""
    plays = []
    with studio.recording() as outside, _running(studio, command) as listening_s:
        found.listening_s.append(listening_s)
        for one in asked:
            plays.append(studio.play(one.name, one.samples))
            time.sleep(LATE_NS / NS_PER_S - REST_S)
            until = time.monotonic() + HANG_S
            while not studio.silent(OVER_S) and time.monotonic() < until:
                pass
    for one, play in zip(asked, plays, strict=True):
        begin_ns, end_ns = _speech(outside[0], studio, one, play)
        early = outside[0].reply_after(begin_ns, end_ns) is not None
        reply = outside[0].reply_after(end_ns, end_ns + LATE_NS)
        total_ms = (reply - end_ns) / 1e6 if reply is not None and not early else None
        found.answers.append(Answer(one.name, early, total_ms, 0.0, None, 0, 0.0))


@contextmanager
def _running(studio: Studio, command: str) -> Iterator[float]:
    """A program on the devices, and how long after the command it was listening (s)."""
    errors = studio.folder() / "errors"
    began = time.monotonic()
    with errors.open("wb") as file:
        child = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            env={**os.environ, **studio.devices},
        )
    try:
        while b"listening" not in errors.read_bytes():
            if child.poll() is not None or time.monotonic() > began + HANG_S:
                said = errors.read_text("utf-8", "replace")[-2000:]
                raise SystemExit(f"bench: {command} never says that it is listening, but:\n{said}")
            time.sleep(0.01)
        yield time.monotonic() - began
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(HANG_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _speech(outside: Outside, studio: Studio, one: Recording, play: Play) -> tuple[int, int]:
    """When the microphone heard a recording begin, and the end of its speech (ns)."""
    path = studio.folder() / "played.wav"
    with WavWriter(path, RATE) as wav:
        wav.write(one.samples)
    heard = cut(outside.mic, play.start_ns, play.end_ns + NS_PER_S)
    begin_ns = play.start_ns + begin_of(path, heard, MIC_RATE) * NS_PER_S // MIC_RATE
    return begin_ns, begin_ns + one.end * NS_PER_S // RATE


def _answer(outside: Outside, studio: Studio, talk: Talk, one: Recording, play: Play) -> Answer:
    begin_ns, end_ns = _speech(outside, studio, one, play)
    turns = {
        turn: marks
        for turn, marks in talk.turns().items()
        if begin_ns < marks.get("speech.start", 0) < end_ns
    }
    early = [t for t, marks in turns.items() if marks.get("committed", end_ns) < end_ns]
    words = {e["turn"] for e in talk.events if e["type"] == "transcript" and e["text"]}
    thrown = [
        line for line in talk.trace() if line["mark"] == "discarded" and line["turn"] in turns
    ]
    last = turns[max(turns)] if turns else {}
    reply = outside.reply_after(end_ns, end_ns + LATE_NS)
    whole = not early and reply is not None and "committed" in last
    return Answer(
        one.name,
        bool(words.intersection(early)),
        (reply - end_ns) / 1e6 if whole and reply is not None else None,
        (last.get("committed", end_ns) - end_ns) / 1e6,
        Timeline.from_marks(last) if whole else None,
        len(thrown),
        sum(line["speech_ms"] for line in thrown) / 1000,
    )


def _print(name: str, found: Found) -> None:
    answers = found.answers
    given = [one for one in answers if one.total_ms is not None]
    cut_into = [one.name for one in answers if one.cut]
    lost = [one.name for one in answers if one.total_ms is None and not one.cut]
    print(f" {name}: {len(answers)} recordings")
    show_all("voice-to-voice", [one.total_ms or 0.0 for one in given], "ms")
    print(f"  cut into: {len(cut_into)} of {len(answers)}  {', '.join(sorted(cut_into))}")
    print(f"  without a reply: {len(lost)}  {', '.join(sorted(lost))}")
    show("from the command to listening", found.listening_s, "s")
    if not found.cpu_s:
        return
    show_all("  endpoint: until committed", [one.endpoint_ms for one in given], "ms")
    show_all("  from there", [_rest(one) for one in given], "ms")
    for part in PARTS[1:]:
        times = [one.timeline.parts[part] / 1e6 for one in given if one.timeline]
        show(f"      {part} (the trace's)", times, "ms")
    show("answers begun and thrown away, a turn", [one.thrown_away for one in answers], "")
    show("  their sound", [one.wasted_s for one in answers], "s")
    show("CPU, a turn", found.cpu_s, "s")
    show("  of it the event loop", found.loop_ms, "ms")
    show("CPU, a minute of silence", found.silence_s, "s")
    show("memory, at most", found.memory_mb, "MB")


def _rest(one: Answer) -> float:
    return (one.total_ms or 0.0) - one.endpoint_ms


def _totals(found: Found) -> list[float]:
    return [one.total_ms for one in found.answers if one.total_ms is not None]


def _judge(found: dict[str, Found], aims: Aims) -> None:
    mine = [one for one in found["this"].answers if one.total_ms is not None]
    totals = _totals(found["this"])
    aims.most("voice-to-voice, median", median(totals), 400, "ms")
    aims.most("voice-to-voice, p90", quantile(totals, 0.9) if totals else None, 520, "ms")
    aims.most("after the endpoint, median", median([_rest(one) for one in mine]), 60, "ms")
    aims.most("memory", max(found["this"].memory_mb), 500, "MB")
    aims.most("from the command to listening, median", median(found["this"].listening_s), 2.5, "s")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench people", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of recordings")
    parser.add_argument("--rounds", type=int, default=1, help="repetitions (default 1)")
    parser.add_argument(
        "--most", type=int, default=0, help="so many recordings of each folder (default all)"
    )
    parser.add_argument(
        "--against", action="append", default=[], metavar="COMMIT", help="another build, in turn"
    )
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="COMMAND",
        help="another program, in turn: it uses the default microphone and loudspeaker, says "
        '"listening" on stderr once it is, and ends on Ctrl-C',
    )
    options = parser.parse_args()
    folders = [folder.resolve() for folder in options.folders]
    if unknown := [str(folder) for folder in folders if not folder.is_dir()]:
        parser.error(f"no folder: {', '.join(unknown)}")
    os.chdir(ROOT)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    show_machine()
    asked = list(recordings(folders, options.most))
    print(f"voice-to-voice, at the sound server: {len(asked)} recordings of people")
    with builds(options.against) as trees, Studio() as studio:
        found = {name: Found() for name in [*options.beside, *trees]}
        for number in range(options.rounds):
            for name in found if number % 2 == 0 else reversed(found):
                if name in trees:
                    hold(studio, trees[name], asked, found[name])
                else:
                    hold_beside(studio, name, asked, found[name])
    mine = median(_totals(found["this"]))
    for name, one in found.items():
        _print(name, one)
        if name != "this" and mine and (theirs := median(_totals(one))):
            print(f"  this build's median voice-to-voice is {mine / theirs:.2f} of it")
    aims = Aims()
    _judge(found, aims)
    aims.show()


if __name__ == "__main__":
    main()
