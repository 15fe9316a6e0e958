"""Other people's voices in the room: `scripts/bench turns voices`.

Orders that people speak, with other people's conversation under them, quieter by so much: whether
the turn ends, what is transcribed, and what the conversation does over a reply. Everything is
counted twice, with the levels of the windows and without: without, every voice is the user's.

The recordings are no part of this project: `RECORDINGS_OF_PEOPLE` names their folder.
"""

from __future__ import annotations

import difflib
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ears import Ears
from sounds import amplified, sounds_in
from support.cli_child import HUMAN
from support.real_engines import as_audio

from pipeline.config import Settings
from pipeline.engines.vad import Voice
from pipeline.engines.whisper import Transcription, bare
from pipeline.events import Samples
from pipeline.turns.barge_in import interrupts
from pipeline.turns.completeness import completeness
from pipeline.turns.end_of_turn import Evidence
from pipeline.turns.taker import RATE, TIMES, Began, Ducked, Ended, Paused, Suspected, TurnTaker

ORDERS, ROOM, CLEAN = (
    "picovoice_orders",
    "pyannote",
    ("picovoice_orders", "google", "azure", "rhasspy", "mycroft", "librispeech"),
)
"""Who is the user, who else is in the room, and who is heard alone."""

DOWN_DB = (-10, -20, -30)
"""The other voices' level below the order's, both while they speak."""

LEAD_S, LATE_S, REPLY_S = 1.0, 2.0, 8.0
"""The others are heard so long before the order; the turn shall end so soon after it; the reply is
that long, with the others all through it."""

WHEN = ("before", "after")

QUIETER_DB = (0, -6, -9, -12, -15, -18, -21, -25, -30)
"""How much more quietly the same user speaks again."""

SLACK = RATE // 5
"""A turn that ends so much before the last voice has lost nothing."""

PREDICTED = RATE * 60 // 1000
"""From a pause to what is foreseen of it (samples)."""


Room = Sequence[tuple[Samples, float]]
"""Conversations of others, and the level of each (dB re full scale)."""


@dataclass(slots=True)
class Course:
    """What came of one recording.

    Attributes:
        turns: Start, end and decision of each turn (sample offsets).
        begun: When turns began.
        ducked: How often a reply was made quiet.
        stopped: When it was stopped.
    """

    turns: list[tuple[int, int, int]] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    ducked: int = 0
    stopped: int | None = None

    def ended(self, last: int) -> int | None:
        """When the turn ended in which the user's last voice was; None: it did not."""
        return next((at for _, _, at in self.turns if at > last - SLACK), None)


@dataclass(frozen=True, slots=True)
class Order:
    """A user alone: the sound, its level while there is voice, its first and last voice, words."""

    audio: Samples
    level_db: float
    first: int
    last: int
    words: list[str]


def level_db(audio: Samples, voices: Sequence[Voice]) -> float:
    """The level while there is voice: mean power (dB re full scale)."""
    voiced = [audio[v.start : v.end] / 32768 for v in voices if v.probability >= 0.5]
    return 10 * math.log10(float(np.mean(np.square(voiced))) + 1e-12)


def mixed(order: Samples, other: Samples, gain_db: float, first: int, last: int) -> Samples:
    """The order after `LEAD_S`, with the others from sample `first` to before `last`, to the end.

    Both are attenuated alike where they would clip.
    """
    at = int(LEAD_S * RATE)
    sound = np.zeros(last)
    sound[at : at + len(order)] += order
    sound[first:] += np.resize(other, last - first) * 10 ** (gain_db / 20)
    return np.round(sound * min(1.0, 32767 / float(np.abs(sound).max()))).astype(np.int16)


def follow(
    ears: Ears,
    audio: Samples,
    voices: Sequence[Voice],
    *,
    predict: bool = False,
    reply: tuple[float, float] = (math.inf, math.inf),
) -> Course:
    """Take turns over a recording, in no time.

    Args:
        ears: The recogniser. Of what foresees the end of a turn only the rules on its words are
            asked.
        audio: The recording.
        voices: The verdicts on it.
        predict: Whether words move the end of a turn; without, it is half a second of silence.
        reply: A reply is under way between these offsets, unless it is stopped.
    """
    taker, course = TurnTaker(ears.settings.turns, ears.settings.vad), Course()
    due: tuple[int, int, Evidence] | None = None
    before = ""
    for voice in voices:
        speaking = reply[0] <= voice.start < reply[1] and course.stopped is None
        if due is not None and voice.start >= due[0]:
            taker.predicted(due[1], due[2])
            due = None
        waiting = taker.push(voice, speaking=speaking)
        while waiting:
            decision = waiting.pop(0)
            match decision:
                case Began():
                    course.begun.append(decision.voiced)
                    if speaking:
                        course.stopped = decision.at
                case Paused() if predict:
                    heard = heard_in(ears, audio, decision.start, decision.at)
                    known = Evidence(words=completeness(heard.text), sure=math.exp(heard.log_prob))
                    due = (decision.at + PREDICTED, decision.speech_end, known)
                case Ended():
                    course.turns.append((decision.start, decision.end, decision.at))
                case Ducked():
                    course.ducked += 1
                case Suspected():
                    heard = heard_in(ears, audio, decision.start, decision.at)
                    words = interrupts(heard, before)
                    before = heard.text
                    if words:
                        waiting += taker.recognised(decision.voiced)
    return course


