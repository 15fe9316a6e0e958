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
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from figures import Aims, median, p90, run_bench, show, show_machine
from orders import REST_S, Recording, recordings
from sounds import RATE
from studio import ROOT, Outside, Play, Program, Studio, Talk, cpu_s
from support.cli_child import memory
from support.pulse import RATE as MIC_RATE

from pipeline.clock import NS_PER_S
from pipeline.measure.instrument import begin_of
from pipeline.measure.record import wasted
from pipeline.trace import PARTS, Timeline

SHORT = {"CASCADE_LLM__MAX_TOKENS": "24"}
"""Replies of a sentence: how they begin is measured, and nobody waits for the rest."""

SILENCE_S = 60.0
"""So long nothing is said at the beginning of a conversation (s), to see what that costs: a whole
minute, for what rests does so only after a while."""

LATE_NS = 10 * NS_PER_S
"""A reply that has not begun so long after the speech is none."""

OVER_AT_LAST_S = 30.0
"""A reply that has not ended so long after the recording will not (s)."""

OVER_S = 1.5
"""A loudspeaker that is silent for so long has no more to say (s)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a recording was answered.

    Attributes:
        name: Of the recording.
        cut: Whether a turn with words was ended before the speech was.
        total_ms: Voice-to-voice, from outside; None: it was cut into, or got no reply.
        endpoint_ms: Of it the wait for the end of the turn: until it was committed.
        timeline: What the trace says.
        thrown_away: Answers that were begun and not given.
        wasted_s: Sound made for them (s).
    """

    name: str
    cut: bool
    total_ms: float | None
    endpoint_ms: float
    timeline: Timeline | None
    thrown_away: float
    wasted_s: float


@dataclass(slots=True)
class Found:
    """What was found of one build.

    Attributes:
        answers: To each recording, in each round.
        listening_s: From the command to "listening", of each conversation (s).
        cpu_s: CPU time of the process for each recording, its reply included (s).
        loop_ms: Of that, the event loop's thread (ms).
        shares_ms: Of that, the voice detector, being woken by devices and others, and all else,
            which is our own (ms); none of an older build.
        silence_s: CPU time of the process in a minute of silence (s).
        memory_mb: The most memory that each conversation took (MB).
    """

    answers: list[Answer] = field(default_factory=list)
    listening_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    loop_ms: list[float] = field(default_factory=list)
    shares_ms: list[tuple[float, float, float]] = field(default_factory=list)
    silence_s: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


