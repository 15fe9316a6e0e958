"""Other people's voices in the room: `scripts/bench turns voices`.

Orders that people speak, with other people's conversation under them, quieter by so much: whether
the turn ends, what is transcribed, and what the conversation does over a reply. Each is heard by a
session in virtual time (`ears`), first of all or after the same order alone, by which the session
knows how loud its user is.

The recordings are no part of this project: `RECORDINGS_OF_PEOPLE` names their folder.
"""

from __future__ import annotations

import difflib
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ears import Ears, play
from sounds import RATE, sounds_in
from support.cli_child import HUMAN
from support.real_engines import as_audio

from pipeline.config import Settings
from pipeline.engines.vad import Voice
from pipeline.engines.whisper import bare
from pipeline.events import Samples

ORDERS, ROOM = "picovoice_orders", "pyannote"
"""Who is the user, and who else is in the room."""

DOWN_DB = (-30, -20, -10)
"""The other voices' level below the order's, both while they speak."""

LEAD_S, LATE_S, REPLY_S = 1.0, 2.0, 8.0
"""The others are heard so long before the order; the turn shall end so soon after it; over a reply
they speak for so long."""

SLACK_S = 0.2
"""A turn that ends so much before the last voice has lost nothing."""

STORY = "one two three four five six seven eight nine ten " * 8
"""A reply of twenty seconds."""

Room = Sequence[tuple[Samples, float]]
"""Conversations of others, and the level of each (dB re full scale)."""


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
    return 10 * math.log10(float(np.mean(np.square(np.concatenate(voiced)))) + 1e-12)


def mixed(order: Samples, other: Samples, gain_db: float, first: int, last: int) -> Samples:
    """The order after `LEAD_S`, with the others from sample `first` to before `last`, to the end.

    Both are attenuated alike where they would clip.
    """
    at = int(LEAD_S * RATE)
    sound = np.zeros(last)
    sound[at : at + len(order)] += order
    sound[first:] += np.resize(other, last - first) * 10 ** (gain_db / 20)
    return np.round(sound * min(1.0, 32767 / float(np.abs(sound).max()))).astype(np.int16)


def orders(ears: Ears, every: int) -> list[Order]:
    """The orders, as they are heard alone."""
    made = []
    for _, audio in [*sounds_in(HUMAN / ORDERS)][::every]:
        voices = ears.new_detector().push(audio)
        voiced = [v for v in voices if v.probability >= 0.5]
        first, last = voiced[0].start, voiced[-1].end
        words = bare(ears.hear(as_audio(audio)).text.replace("-", " "))
        made.append(Order(audio, level_db(audio, voices), first, last, words))
    return made


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
    with Ears(settings) as ears:
        made = orders(ears, 4 if quick else 1)
        room = []
        for _, audio in sounds_in(HUMAN / ROOM):
            heard = ears.new_detector().push(audio)
            if np.mean([v.probability >= 0.5 for v in heard]) > 0.2:  # else hardly anybody speaks
                room.append((audio, level_db(audio, heard)))
        print(f"  {len(made)} orders, {len(room)} conversations of 30 s; {settings.stt.model}")
        for down in DOWN_DB:
            for later in (False, True):
                _under(ears, made, room, down, later=later)
            _over(ears, made, room, down)


def _under(ears: Ears, made: Sequence[Order], room: Room, down: float, *, later: bool) -> None:
    """The others speak before, under and after the order; `later`: it is the user's second turn."""
    found = Counter[str]()
    waits = []
    lead = int(LEAD_S * RATE)
    for n, order in enumerate(made):
        other, level = room[n % len(room)]
        end = lead + order.last + int(REPLY_S * RATE)
        other = np.roll(other, -n * RATE)
        sound = mixed(order.audio[: end - lead], other, order.level_db + down - level, 0, end)
        once = [np.zeros(RATE, np.int16), order.audio[: order.last], np.zeros(2 * RATE, np.int16)]
        before = np.concatenate(once)[: None if later else 0]
        heard = play(ears, np.concatenate([before, sound]), ears.settings)
        first, last = ((len(before) + lead + at) / RATE for at in (order.first, order.last))
        mine = [turn for turn in heard.turns if turn.ended > first and turn.begun < last]
        ended = next((turn.ended for turn in mine if turn.ended > last - SLACK_S), math.inf)
        waits.append(ended - last)
        words = _others(" ".join(turn.text for turn in mine), order.words)
        found.update(
            ended=waits[-1] <= LATE_S,
            early=any(turn.ended < last - SLACK_S for turn in mine),
            words=words,
            orders=words > 0,
        )
    which, median_ms = "second" if later else "first", 1000 * statistics.median(waits)
    print(
        f"    {down} dB, under the {which} order: ended within {LATE_S:.0f} s {found['ended']}/"
        f"{len(made)}, median {median_ms:.0f} ms; cut into {found['early']}; {found['words']} words"
        f" around the user's, in {found['orders']} orders"
    )


def _over(ears: Ears, made: Sequence[Order], room: Room, down: float) -> None:
    """The order is heard alone; the others speak over the reply."""
    found = Counter[str]()
    ears.reply = STORY
    for n, order in enumerate(made):
        other, level = room[n % len(room)]
        begin = int(LEAD_S * RATE) + order.last + RATE
        end = begin + int(REPLY_S * RATE)
        alone = order.audio[: order.last + RATE]
        gain_db = order.level_db + down - level
        heard = play(
            ears, mixed(alone, np.roll(other, -n * RATE), gain_db, begin, end), ears.settings
        )
        over = heard.replied is not None and heard.replied < begin / RATE
        found.update(replied=over, ducked=heard.ducked > 0, stopped=bool(heard.interrupted))
    print(
        f"    {down} dB, over a reply, for {REPLY_S:.0f} s: ducked {found['ducked']}/"
        f"{found['replied']}, stopped {found['stopped']}"
    )
    ears.reply = "Yes."
