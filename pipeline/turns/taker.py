"""Turn-taking: when the user begins, pauses, ends, and interrupts. A pure state machine.

It is fed the verdict on each 32 ms window of the microphone, whether a reply is under way, and what
others make of a pause; it answers with decisions. It has no clock: time is the sample offset of the
windows, at 16 kHz.

    quiet ──voice──▶ speech ──silence──▶ paused ──hold over──▶ quiet   (Began, Paused, Ended)
      │                ▲        ◀──voice── (Resumed)
      └─voice over a reply─▶ suspected ──word, or long voice──▶ speech (Ducked, Began)
                                       ──silence──▶ quiet              (Swelled)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Turns, Vad
from pipeline.engines.vad import Voice
from pipeline.turns.end_of_turn import Evidence, Hangover, hold_ms, probability
from pipeline.turns.loudness import UserLevel

RATE = 16_000
"""Samples per second of all offsets here (Hz)."""

ONSET_GAP_MS = 100
"""Silence inside the first syllable that still counts as one onset: longer than the stop before a
plosive, shorter than the gap between two clicks."""

BLIP_MS = 64
"""Voice in a pause up to this long is a click, or the detector's doubt, and not speech that goes
on: the shortest syllables are longer."""

RECHECK_MS = 96
"""More voice than at the last check after which a suspected interruption is checked for words
again: less than a syllable."""

CUT_OFF_MS = 1500
"""Speech that begins again this soon after the end of a turn goes on with it: the turn was cut off,
and the hangover learns from the pause. Few replies are heard and answered in that time."""

CUTS = 2
"""Turns of `max_turn_s` in a row, with no end in between, after which there is an answer all the
same: a minute holds what a person has to say, and a television never comes to an end."""

ANSWER_S = 10.0
"""Time (s) in which that answer has to begin."""

Reason = Literal["silence", "length", "gap"]


@dataclass(frozen=True, slots=True)
class Began:
    """The user speaks. If a reply is under way, this interrupts it.

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        voiced: Offset of its first voiced sample.
        at: Offset of the audio that decided it, as in all decisions.
    """

    start: int
    voiced: int
    at: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A much louder voice is the user: the turn begins with it, and not with what was before.

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        voiced: Offset of its first voiced sample.
    """

    start: int
    voiced: int
    at: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The provisional end: a short silence. The turn may be over, or go on (`Resumed`).

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        speech_end: One past the last voiced sample; it names the pause (see `predicted`).
        voiced_ms: How much of the utterance was voiced so far.
    """

    start: int
    speech_end: int
    voiced_ms: float
    at: int


@dataclass(frozen=True, slots=True)
class Settled:
    """The pause has lasted `tail_ms`: what the recogniser wants after the last word is there."""

    start: int
    speech_end: int
    end: int
    at: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The user went on speaking after `Paused`."""

    pause_ms: float
    at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The endpoint: the turn is over.

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        end: One past its last sample, with a short tail of silence.
        speech_end: One past the last voiced sample.
        silence_from: Offset at which the first silent window was known, after `speech_end`.
        paused_at: When it was `Paused` for the last time.
        voiced_ms: How much of it was voiced.
        at: Offset of the audio that decided it.
        reason: The silence was long enough, the turn too long, or audio was lost in it.
        hold_ms: How much silence was asked of it.
        probability: That the turn was over, as predicted; None if nothing was.
    """

    start: int
    end: int
    speech_end: int
    silence_from: int
    paused_at: int
    voiced_ms: float
    at: int
    reason: Reason
    hold_ms: float
    probability: float | None


@dataclass(frozen=True, slots=True)
class Ducked:
    """Voice over a reply: play it quietly until it is known what the voice is."""

    at: int


@dataclass(frozen=True, slots=True)
class Suspected:
    """There is enough voice over the reply to hold a word: see whether it does (`recognised`).

    Attributes:
        start: Offset of the audio to look at, pre-roll included.
        voiced: Offset of its first voiced sample; it names the suspicion.
        voiced_ms: How much of it was voiced.
    """

    start: int
    voiced: int
    voiced_ms: float
    at: int


@dataclass(frozen=True, slots=True)
class Swelled:
    """It was no interruption: play the reply as before."""

    at: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody has said anything for long: the assistant may speak."""

    at: int


