"""Turn-taking: when the user begins, pauses, ends, and interrupts. A pure state machine.

It is fed the verdict on each 32 ms window of the microphone, whether a reply is under way, and what
others make of a pause; it answers with decisions. It has no clock: time is the sample offset of the
windows, at 16 kHz.

    quiet ──voice──▶ speech ──silence──▶ paused ──hold over──▶ quiet   (Began, Paused, Ended)
      │                ▲        ◀──voice── (Resumed)
      └─voice over a reply─▶ suspected ──word, or long voice──▶ speech (Ducked, Began)
                                       ──silence──▶ quiet              (Swelled)
                                                      └─word known late─▶ speech (Began)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipeline.config import TurnSettings, VadSettings
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

FAINT_BLIP_MS = 128
"""The same of voice that is soft (`loudness.FADED_DB`): it may be somebody else's."""

SURE_VOICE = 0.8
"""In a turn the detector is not sure of voice below this probability: as a voice fades it takes
breath, and the room, for voice for up to 250 ms more, at such probabilities. What is soft too
(`loudness.FADED_DB`) is silence then. In 53 orders of people the last pause is so known 50 ms after
the speech, not 100 (medians; nine of ten after 110, not 220), and two pauses instead of one are
seen before."""

RECHECK_MS = 96
"""More voice than at the last check after which a suspected interruption is checked for words
again: less than a syllable."""

WHOLE_MS = 6000
"""Of what was suspected and is over so much is looked at as a whole (ms), be there clicks before it
without end: longer orders pause for long enough, or interrupt as long voice."""

CLOSING_MS = 96
"""A turn is nearly over so long before its end (ms): what a voice takes for the first sound of a
clause. A first clause that is cut then is heard at the end of the turn, and not later."""

CUT_OFF_MS = 1500
"""Speech that begins again this soon after the end of a turn goes on with it: the turn was cut off,
and the hangover learns from the pause. Few replies are heard and answered in that time."""

CUTS = 2
"""Turns of `max_turn_s` in a row, with no end in between, after which there is an answer all the
same: a minute holds what a person has to say, and a television never comes to an end."""

ANSWER_S = 10.0
"""Time (s) in which that answer has to begin."""


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """The times of turn-taking that are no matter of taste.

    Attributes:
        start_ms: Voiced time that begins a turn; shorter is a click, or half a cough. Of 54 single
            words of people none is shorter.
        preroll_ms: Audio kept from before the first voiced window.
        tail_ms: Silence after the last voice that the recogniser gets: with 200 the embedded one
            makes twice the errors.
        max_turn_s: A longer turn is cut here: Whisper's window is 30 s.
        duck_ms: Voiced time that ducks a reply: what is false does no harm.
        word_ms: Voiced time after which a word in it interrupts a reply.
        swell_ms: Silence after which a ducked reply is loud again.
        idle_times: How often the assistant speaks first, until the user speaks again.
        most_cuts: See `CUTS`; 0: what is cut is always answered, and the next turn begins at once.
    """

    start_ms: int = 160
    preroll_ms: int = 300
    tail_ms: int = 400
    max_turn_s: float = 30.0
    duck_ms: int = 32
    word_ms: int = 224
    swell_ms: int = 300
    idle_times: int = 2
    most_cuts: int = CUTS


TIMES = TurnTimes()

Reason = Literal["silence", "length", "gap", "hand"]


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
    """The turn is over.

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        end: One past its last sample, with a short tail of silence.
        speech_end: One past the last voiced sample.
        silence_from: Offset at which the first silent window was known, after `speech_end`.
        paused_at: When it was `Paused` for the last time.
        voiced_ms: How much of it was voiced.
        at: Offset of the audio that decided it.
        reason: The silence was long enough, the turn too long, audio was lost in it, or somebody
            said that it is over.
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
    """It was no interruption, as far as is known: play the reply as before.

    Attributes:
        whole: The voice from its first sound to its last; None: it is too short for a word.
    """

    whole: Suspected | None
    at: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody has said anything for long: the assistant may speak."""

    at: int


Decision = Began | Joined | Paused | Settled | Resumed | Ended | Ducked | Suspected | Swelled | Idle


