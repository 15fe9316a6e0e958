"""Who spoke when around an utterance: what a conversation's WAV says of a system's selectivity.

Pure, of both tracks, the utterance's window, where the reply to it begins, and when the session
said that it interrupts a reply. These last two only tell apart what sounds alike: a new reply and
an old one that goes on, a reply that was stopped and one that was over. A session that says that it
plays a reply more softly is believed, for not all of that can be told from the sound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.audio.audible import AUDIBLE_DBFS, THRESHOLD, onset, stretches
from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_S
from pipeline.config import VadSettings
from pipeline.engines.vad import RATE as VAD_RATE
from pipeline.engines.vad import VoiceDetector
from pipeline.events import Samples
from pipeline.measure.record import Outcome, Places, TurnTaking

PAUSE_S = 1.0
"""A reply that is silent for longer has stopped: between two sentences a voice pauses for less."""

REACT_S = 2.0
"""So long after a sound is over a reply still stops, or is ducked, for it (s): a detector's silence
and a recogniser's look at it have passed by then."""

BREATH_S = 0.2
"""Who is silent for longer is not speaking just then (s): stops inside a word are shorter."""

SOFT_DB = 25.0
"""What is further below the loudest of the user's sound is not their voice (dB): it is the room."""

HOP_S = 0.01
SPREAD = 8
"""Levels are of 10 ms, and the loudest within 80 ms around: so dips inside a word do not count."""

BEFORE_S = 2.0
LEAST_S = 0.3
"""The level of a reply is that of the time before the sound: of so much, and at least so much."""

LOUD_SHARE = 0.8
"""Of the audible frames so many are below that level."""

DUCKED_DB = (12.0, 36.0)
"""A reply that is ducked is this much below its level: from less than 12 dB down, which nobody
takes for quieter, to what is hiss."""

DUCKED_S = 0.25
VOICE_SHARE = 0.5
"""For at least so long (s), of which at least this share is voice."""

DROP_DB, DROP_S = 8.0, 0.06
"""It falls by so much (dB) at once: so long after the fall nothing is louder (s). What a phrase
ends with fades slowly. Of two Piper voices and of people, ducked by `Playout` anywhere, so are 4
of 10 found, the others being ducked in a pause or a soft word; of 948 as they were spoken, 4."""


def turn_taking(
    user: Samples,
    reply: Samples,
    rate: int,
    outcome: Outcome,
    places: Places,
    cuts: Sequence[int] = (),
    ducks: Sequence[tuple[int, int]] = (),
) -> TurnTaking:
    """Who spoke when around one utterance.

    Args:
        user: The user's side of a whole conversation.
        reply: The other side.
        rate: Of both (Hz).
        outcome: What the utterance asks for.
        places: Where it is, and where the reply to it begins.
        cuts: Where the session said that it interrupts a reply (indices into the WAV).
        ducks: From where to where it said that it plays one more softly, likewise.
    """
    own, over = places.reply, places.over
    voice = _voice(user[places.begin : over])
    begin = places.begin + (onset(voice, rate) or 0)
    earlier = reply if own is None else reply[:own]
    from_ = max(0, places.begin - int(BEFORE_S * rate))
    all_of_it = [
        (from_ + first, from_ + last)
        for first, last in stretches(earlier[from_:], rate, PAUSE_S)
        if from_ + first < places.end
    ]
    going_on = next((one for one in all_of_it if one[0] <= begin < one[1]), None)
    ended = back = quieter = None
    stopped: bool | None = False
    if going_on is not None:
        again = next((first for first, _ in all_of_it if first >= going_on[1]), None)
        ended = going_on[1] if going_on[1] < places.end else None
        # That it is interrupted may be told in a pause.
        told = any(abs(cut - going_on[1]) <= PAUSE_S * rate for cut in cuts)
        stopped = ended is not None and (
            told or _stopped(ended, again, over + REACT_S * rate, outcome)
        )
        one = earlier[going_on[0] : min(going_on[1], places.end)]
        fell, swelled = ducked(one, rate, begin - going_on[0], over - going_on[0])
        for down, up in ducks:
            # It is heard only where the reply does not just pause.
            if begin <= down < going_on[1] and onset(reply[down:up], rate) is not None:
                fell = down - going_on[0]
                swelled = up - going_on[0] if up < going_on[1] else None
                break
        if stopped and ended is not None:
            back = None if again is None else again - ended
        elif fell is not None and swelled is not None:
            back = swelled - fell
        quieter = None if fell is None else fell + going_on[0] - begin
    spurious = None
    # What is over before the user is heard is no reply to it.
    earlier_ends = [last for first, last in all_of_it if first <= places.begin < last <= begin]
    since = max(earlier_ends, default=places.begin) if going_on is None else own
    if outcome == "ignore" and since is not None:
        # One that comes very late is heard after the next utterance.
        first = onset(reply[since : max(places.end, (own or 0) + rate)], rate)
        spurious = None if first is None else since + first - begin

    def ns(samples: int | None) -> int | None:
        return None if samples is None else samples * NS_PER_S // rate

    return TurnTaking(
        going_on is not None,
        None if ended is None else ns(ended - begin),
        stopped,
        ns(quieter),
        ns(back),
        ns(spurious),
        ns(_cut_in(reply, rate, places) if outcome == "respond" else None),
        ns(None if outcome == "ignore" else _talk_over(voice, reply[places.begin : over], rate))
        or 0,
    )