def heard_in(ears: Ears, audio: Samples, start: int, end: int) -> Transcription:
    """What the recogniser makes of a piece of a recording."""
    return ears.hear(as_audio(audio[max(0, start) : end]))


def orders(ears: Ears, every: int) -> list[Order]:
    """The orders, as they are heard alone."""
    made = []
    for _, audio in [*sounds_in(HUMAN / ORDERS)][::every]:
        voices = ears.new_detector().push(audio)
        voiced = [v for v in voices if v.probability >= 0.5]
        first, last = voiced[0].start, voiced[-1].end
        text = heard_in(ears, audio, *_around(first, last)).text
        words = bare(text.replace("-", " "))
        made.append(Order(audio, level_db(audio, voices), first, last, words))
    return made


def _around(first: int, last: int) -> tuple[int, int]:
    return first - TIMES.preroll_ms * RATE // 1000, last + TIMES.tail_ms * RATE // 1000


def _others(text: str, alone: Sequence[str]) -> int:
    """How many words there are before the user's first word and after the last one.

    Words in between are the user's, though they may be misheard.
    """
    words = bare(text.replace("-", " "))
    same = difflib.SequenceMatcher(None, alone, words, autojunk=False).get_matching_blocks()
    matched = [block for block in same if block.size]
    if not matched:
        return len(words)
    first, last = matched[0], matched[-1]
    after = len(words) - (last.b + last.size) - (len(alone) - (last.a + last.size))
    return max(0, first.b - first.a) + max(0, after)


def voices(settings: Settings, *, quick: bool = False) -> None:
    """Measure and print everything."""
    print("other people's voices in the room")
    if not (HUMAN / ROOM).is_dir():
        print(f"  not measured: there is no {HUMAN / ROOM}; RECORDINGS_OF_PEOPLE names another")
        return
    ears = Ears(settings)
    made = orders(ears, 4 if quick else 1)
    room = []
    for _, audio in sounds_in(HUMAN / ROOM):
        heard = ears.new_detector().push(audio)
        if np.mean([v.probability >= 0.5 for v in heard]) > 0.2:  # else hardly anybody speaks
            room.append((audio, level_db(audio, heard)))
    print(f"  {len(made)} orders, {len(room)} conversations of 30 s; {settings.stt.model}")
    print("  before: every voice is the user's; after: the levels are known")
    for down in DOWN_DB:
        for later in (False, True):
            _under(ears, made, room, down, later=later)
        _over(ears, made, room, down)
    _quietly(ears, made)
    _alone(ears, quick=quick)


def _levels(voices: Sequence[Voice], known: bool) -> list[Voice]:
    return [*voices] if known else [replace(voice, level_db=0.0) for voice in voices]