@dataclass(slots=True)
class _Quiet:
    """Nobody's turn, and no voice."""


class _Onset:
    """Voice that is no turn yet; over a reply, a suspicion.

    Attributes:
        since: Where the first voice of it began, be it clicks that count no more.
        begin: Where what counts began.
        voiced: How much of that is voice (samples).
        voice_end: One past its last voiced sample.
        checked: How much of it was voice when it was checked for words; 0: it was not.
        ducked: Whether the reply is played quietly for it.
    """

    __slots__ = ("begin", "checked", "ducked", "since", "voice_end", "voiced")

    def __init__(self, begin: int) -> None:
        self.since = self.begin = self.voice_end = begin
        self.voiced = self.checked = 0
        self.ducked = False

    def take(self, voice: Voice) -> None:
        """One more window of voice."""
        self.voiced += voice.end - voice.start
        self.voice_end = voice.end

    def reach_back(self, since: int) -> None:
        """What counts began here, if that is earlier; all from there on counts as voice."""
        if since < self.begin:
            self.begin, self.voiced = since, self.voice_end - since


@dataclass(slots=True)
class _Speech:
    """The user's turn.

    Attributes:
        start: Its first sample, pre-roll included.
        talks_from: Since when the user has been speaking, in a turn that was cut off before too.
        voiced: How much of it is voice (samples).
        voice_end: One past its last voiced sample.
        loud: `voice_end` and `voiced` at the last window that was loud by itself.
        silence_from: Where the silence after it was known; None: there is none yet.
    """

    start: int
    talks_from: int
    voiced: int
    voice_end: int
    loud: tuple[int, int]
    silence_from: int | None = None

    def take(self, voiced: int, voice_end: int, *, loud: bool) -> None:
        """More voice of the user's."""
        self.voiced += voiced
        self.voice_end, self.silence_from = voice_end, None
        if loud:
            self.loud = voice_end, self.voiced

    def fall_back(self) -> None:
        """Another's voice goes on where the user's faded out: what was soft was not the user's."""
        (self.voice_end, self.voiced), self.silence_from = self.loud, None


@dataclass(slots=True)
class _Pause:
    """A pause of the user's turn, which may be its end.

    Attributes:
        turn: What was said before it.
        at: When it was told.
        speech_end: Where the voice was told to have ended; it names the pause.
        settled: Whether it is as long as the recogniser wants silence.
        blip: Voice in it that may be a click (samples).
        clear: Whether any of that is not soft.
        evidence: What is known of it.
    """

    turn: _Speech
    at: int
    speech_end: int
    settled: bool = False
    blip: int = 0
    clear: bool = False
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def start(self) -> int:
        """The turn's first sample."""
        return self.turn.start


@dataclass(slots=True)
class _TalksOn:
    """Somebody who does not pause is answered: what they say now is the next turn's.

    Attributes:
        since: When their last turn was cut.
        answered: Whether the answer has begun.
        onset: What they said since then, if anything.
    """

    since: int
    answered: bool = False
    onset: _Onset | None = None


_State = _Quiet | _Onset | _Speech | _Pause | _TalksOn