@contextmanager
def builds(commits: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Trees of some commits, each with this one's models, and this tree itself."""
    with tempfile.TemporaryDirectory(prefix="cascade-builds-") as name:
        trees = {}
        for commit in commits:
            tree = trees[commit] = Path(name) / commit.replace("/", "-")
            packed = Path(name) / "packed.tar"
            subprocess.run(["git", "archive", "--output", packed, commit], cwd=ROOT, check=True)
            shutil.unpack_archive(packed, tree, filter="data")
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
        found.silence_s.append(cpu_s(talk.pid)[0] - before)
        for one in asked:
            (before, loop_before), shares = cpu_s(talk.pid), talk.loop_ms()
            plays.append(talk.ask(one.name, one.samples, OVER_AT_LAST_S))
            after, loop_after = cpu_s(talk.pid)
            found.cpu_s.append(after - before)
            found.loop_ms.append(1000 * (loop_after - loop_before))
            if shares is not None and (now := talk.loop_ms()) is not None:
                loop, voice, waking = now - shares
                found.shares_ms.append((voice, waking, loop - voice - waking))
        found.memory_mb.append(memory(talk.pid, "VmHWM") / 1e6)
    for one, play in zip(asked, plays, strict=True):
        found.answers.append(_answer(outside[0], talk, one, play))


def hold_beside(studio: Studio, command: str, asked: Sequence[Recording], found: Found) -> None:
    """A conversation with another program, of which no more is known than what is heard."""
    plays = []
    with (
        studio.recording() as outside,
        Program(studio, shlex.split(command), os.environ) as program,
    ):
        found.listening_s.append(program.listening_s)
        for one in asked:
            plays.append(studio.play(one.name, one.samples))
            time.sleep(LATE_NS / NS_PER_S - REST_S)
            program.wait(lambda: studio.silent(OVER_S), "is silent")
    for one, play in zip(asked, plays, strict=True):
        begin_ns, end_ns = _speech(outside[0], one, play)
        early = outside[0].reply_after(begin_ns, end_ns) is not None
        reply = outside[0].reply_after(end_ns, end_ns + LATE_NS)
        total_ms = (reply - end_ns) / 1e6 if reply is not None and not early else None
        found.answers.append(Answer(one.name, early, total_ms, 0.0, None, 0, 0.0))


def _speech(outside: Outside, one: Recording, play: Play) -> tuple[int, int]:
    """When the microphone heard a recording begin, and the end of its speech (ns)."""
    heard = outside.mic.between(play.start_ns, play.end_ns + NS_PER_S)
    begin_ns = heard.at(begin_of(one.samples, heard.samples, MIC_RATE))
    return begin_ns, begin_ns + one.end * NS_PER_S // RATE


def _answer(outside: Outside, talk: Talk, one: Recording, play: Play) -> Answer:
    begin_ns, end_ns = _speech(outside, one, play)
    turns = {
        turn: marks
        for turn, marks in talk.turns().items()
        if begin_ns < marks.get("speech.start", 0) < end_ns
    }
    early = [t for t, marks in turns.items() if marks.get("committed", end_ns) < end_ns]
    final = [e for e in talk.events() if e["type"] == "transcript" and e["final"]]
    words = {e["turn"] for e in final if e["text"]}
    thrown = wasted(line for line in talk.trace() if line["turn"] in turns)
    last = turns[max(turns)] if turns else {}
    reply = outside.reply_after(end_ns, end_ns + LATE_NS)
    whole = not early and reply is not None and "committed" in last
    return Answer(
        one.name,
        bool(words.intersection(early)),
        (reply - end_ns) / 1e6 if whole and reply is not None else None,
        (last.get("committed", end_ns) - end_ns) / 1e6,
        Timeline.from_marks(last) if whole else None,
        thrown.get("attempts", 0),
        thrown.get("speech_ms", 0) / 1000,
    )


def _print(name: str, found: Found) -> None:
    answers = found.answers
    given = [one for one in answers if one.total_ms is not None]
    cut_into = [one.name for one in answers if one.cut]
    lost = [one.name for one in answers if one.total_ms is None and not one.cut]
    print(f" {name}: {len(answers)} recordings")
    show("voice-to-voice", [one.total_ms for one in given], "ms", every=True)
    print(f"  cut into: {len(cut_into)} of {len(answers)}  {', '.join(sorted(cut_into))}")
    print(f"  without a reply: {len(lost)}  {', '.join(sorted(lost))}")
    show("from the command to listening", found.listening_s, "s")
    if not found.cpu_s:
        return
    show("  endpoint: until committed", [one.endpoint_ms for one in given], "ms", every=True)
    show("  from there", [_rest(one) for one in given], "ms", every=True)
    for part in PARTS[1:]:
        times = [one.timeline.parts[part] / 1e6 for one in given if one.timeline]
        show(f"      {part} (the trace's)", times, "ms")
    show("answers begun and thrown away, a turn", [one.thrown_away for one in answers], "")
    show("  their sound", [one.wasted_s for one in answers], "s")
    show("CPU, a turn", found.cpu_s, "s")
    show("  of it the event loop", found.loop_ms, "ms")
    for share, name in enumerate(("the voice detector", "being woken", "our own")):
        show(f"      {name}", [each[share] for each in found.shares_ms], "ms")
    show("CPU, a minute of silence", found.silence_s, "s")
    show("memory, at most", found.memory_mb, "MB")


def _rest(one: Answer) -> float:
    return (one.total_ms or 0.0) - one.endpoint_ms


def _median(found: Found) -> float | None:
    return median(one.total_ms for one in found.answers if one.total_ms is not None)


def _judge(found: dict[str, Found], aims: Aims) -> None:
    mine = [one for one in found["this"].answers if one.total_ms is not None]
    aims.most("voice-to-voice, median", _median(found["this"]), 400, "ms")
    aims.most("voice-to-voice, p90", p90(one.total_ms for one in mine), 520, "ms")
    aims.most("after the endpoint, median", median(map(_rest, mine)), 60, "ms")
    own = median(own for _, _, own in found["this"].shares_ms)
    aims.most("our own CPU, a turn, median", own, 40, "ms")
    aims.most("CPU, a minute of silence, median", median(found["this"].silence_s), 1.0, "s")
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
    show_machine()
    asked: list[Recording] = []
    for folder in options.folders:
        these = recordings(folder)
        step = max(1, len(these) // options.most) if options.most else 1
        asked += these[::step][: options.most or None]
    print(f"voice-to-voice, at the sound server: {len(asked)} recordings of people")
    with builds(options.against) as trees, Studio() as studio:
        found = {name: Found() for name in [*options.beside, *trees]}
        for number in range(options.rounds):
            for name in found if number % 2 == 0 else reversed(found):
                if name in trees:
                    hold(studio, trees[name], asked, found[name])
                else:
                    hold_beside(studio, name, asked, found[name])
    mine = _median(found["this"])
    for name, one in found.items():
        _print(name, one)
        if name != "this" and mine and (theirs := _median(one)):
            print(f"  this build's median voice-to-voice is {mine / theirs:.2f} of it")
    aims = Aims()
    _judge(found, aims)
    aims.show()


run_bench(main)