def _voice(said: Samples) -> Samples:
    """What the user is heard with, made louder where it is so soft that little of it is audible."""
    loudest = float(np.abs(said.astype(np.int32)).max(initial=0))
    gain = THRESHOLD * 10 ** (SOFT_DB / 20) / max(loudest, 1.0)
    return said if gain <= 1 else np.rint(said * gain).astype(np.int16)


def _stopped(ended: int, again: int | None, until: float, outcome: Outcome) -> bool | None:
    """Whether a reply that fell silent did so for the utterance; None: it may have been over."""
    soon = ended <= until
    if outcome == "ignore":
        # It goes on later: a reply that is over by itself does not.
        return soon and again is not None
    return None if soon else False


def _cut_in(reply: Samples, rate: int, places: Places) -> int | None:
    """By how many samples the reply begins before the user has finished."""
    own, over = places.reply, places.over
    first = None if own is None or own >= over else onset(reply[own:over], rate)
    return None if own is None or first is None else over - own - first


def _talk_over(voice: Samples, reply: Samples, rate: int) -> int:
    """For how many samples both speak, while the user does."""
    loudest = float(np.abs(voice.astype(np.int32)).max(initial=0))
    theirs = stretches(voice, rate, BREATH_S, max(THRESHOLD, loudest / 10 ** (SOFT_DB / 20)))
    ours = stretches(reply, rate, BREATH_S)
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in theirs for b in ours)


def ducked(reply: Samples, rate: int, begin: int, over: int) -> tuple[int | None, int | None]:
    """From where to where a reply is quieter than it was before the user's sound.

    None, None: it is not; the second is None where it never becomes louder again. It is quieter
    only where it is still a voice, as a detector has it once it is as loud as before: else it
    pauses, and the room is heard.

    Args:
        reply: From its beginning or later to its end.
        rate: Hz.
        begin: Index at which the user's sound begins.
        over: Where that is over.
    """
    hop = int(HOP_S * rate)
    frames = reply[: len(reply) // hop * hop].astype(np.float64).reshape(-1, hop) / 32768
    levels = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    first, last = begin // hop, over / hop + REACT_S / HOP_S
    before = levels[max(0, first - int(BEFORE_S / HOP_S)) : first]
    before = before[before > AUDIBLE_DBFS]
    if len(before) < LEAST_S / HOP_S:
        return None, None
    level = float(np.quantile(before, LOUD_SHARE))
    padded = np.pad(levels, SPREAD, constant_values=-120.0)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * SPREAD + 1).max(axis=1)
    below = level - around
    quiet = np.flatnonzero((below > DUCKED_DB[0]) & (below < DUCKED_DB[1]))
    for run in np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1):
        if not len(run):
            break
        # The loudest around reaches so far beyond either end.
        fell = int(run[0]) - SPREAD
        if len(run) * HOP_S < DUCKED_S or not max(first, 1) <= fell < last:
            continue
        if levels[fell - 1] - levels[fell + 1 : fell + 1 + int(DROP_S / HOP_S)].max() < DROP_DB:
            continue
        loud = np.flatnonzero(below[run[-1] :] <= DUCKED_DB[0])
        swelled = (int(run[-1] + loud[0]) + SPREAD) * hop if len(loud) else None
        softer = level - float(np.quantile(levels[run], LOUD_SHARE))
        if _is_voice(reply[: (int(run[-1]) + SPREAD) * hop], rate, fell * hop, softer):
            return fell * hop, swelled
    return None, None


def _is_voice(reply: Samples, rate: int, since: int, gain_db: float) -> bool:
    """Whether a reply is a voice from an index on, if it is made louder there."""
    sound = reply[max(0, since - rate) :].astype(np.float64)
    sound[min(rate, since) :] *= 10 ** (gain_db / 20)
    heard = resampled(np.rint(sound.clip(-32768, 32767)).astype(np.int16), rate, VAD_RATE)
    settings = VadSettings()
    before = min(rate, since) * VAD_RATE // rate
    verdicts = [
        voice.probability >= settings.threshold
        for voice in VoiceDetector().push(heard)
        if voice.start >= before
    ]
    return bool(verdicts) and sum(verdicts) >= VOICE_SHARE * len(verdicts)