class TurnTaker:
    """Decides when the user's turns begin and end, and when a reply is interrupted.

    Voice that is much quieter than the user's is another's, and counts as silence (`UserLevel`).

    A turn of `max_turn_s` is cut, and the next one begins at once: both are answered together.
    After `most_cuts` of them there is an answer all the same, and the voice that goes on is no
    interruption: the next turn begins with it when it pauses, or the reply is over.
    """

    def __init__(self, settings: TurnSettings, vad: VadSettings, times: TurnTimes = TIMES) -> None:
        self._settings = settings
        self._times = times
        self._vad = vad
        self._hangover = Hangover(settings)
        self._level = UserLevel()
        self._state: _State = _Quiet()
        self._given_up: _Onset | None = None
        self._at = 0
        # Of the last turn: where its voice ended, its audio, and since when the user had talked.
        self._voice_end = -RATE * 60
        self._floor = 0
        self._talks_from = 0
        self._cuts = 0
        self._quiet_from = 0
        self._idled = 0

    def push(self, voice: Voice, *, speaking: bool) -> list[Decision]:
        """Take the next window's verdict.

        Args:
            voice: Windows come in order, with no gaps.
            speaking: A reply is under way, heard or about to be: voice alone does not end it.
        """
        self._at = voice.end
        state, turn = self._state, self._turn
        begun = turn or (state.onset if isinstance(state, _TalksOn) else isinstance(state, _Onset))
        voiced = voice.probability >= (self._vad.release if begun else self._vad.threshold)
        if voice.probability < SURE_VOICE and turn and self._level.faded(voice.level_db):
            voiced = False
        own = self._level.own(voice.level_db, voiced=voiced, in_turn=turn is not None)
        if own or speaking:
            self._quiet_from = self._at
        match state:
            case _Quiet():
                return self._voice(_Onset(voice.start), voice, speaking) if own else self._silence()
            case _Onset():
                return self._voice(state, voice, speaking) if own else self._gap(state, speaking)
            case _TalksOn():
                return self._talk_on(state, voice, own, speaking)
            case _Speech():
                if voiced and not own:
                    state.fall_back()
                decisions = self._speak(state, voice) if own else self._hush(state)
            case _Pause() if own:
                decisions = self._blip(state, voice)
            case _Pause():
                state.blip, state.clear = 0, False
                if voiced:
                    state.turn.fall_back()
                decisions = self._hush(state.turn)
        if self._at - state.start >= int(self._times.max_turn_s * RATE) and self.in_speech:
            return [*decisions, *self._end("length")]
        return decisions

    def predicted(self, speech_end: int, evidence: Evidence) -> None:
        """Take what is known of the pause after `speech_end`; it counts from the next window on.

        What comes too late, for a pause that is over, is left out.
        """
        if isinstance(self._state, _Pause) and speech_end == self._state.speech_end:
            self._state.evidence = evidence

    def recognised(self, since: int) -> list[Decision]:
        """Words that ask for the turn were said over the reply.

        They interrupt the reply, and the turn begins with them. It may be over as soon as that: the
        recogniser may be slow.

        Args:
            since: Where their first voice began: it may be that of a suspicion that was given up.
        """
        state, late = self._state, self._given_up
        onset = state if isinstance(state, _Onset) else late
        if onset is None or self._turn or isinstance(state, _TalksOn):
            return []
        onset.reach_back(max(since, self._floor))
        began = self._begin(onset)
        assert self._turn is not None
        return [began, *(self._hush(self._turn) if onset is late else [])]

    def lost(self) -> list[Decision]:
        """Audio is missing after the last window: the machine slept, or the microphone stopped.

        What the user says now has nothing to do with what was said before.
        """
        decisions = self._end("gap") if self._turn else self._give_up()
        self._given_up = None
        return decisions

    def finish(self) -> list[Decision]:
        """The turn is over because somebody says so; nothing happens if there is none."""
        return self._end("hand") if self._turn else []

    def forget(self) -> None:
        """There is no turn, and there was no voice."""
        self._state, self._given_up = _Quiet(), None
        self._floor = self._at

    def configure(self, settings: TurnSettings, vad: VadSettings, times: TurnTimes) -> None:
        """Take turns in this way from now on; what was learnt of the user stays."""
        self._settings, self._vad, self._times = settings, vad, times
        self._hangover.configure(settings)

    def another(self) -> None:
        """Another recording begins: how loud the user was says nothing any more."""
        self._level.forget()

    @property
    def in_speech(self) -> bool:
        """Whether the user's turn is going on."""
        return self._turn is not None

    @property
    def closing(self) -> bool:
        """Whether the user's turn is nearly over: it ends in `CLOSING_MS` unless they go on."""
        state = self._state
        if not isinstance(state, _Pause):
            return False
        return self._at - state.turn.voice_end >= _samples(self.hold_ms - CLOSING_MS)

    @property
    def hold_ms(self) -> float:
        """Silence that ends the turn, as far as is known now (ms)."""
        turn = self._turn
        p = probability(self._state.evidence) if isinstance(self._state, _Pause) else None
        spoken = turn.voice_end - turn.talks_from if turn else 0
        return hold_ms(self._settings, p, self._hangover.ms, spoken_s=spoken / RATE)

    @property
    def _turn(self) -> _Speech | None:
        """The user's turn, if it is going on."""
        state = self._state
        if isinstance(state, _Pause):
            return state.turn
        return state if isinstance(state, _Speech) else None

    def _silence(self) -> list[Decision]:
        """No voice at all: when it lasts for long, the assistant may speak."""
        after = self._settings.idle_s
        if not after or self._idled >= self._times.idle_times:
            return []
        if self._at - self._quiet_from < int(after * RATE):
            return []
        self._idled += 1
        self._quiet_from = self._at
        return [Idle(self._at)]

    def _voice(self, onset: _Onset, voice: Voice, speaking: bool) -> list[Decision]:
        """Voice begins a turn once there is enough of it; over a reply, it is suspected first."""
        self._state = onset
        # Clicks over a reply do not add up, however long it is ducked for them.
        if voice.start - onset.voice_end > _samples(ONSET_GAP_MS):
            onset.begin, onset.voiced, onset.checked = voice.start, 0, 0
        onset.take(voice)
        times = self._times
        enough_ms = self._settings.barge_in_ms if speaking else times.start_ms
        if onset.voiced >= _samples(enough_ms):
            return [self._begin(onset)]
        decisions: list[Decision] = []
        if speaking and not onset.ducked and onset.voiced >= _samples(times.duck_ms):
            onset.ducked = True
            decisions.append(Ducked(self._at))
        due = onset.checked + _samples(RECHECK_MS) if onset.checked else 0
        if speaking and onset.voiced >= max(_samples(times.word_ms), due):
            decisions.append(self._suspect(onset))
        return decisions

    def _gap(self, onset: _Onset, speaking: bool) -> list[Decision]:
        """The voice pauses before there is enough of it: soon it comes to nothing."""
        silence = self._at - onset.voice_end
        if silence > _samples(self._times.swell_ms if onset.ducked else ONSET_GAP_MS):
            return self._give_up()
        # A single short word is over before there is enough voice: it is whole now.
        least = max(_samples(self._times.start_ms), onset.checked + 1)
        if speaking and silence >= _samples(RECHECK_MS) and onset.voiced >= least:
            return [self._suspect(onset)]
        return []

    def _suspect(self, onset: _Onset) -> Suspected:
        onset.checked = onset.voiced
        return Suspected(self._start(onset.begin), onset.begin, _ms(onset.voiced), self._at)

    def _give_up(self) -> list[Decision]:
        """What voice there was comes to nothing, unless words in it are known late."""
        onset, self._state = self._state, _Quiet()
        if not isinstance(onset, _Onset) or not onset.ducked:
            return []
        self._given_up = onset
        onset.reach_back(max(onset.since, onset.voice_end - _samples(WHOLE_MS)))
        word = onset.voiced >= _samples(self._times.start_ms)
        return [Swelled(self._suspect(onset) if word else None, self._at)]

    def _talk_on(self, talks: _TalksOn, voice: Voice, own: bool, speaking: bool) -> list[Decision]:
        """Wait for a pause, or for the answer to be over or late."""
        self._quiet_from = self._at
        if own:
            talks.onset = talks.onset or _Onset(voice.start)
            talks.onset.take(voice)
        talks.answered = talks.answered or speaking
        last = talks.onset.voice_end if talks.onset else self._voice_end
        paused = self._at - last >= _samples(self._settings.hold_ms)
        late = self._at - talks.since >= ANSWER_S * RATE
        if not (paused or (not speaking if talks.answered else late)):
            return []
        if talks.onset is None or talks.onset.voiced < _samples(self._times.start_ms):
            return self._give_up()
        began = self._begin(talks.onset)
        assert self._turn is not None
        return [began, *([] if own else self._hush(self._turn))]

    def _begin(self, onset: _Onset) -> Began:
        """A turn begins; soon after the last one it goes on with it."""
        talks_from = onset.begin
        if 0 < (pause_ms := _ms(onset.begin - self._voice_end)) <= CUT_OFF_MS:
            self._hangover.paused(pause_ms)
            talks_from = self._talks_from
        start, end, voiced = self._start(onset.begin), onset.voice_end, onset.voiced
        self._state = _Speech(start, talks_from, voiced, end, loud=(end, voiced))
        self._given_up = None
        self._idled = 0
        return Began(start, onset.begin, self._at)

    def _start(self, voiced: int) -> int:
        """Where the audio of a turn begins whose voice begins at `voiced`."""
        return max(self._floor, voiced - _samples(self._times.preroll_ms))

    def _speak(self, turn: _Speech, voice: Voice) -> list[Decision]:
        """The user speaks on; where a much louder voice has come in, that is the user."""
        decisions: list[Decision] = []
        joined = self._level.learn(voice.level_db, voice.start)
        if joined is not None and self._start(joined) > turn.start:
            turn.start, turn.talks_from = self._start(joined), joined
            turn.voiced = min(turn.voiced, voice.start - joined)
            decisions = [Joined(turn.start, joined, self._at)]
        turn.take(voice.end - voice.start, voice.end, loud=self._level.loud(voice.level_db))
        return decisions

    def _blip(self, pause: _Pause, voice: Voice) -> list[Decision]:
        """Voice in a pause: the user goes on, unless it is a click."""
        pause.blip += voice.end - voice.start
        pause.clear = pause.clear or not self._level.faded(voice.level_db)
        if pause.blip < _samples(BLIP_MS if pause.clear else FAINT_BLIP_MS):
            return []
        turn = self._state = pause.turn
        pause_ms = _ms(self._at - pause.blip - turn.voice_end)
        self._hangover.paused(pause_ms)
        if pause.clear:
            turn.loud = turn.voice_end, turn.voiced
        turn.take(pause.blip, voice.end, loud=self._level.loud(voice.level_db))
        return [Resumed(pause_ms, self._at)]

    def _hush(self, turn: _Speech) -> list[Decision]:
        """The user is silent: the turn pauses, and ends when the hold is over."""
        if turn.silence_from is None:
            turn.silence_from = self._at
        silence = self._at - turn.voice_end
        if silence >= _samples(self.hold_ms):
            return self._end("silence")
        if silence < _samples(min(self._settings.provisional_ms, self._settings.hold_ms)):
            return []
        pause, decisions = self._pause(turn)
        tail = _samples(self._times.tail_ms)
        if not pause.settled and silence >= tail:
            pause.settled = True
            end = turn.voice_end + tail
            decisions.append(Settled(turn.start, turn.voice_end, end, self._at))
        return decisions

    def _pause(self, turn: _Speech) -> tuple[_Pause, list[Decision]]:
        """The turn pauses, if it did not before: there is a pause before every end."""
        if isinstance(self._state, _Pause):
            return self._state, []
        self._state = _Pause(turn, self._at, turn.voice_end)
        return self._state, [Paused(turn.start, turn.voice_end, _ms(turn.voiced), self._at)]

    def _end(self, reason: Reason) -> list[Decision]:
        turn = self._turn
        assert turn is not None
        pause, decisions = self._pause(turn)
        end = min(self._at, turn.voice_end + _samples(self._times.tail_ms))
        ended = Ended(
            turn.start,
            end,
            turn.voice_end,
            turn.voice_end if turn.silence_from is None else turn.silence_from,
            pause.at,
            _ms(turn.voiced),
            self._at,
            reason,
            self.hold_ms,
            probability(pause.evidence),
        )
        self._state = _Quiet()
        self._cuts = self._cuts + 1 if reason == "length" else 0
        if self._cuts and self._cuts == self._times.most_cuts:
            self._cuts, self._state = 0, _TalksOn(self._at)
        self._voice_end, self._talks_from = turn.voice_end, turn.talks_from
        self._quiet_from = self._at
        # What one turn had, the next one's pre-roll does not repeat.
        self._floor = end
        return [*decisions, ended]


def _samples(ms: float) -> int:
    return int(ms * RATE / 1000)


def _ms(samples: int) -> float:
    return samples * 1000 / RATE
