"""How turns are taken with people: `scripts/bench turns orders FOLDER`.

Each recording is played to a session in virtual time, in which real engines hear it (`ears`).
Models and settings are the defaults, or the environment's.

The recordings are divided by a hash of their names: the weights of `end_of_turn` were fitted on the
one half (by `scripts/people.py` of commit 2ef0025), and are reported on the other.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sounds
from ears import Ears, play
from figures import Aims, median, p90
from sounds import RATE, read, sounds_in

from pipeline.config import Settings
from pipeline.conversation.history import Message
from pipeline.engines.vad import WINDOW
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.stats import share
from pipeline.turns.speech_end import end_of_speech

LEAD_S, REST_S = 0.5, 3.5
"""Quiet before and after each recording (s): longer than any hold."""

QUIET_DBFS = -80.0
"""RMS of it: no digital silence, which no microphone gives."""

QUESTION = "For how long do you need the room?"
"""What the assistant has asked before a short answer."""

PHRASES = ("google", "rhasspy", "mycroft", "speech_commands")
"""Folders of short utterances, beside the one that is measured."""

DEMANDS = ("stop", "no", "wait")
"""Beginnings of the names of recordings that ask for the turn, in `speech_commands`."""

EXCERPT = 5 * RATE
"""So much of a sound is played over a reply (samples)."""

SOFTER_DB = -10.0
"""And at this gain (dB) once more."""

SIGNS_OF_PEOPLE = (
    ("pyannote/dev00.wav", 29.8, 30.0),
    ("pyannote/trn04.wav", 14.2, 14.9),
    ("pyannote/trn04.wav", 15.9, 16.4),
    ("pyannote/trn04.wav", 25.2, 25.65),
    ("pyannote/tst01.wav", 9.75, 10.1),
    ("pyannote/tst01.wav", 29.0, 29.4),
)
"""Where in conversations somebody laughs, or says "okay", "mm-hm", "hm", "yeah", "oh" (s)."""


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

    @property
    def half(self) -> str:
        """Which half it is in: `fit` or `report`."""
        return "fit" if zlib.crc32(self.name.encode()) % 2 else "report"


def recordings(folder: Path) -> list[Recording]:
    """Those in a folder whose end of speech can be told; what is no sound is left out.

    Raises:
        BadInput: There is none.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: there is no such folder; name one of recordings, a request each")
    found = []
    for path, sound in sounds_in(folder):
        samples = surrounded(sound)
        end = end_of_speech(samples, RATE)
        if end is not None and end.measurable:
            found.append(Recording(f"{folder.name}/{path.name}", samples, end.end))
    if not found:
        raise BadInput(f"{folder}: has no recordings of requests; name a folder that holds them")
    return found


def surrounded(sound: Samples) -> Samples:
    """A sound with quiet before and after it."""
    draw = np.random.default_rng(1)
    lead, rest = (sounds.quiet(seconds, QUIET_DBFS, draw) for seconds in (LEAD_S, REST_S))
    return np.concatenate([lead, sound, rest])


STORY = "one two three four five six seven eight nine ten " * 8
"""What the assistant is saying when a sound comes over it: half a minute."""

OVER_S = 2.0
"""The sound comes so long after the beginning of the session (s), well within the reply."""