def _under(ears: Ears, made: Sequence[Order], room: Room, down: float, *, later: bool) -> None:
    """The others speak before, under and after the order; `later`: it is the user's second turn."""
    found = [Counter[str](), Counter[str]()]
    waits: list[list[float]] = [[], []]
    exact = 0
    for n, order in enumerate(made):
        other, level = room[n % len(room)]
        lead, last = int(LEAD_S * RATE), int(LEAD_S * RATE) + order.last
        end = last + int(REPLY_S * RATE)
        other = np.roll(other, -n * RATE)
        sound = mixed(order.audio[: end - lead], other, order.level_db + down - level, 0, end)
        once = [np.zeros(RATE, np.int16), order.audio[: order.last], np.zeros(2 * RATE, np.int16)]
        before = np.concatenate(once)[: None if later else 0]
        sound = np.concatenate([before, sound])
        first, last, end = (len(before) + at for at in (lead + order.first, last, end))
        heard = ears.new_detector().push(sound)
        exact += _others(heard_in(ears, sound, *_around(first, last)).text, order.words)
        for known in (False, True):
            course = follow(ears, sound, _levels(heard, known), predict=True)
            ended = course.ended(last)
            spans = [(a, b) for a, b, _ in course.turns if b > first and a < last]
            if ended is None:
                spans.append((course.begun[-1], end))
            words = _others(" ".join(heard_in(ears, sound, *s).text for s in spans), order.words)
            waits[known].append(math.inf if ended is None else (ended - last) / RATE)
            found[known].update(
                ended=waits[known][-1] <= LATE_S,
                early=any(first < e < last - SLACK for _, _, e in course.turns),
                words=words,
                orders=words > 0,
                before=any(len(before) < begun < first - SLACK for begun in course.begun),
                after=sum(last < begun for begun in course.begun),
            )
    for when, count, wait in zip(WHEN, found, waits, strict=True):
        print(
            f"    {down} dB, {when:<6} under the {'second' if later else 'first'} order: ended"
            f" within {LATE_S:.0f} s {count['ended']}/{len(made)}, median"
            f" {statistics.median(wait) * 1000:.0f} ms; cut into {count['early']};"
            f" {count['words']} words around the user's, in {count['orders']} orders (cut exactly:"
            f" {exact}); the others began {count['before']} turns before the user's,"
            f" {count['after']} after"
        )


def _over(ears: Ears, made: Sequence[Order], room: Room, down: float) -> None:
    """The order is heard alone; the others speak over the reply."""
    found = [Counter[str](), Counter[str]()]
    for n, order in enumerate(made):
        other, level = room[n % len(room)]
        begin = int(LEAD_S * RATE) + order.last + RATE
        end = begin + int(REPLY_S * RATE)
        alone = order.audio[: order.last + RATE]
        other = np.roll(other, -n * RATE)
        sound = mixed(alone, other, order.level_db + down - level, begin, end)
        heard = ears.new_detector().push(sound)
        for known in (False, True):
            course = follow(ears, sound, _levels(heard, known), reply=(begin, end))
            found[known].update(ducked=course.ducked > 0, stopped=course.stopped is not None)
    for when, count in zip(WHEN, found, strict=True):
        print(
            f"    {down} dB, {when:<6} over a reply of {REPLY_S:.0f} s:"
            f" ducked {count['ducked']}/{len(made)}, stopped {count['stopped']}"
        )


def _quietly(ears: Ears, made: Sequence[Order]) -> None:
    """A user who gave one order as usual gives the next one more quietly."""
    print("  the next order so much more quietly, whole in one turn, after a pause of")
    for pause in (3, 25, 45):
        row = []
        for down in QUIETER_DB:
            whole = 0
            for order in made:
                first = order.audio[max(0, order.first - RATE) : order.last + RATE]
                quiet = amplified(first, down)
                still = np.zeros(pause * RATE, np.int16)
                sound = np.concatenate([first, still, quiet, np.zeros(RATE, np.int16)])
                course = follow(ears, sound, ears.new_detector().push(sound))
                onset = len(first) + len(still) + min(RATE, order.first)
                turns = [turn for turn in course.turns if turn[1] > len(first) + len(still)]
                whole += len(turns) == 1 and turns[0][0] <= onset
            row.append(f"{down} dB {whole}")
        print(f"    {pause:>2} s: " + ", ".join(row) + f" of {len(made)}")


def _alone(ears: Ears, *, quick: bool) -> None:
    """People alone, one after the other without a break in the session: what the level changes."""
    same = total = moved = 0
    differences: list[float] = []
    for folder in CLEAN:
        for _, alone in [*sounds_in(HUMAN / folder)][:: 4 if quick else 1]:
            audio = np.concatenate([alone, np.zeros(3 * RATE, np.int16)])
            audio = np.concatenate([audio, audio])
            heard = ears.new_detector().push(audio)
            before = follow(ears, audio, _levels(heard, known=False))
            after = follow(ears, audio, heard)
            total += 1
            moved += [s for s, _, _ in before.turns] != [s for s, _, _ in after.turns]
            if len(before.turns) != len(after.turns):
                continue
            same += 1
            ends = zip(before.turns, after.turns, strict=True)
            differences += [(b - a) * 1000 / RATE for (_, _, a), (_, _, b) in ends]
    unlike = [d for d in differences if d]
    print(
        f"  alone, each twice: as many turns {same}/{total}, other starts {moved}; endpoints that"
        f" differ {len(unlike)}/{len(differences)}: {sorted(round(d) for d in unlike)} ms"
    )