Decision = Began | Joined | Paused | Settled | Resumed | Ended | Ducked | Suspected | Swelled | Idle


class TurnTaker:
    """Decides when the user's turns begin and end, and when a reply is interrupted.

    Voice that is much quieter than the user's is another's, and counts as silence (`UserLevel`).

    A turn of `max_turn_s` is cut, and the next one begins at once: both are answered together.
    After `CUTS` of them there is an answer all the same, and the voice that goes on is no
    interruption: the next turn begins with it when it pauses, or the reply is over.
    """

    def __init__(self, settings: Turns, vad: Vad) -> None:
        self._settings = settings
        self._vad = vad
        self._hangover = Hangover(settings)
        self._level = UserLevel()
        self._in_speech = False
        self._onset: int | None = None
        self._since = 0
        self._ended = -RATE * 60
        self._voiced = 0
        self._start = 0
        self._talks_from = 0
        self._speech_end = 0
        self._loud = (0, 0)
        self._silence_from = 0
        self._floor = 0
        self._at = 0
        self._paused_at: int | None = None
        self._settled = False
        self._blip = 0
        self._evidence = Evidence()
        self._ducked = False
        self._checked = 0
        self._cuts = 0
        self._answered_from: int | None = None
        self._was_answered = False
        self._quiet_from = 0
        self._idled = 0

    def push(self, voice: Voice, *, speaking: bool) -> list[Decision]:
        """Take the next window's verdict.

        Args:
            voice: Windows come in order, with no gaps.
            speaking: A reply is under way, heard or about to be: voice alone does not end it.
        """
        self._at = voice.end
        begun = self._in_speech or self._onset is not None
        voiced = voice.probability >= (self._vad.release if begun else self._vad.threshold)
        own = self._level.own(voice.level_db, voiced=voiced, in_turn=self._in_speech)
        if self._in_speech:
            return self._speech(voice, own, voiced)
        if self._answered_from is not None:
            return self._outtalk(voice, own, speaking)
        return self._quiet(voice, own, speaking)

    def predicted(self, speech_end: int, evidence: Evidence) -> None:
        """Take what is known of the pause after `speech_end`; it counts from the next window on.

        What comes too late, for a pause that is over, is left out.
        """
        if self._in_speech and self._paused_at is not None and speech_end == self._speech_end:
            self._evidence = evidence

    def recognised(self, voiced: int, since: int) -> list[Decision]:
        """Words that ask for the turn are in the suspicion that began at `voiced`.

        They interrupt the reply, and the turn begins with them.

        Args:
            voiced: Names the suspicion; one that was given up does not count any more.
            since: Where their first voice began: it may be that of a suspicion before.
        """
        if self._in_speech or self._onset is None or voiced < self._since:
            return []
        self._onset = min(self._onset, max(since, self._floor))
        return [self._begin(self._at)]

    def lost(self) -> list[Decision]:
        """Audio is missing after the last window: the machine slept, or the microphone stopped.

        What the user says now has nothing to do with what was said before.
        """
        if self._in_speech:
            return [*self._pause(self._at), self._end(self._at, "gap")]
        self._answered_from = None
        return self._give_up(self._at)

    def another(self) -> None:
        """Another recording begins: how loud the user was says nothing any more."""
        self._level.forget()

    @property
    def in_speech(self) -> bool:
        """Whether the user's turn is going on."""
        return self._in_speech

    @property
    def hold_ms(self) -> float:
        """Silence that ends the turn, as far as is known now (ms)."""
        p, spoken = probability(self._evidence), self._speech_end - self._talks_from
        return hold_ms(self._settings, p, self._hangover.ms, spoken_s=spoken / RATE)

    def _quiet(self, voice: Voice, voiced: bool, speaking: bool) -> list[Decision]:
        """Nobody's turn: voice begins one, or over a reply, a suspicion."""
        if speaking or voiced:
            self._quiet_from = voice.end
        if not voiced:
            return self._silence(voice, speaking)
        # Clicks over a reply do not add up, however long it is ducked for them.
        if self._onset is None or voice.start - self._speech_end > _samples(ONSET_GAP_MS):
            self._since = voice.start if self._onset is None else self._since
            self._onset = voice.start
            self._voiced = self._checked = 0
        self._voiced += voice.end - voice.start
        self._speech_end = self._silence_from = voice.end
        if self._voiced >= _samples(
            self._settings.barge_in_ms if speaking else self._settings.start_ms
        ):
            return [self._begin(voice.end)]
        decisions: list[Decision] = []
        if speaking and not self._ducked and self._voiced >= _samples(self._settings.duck_ms):
            self._ducked = True
            decisions.append(Ducked(voice.end))
        due = self._checked + _samples(RECHECK_MS) if self._checked else 0
        if speaking and self._voiced >= max(_samples(self._settings.word_ms), due):
            decisions.append(self._suspect(voice.end))
        return decisions

    def _outtalk(self, voice: Voice, own: bool, speaking: bool) -> list[Decision]:
        """Somebody who does not pause is answered: what they say now is the next turn's."""
        assert self._answered_from is not None
        self._quiet_from = voice.end
        if own:
            if self._onset is None:
                self._onset = self._since = voice.start
                self._voiced = self._checked = 0
            self._voiced += voice.end - voice.start
            self._speech_end = self._silence_from = voice.end
        self._was_answered = self._was_answered or speaking
        paused = voice.end - self._speech_end >= _samples(self._settings.hold_ms)
        late = voice.end - self._answered_from >= ANSWER_S * RATE
        if not (paused or (not speaking if self._was_answered else late)):
            return []
        self._answered_from = None
        if self._onset is not None and self._voiced >= _samples(self._settings.start_ms):
            return [self._begin(voice.end), *([] if own else self._hush(voice))]
        return self._give_up(voice.end)

    def _silence(self, voice: Voice, speaking: bool) -> list[Decision]:
        """Nobody's turn and no voice: a suspicion comes to nothing, or the silence gets long."""
        if self._onset is None:
            return self._idle(voice)
        silence = voice.end - self._speech_end
        if silence > _samples(self._settings.swell_ms if self._ducked else ONSET_GAP_MS):
            return self._give_up(voice.end)
        # A single short word is over before there is enough voice: it is whole now.
        least = max(_samples(self._settings.start_ms), self._checked + 1)
        if speaking and silence >= _samples(RECHECK_MS) and self._voiced >= least:
            return [self._suspect(voice.end)]
        return []

    def _suspect(self, at: int) -> Suspected:
        assert self._onset is not None
        self._checked = self._voiced
        return Suspected(self._from(self._onset), self._onset, _ms(self._voiced), at)

    def _give_up(self, at: int) -> list[Decision]:
        """What voice there was is forgotten."""
        self._onset = None
        ducked, self._ducked = self._ducked, False
        return [Swelled(at)] if ducked else []

    def _idle(self, voice: Voice) -> list[Decision]:
        after = self._settings.idle_s
        if not after or self._idled >= self._settings.idle_times:
            return []
        if voice.end - self._quiet_from < int(after * RATE):
            return []
        self._idled += 1
        self._quiet_from = voice.end
        return [Idle(voice.end)]

    def _begin(self, at: int) -> Began:
        assert self._onset is not None
        if 0 < (pause_ms := _ms(self._onset - self._ended)) <= CUT_OFF_MS:
            self._hangover.paused(pause_ms)
        else:
            self._talks_from = self._onset
        self._in_speech = True
        self._ducked = False
        self._idled = 0
        self._go_on()
        self._start = self._from(self._onset)
        self._loud = (self._speech_end, self._voiced)
        return Began(self._start, self._onset, at)

    def _from(self, onset: int) -> int:
        return max(self._floor, onset - _samples(self._settings.preroll_ms))

    def _speech(self, voice: Voice, own: bool, voiced: bool) -> list[Decision]:
        """The user's turn: it goes on, pauses, or ends."""
        if own:
            decisions = [*self._join(voice), *self._voice(voice)]
        else:
            if voiced:
                self._leave_out()
            decisions = self._hush(voice)
        if not self._in_speech:
            return decisions
        if voice.end - self._start >= int(self._settings.max_turn_s * RATE):
            return [*decisions, *self._pause(voice.end), self._end(voice.end, "length")]
        return decisions

    def _join(self, voice: Voice) -> list[Decision]:
        """Learn how loud the user is; where a much louder voice has come in, it is the user."""
        if self._paused_at is not None:  # a knock may be all there is of it
            return []
        joined = self._level.learn(voice.level_db, voice.start)
        if joined is None or self._from(joined) <= self._start:
            return []
        self._start, self._talks_from = self._from(joined), joined
        self._voiced = min(self._voiced, voice.start - joined)
        return [Joined(self._start, joined, voice.end)]

    def _leave_out(self) -> None:
        """Another's voice goes on where the user's faded out: what was soft was not the user's."""
        if self._paused_at is None:
            self._speech_end, self._voiced = self._loud
            self._silence_from = self._speech_end

    def _voice(self, voice: Voice) -> list[Decision]:
        length = voice.end - voice.start
        if self._paused_at is not None:
            self._blip += length
            if self._blip < _samples(BLIP_MS):
                return []
        decisions: list[Decision] = []
        if self._paused_at is not None:
            pause_ms = _ms(voice.end - self._blip - self._speech_end)
            self._hangover.paused(pause_ms)
            decisions = [Resumed(pause_ms, voice.end)]
            length = self._blip
            self._loud = (self._speech_end, self._voiced)
        self._go_on()
        self._voiced += length
        self._speech_end = self._silence_from = voice.end
        if self._level.loud(voice.level_db):
            self._loud = (self._speech_end, self._voiced)
        return decisions

    def _hush(self, voice: Voice) -> list[Decision]:
        self._blip = 0
        if self._silence_from == self._speech_end:
            self._silence_from = voice.end
        silence = voice.end - self._speech_end
        if silence >= _samples(self.hold_ms):
            return [*self._pause(voice.end), self._end(voice.end, "silence")]
        if silence < _samples(min(self._settings.provisional_ms, self._settings.hold_ms)):
            return []
        decisions = self._pause(voice.end)
        if not self._settled and silence >= _samples(self._settings.tail_ms):
            self._settled = True
            end = self._speech_end + _samples(self._settings.tail_ms)
            decisions.append(Settled(self._start, self._speech_end, end, voice.end))
        return decisions

    def _pause(self, at: int) -> list[Decision]:
        """`Paused`, unless it was said before: every turn has a provisional end before its end."""
        if self._paused_at is not None:
            return []
        self._paused_at = at
        return [Paused(self._start, self._speech_end, _ms(self._voiced), at)]

    def _go_on(self) -> None:
        """There is no pause now."""
        self._paused_at = None
        self._settled = False
        self._blip = 0
        self._evidence = Evidence()

    def _end(self, at: int, reason: Reason) -> Ended:
        assert self._paused_at is not None
        end = min(at, self._speech_end + _samples(self._settings.tail_ms))
        ended = Ended(
            self._start,
            end,
            self._speech_end,
            self._silence_from,
            self._paused_at,
            _ms(self._voiced),
            at,
            reason,
            self.hold_ms,
            probability(self._evidence),
        )
        self._in_speech = False
        self._cuts = self._cuts + 1 if reason == "length" else 0
        if self._cuts == CUTS:
            self._cuts, self._answered_from, self._was_answered = 0, at, False
        self._ended = self._speech_end
        self._onset = None
        self._go_on()
        self._quiet_from = at
        # What one turn had, the next one's pre-roll does not repeat.
        self._floor = end
        return ended


def _samples(ms: float) -> int:
    return int(ms * RATE / 1000)


def _ms(samples: int) -> float:
    return samples * 1000 / RATE