def interrupted(ears: Ears, sound: Samples) -> float | None:
    """How long after its first sample a sound over a reply stopped that (s); None: it did not."""
    settings = ears.settings
    talks = settings.turns.model_copy(update={"idle_s": 0.2, "idle_text": STORY})
    quiet = np.zeros(int((OVER_S - LEAD_S) * RATE), np.int16)
    samples = surrounded(np.concatenate([quiet, sound]))
    found = play(ears, samples, settings.model_copy(update={"turns": talks}))
    if found.replied is None or found.replied > OVER_S:
        raise RuntimeError("no reply was under way")
    return min(found.interrupted) - OVER_S if found.interrupted else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the turn of a recording was ended.

    Attributes:
        recording: Which one.
        cut: What was heard of each turn that was ended before the speech was, and its probability.
        empty: How many turns had no words.
        delay_ms: From the end of the speech to the end of the turn; None: it never ended.
    """

    recording: Recording
    cut: tuple[str, ...]
    empty: int
    delay_ms: float | None


def outcome(ears: Ears, recording: Recording, history: Sequence[Message] = ()) -> Outcome:
    """What a session makes of a recording."""
    turns, end = play(ears, recording.samples, ears.settings, history).turns, recording.end / RATE
    early = [taken for taken in turns if taken.ended < end]
    late = [taken.ended - end for taken in turns if taken.ended >= end]
    return Outcome(
        recording,
        tuple(f"{taken.text!r} (p = {taken.probability})" for taken in early if taken.text),
        sum(not taken.text for taken in turns),
        1000 * late[0] if late else None,
    )


def people(settings: Settings, aims: Aims, folder: Path, *, quick: bool) -> None:
    """Measure and print.

    Args:
        settings: Of the sessions.
        aims: Takes what was aimed at.
        folder: Recordings of people, one request each. Beside it may be `PHRASES` and `noise`.
        quick: Only every fourth.

    Raises:
        BadInput: There are none.
    """
    few = slice(None, None, 4 if quick else 1)
    asked = recordings(folder)[few]
    beside = [folder.parent / name for name in PHRASES if (folder.parent / name).is_dir()]
    short = [one for path in beside for one in recordings(path)][few]
    with Ears(settings) as ears:
        orders(ears, asked, aims)
        if short:
            short_answers(ears, short, aims)
        interruptions(ears, folder.parent, aims, few)


def orders(ears: Ears, found: Sequence[Recording], aims: Aims) -> None:
    """Cut-ins, turns without words and the delay, of each half."""
    outcomes = [outcome(ears, one) for one in found]
    print("people: one request a recording, default settings")
    for name in ("fit", "report", "all"):
        tell(name, [one for one in outcomes if name in (one.recording.half, "all")])
    for one in outcomes:
        if one.cut:
            print(f"    cut into: {one.recording.name}: {'; '.join(one.cut)}")
        if one.empty:
            print(f"    a turn without words: {one.recording.name}")
        if one.delay_ms is None:
            print(f"    never ended: {one.recording.name}")
    aims.most("people cut into", 100 * sum(bool(o.cut) for o in outcomes) / len(outcomes), 3, "%")
    aims.most("people, endpoint, median", median(o.delay_ms for o in outcomes), 400, "ms")
    aims.most("turns without words", sum(one.empty for one in outcomes), 0)


def tell(name: str, outcomes: Sequence[Outcome]) -> None:
    """A line about some recordings: how many were cut into, turns without words, the delay."""
    delays = [one.delay_ms for one in outcomes]
    cut, empty = sum(bool(one.cut) for one in outcomes), sum(one.empty for one in outcomes)
    print(f"  {name:<18} n = {len(outcomes):<4} cut into {cut}, without words {empty}, ", end="")
    print(f"delay {median(delays) or 0:.0f} ms, p90 {p90(delays) or 0:.0f} ms")


def short_answers(ears: Ears, found: Sequence[Recording], aims: Aims) -> None:
    """The delay after short phrases: after a question of the assistant's, and elsewhere."""
    asked = (Message("user", "Book a room.", 1), Message("assistant", QUESTION, 1))
    print(f"short phrases ({', '.join(PHRASES)}), n = {len(found)}")
    for name, history, aim in (("after a question", asked, 700), ("elsewhere", (), 1000)):
        outcomes = [outcome(ears, one, history) for one in found]
        tell(name, outcomes)
        slow = sorted(outcomes, key=lambda one: -(one.delay_ms or 9999))[:5]
        shown = (f"{one.recording.name} {one.delay_ms or 0:.0f}" for one in slow)
        print(f"    slowest: {', '.join(shown)}")
        late = median(one.delay_ms for one in outcomes)
        aims.most(f"short phrases, {name}, median", late, aim, "ms")


def interruptions(ears: Ears, beside: Path, aims: Aims, few: slice) -> None:
    """What ends a reply: sounds that ask for nothing must not, demands must, and soon."""
    kinds = {kind: found[few] for kind, found in _asking_nothing(beside).items()}
    print(f"sounds over a reply that ask for nothing, at their level and {-SOFTER_DB:.0f} dB below")
    ended: list[bool] = []
    for kind, found in kinds.items():
        over = [
            (name, gain_db, interrupted(ears, sounds.amplified(sound, gain_db)))
            for name, sound in found
            for gain_db in (0.0, SOFTER_DB)
        ]
        mine = [f"{name} {db:+.0f} dB after {s:.1f} s" for name, db, s in over if s is not None]
        print(f"  {kind:<34} {len(mine):>3} of {len(over):>3} ended it", *mine, sep="\n    ")
        ended += [s is not None for _, _, s in over]
    of = share(ended)
    if of["ci95"] is not None and of["share"] is not None:
        told = f"{of['met']} of {of['n']} ended the reply: at most {100 * of['ci95'][1]:.1f} %"
        print(f"  {told}, with 95 % confidence")
        aims.most("replies ended by what asks for nothing", 100 * of["share"], 2, "%")
    if not (digits := beside / "fsdd_digits_8k").is_dir():
        return
    words_one_by_one(ears, digits, aims)
    demands(ears, beside / "speech_commands", aims)


def words_one_by_one(ears: Ears, digits: Path, aims: Aims) -> None:
    """Three digits over a reply, each by itself: they must end it."""
    paths = sorted(digits.iterdir())
    missed, after_s, n = [], [], 0
    for pause_s in (0.5, 1.0):
        quiet = np.zeros(int(pause_s * RATE), np.int16)
        for first in range(0, len(paths), 2):
            three = [paths[(5 * first + 4 * k) % len(paths)] for k in range(3)]
            sound = np.concatenate([part for path in three for part in (read(path), quiet)])
            after = interrupted(ears, sound)
            n += 1
            if after is None:
                missed.append(" ".join(path.stem.split("_")[0] for path in three))
            else:
                after_s.append(after)
    print(f"three digits over a reply, with pauses of 0.5 s and 1 s, n = {n}")
    print(f"  ended it after {median(after_s) or 0:.1f} s (median)", end="")
    print(f"; not: {', '.join(missed) or 'none'}")
    aims.most("three digits that did not end a reply", 100 * len(missed) / n, 10, "%")


def demands(ears: Ears, folder: Path, aims: Aims) -> None:
    """How soon "Stop" ends a reply: each recording at several places of the detector's windows."""
    paths = [p for word in DEMANDS for p in sorted(folder.glob(f"{word}_*"))]
    after_ms = []
    for path in paths:
        sound = read(path)
        verdicts = ears.new_detector().push(surrounded(sound))
        first = next((v.start for v in verdicts if v.probability >= 0.5), None)
        if first is None:
            continue
        for shift in range(0, WINDOW, WINDOW // 4):
            shifted = np.concatenate([np.zeros(shift, np.int16), sound])
            after = interrupted(ears, shifted)
            begin = (first + shift) / RATE - LEAD_S
            after_ms.append(math.inf if after is None else 1000 * (after - begin))
    if not after_ms:
        return
    print(f"demands over a reply ({', '.join(DEMANDS)}), {len(paths)} at 4 places each")
    print(f"  end it after {' '.join(f'{ms:.0f}' for ms in sorted(after_ms))} ms")
    aims.most("demands end a reply, median", median(after_ms), 500, "ms")


def _asking_nothing(beside: Path) -> dict[str, list[tuple[str, Samples]]]:
    """Sounds that ask for nothing, by their kind."""
    pause = np.zeros(int(1.5 * RATE), np.int16)
    people_s = [
        (f"{name} {begin} s", sounds.to_level(read(path)[int(begin * RATE) : int(end * RATE)]))
        for name, begin, end in SIGNS_OF_PEOPLE
        if (path := beside / name).is_file()
    ]
    people_s += [(path.name, read(path)) for path in sorted(beside.glob("speech_commands/yes_*"))]
    made = (sounds.cough, sounds.hum)
    return {
        "noise, music, a baby's cry": _excerpts(beside / "noise"),
        'laughter, "mm-hm", "yes" of people': people_s,
        "made coughs": [(f"cough {n}", sounds.cough(n)) for n in range(10)],
        'made "mm-hm"': [(f"mm-hm {n}", sounds.hum(n)) for n in range(10)],
        "three of the same, with pauses": [
            (
                f"{make.__name__} {n} to {n + 2}",
                np.concatenate([part for k in range(3) for part in (make(n + k), pause)]),
            )
            for make in made
            for n in range(20, 32, 3)
        ]
        + [(name, np.concatenate([sound, pause] * 3)) for name, sound in people_s],
    }


def _excerpts(folder: Path) -> list[tuple[str, Samples]]:
    """Five seconds at most of each sound in a folder, all stretches of long ones."""
    found = []
    for path, sound in sounds_in(folder) if folder.is_dir() else ():
        starts = range(0, max(1, len(sound) - RATE), EXCERPT)
        found += [(f"{path.name} {at // RATE} s", sound[at : at + EXCERPT]) for at in starts]
    return found
