"""What the microphone hears: verdicts on voice, the sound kept for a while, and its words.

The words are recognised when the user pauses; and, for the eye, now and then while they speak.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from pipeline.audio.resample import Resampler
from pipeline.clock import Clock
from pipeline.engines.vad import RATE, Voice
from pipeline.engines.whisper import NOTHING_KNOWN, Audio, Known, Transcription, bare, scaled
from pipeline.errors import BadInput, StageError
from pipeline.events import Frame, Samples
from pipeline.session import Inbox
from pipeline.turns.speech_end import AROUND, speech_end

LOST_S = 0.5
"""So much lost sound (s), and what comes has nothing to do with what was."""

BUDGET = 0.25
"""Share of the time between two partial transcripts that making one may take; with a slow model
they come less often. A final transcript may have to wait behind a partial one."""

BEHIND_S = 0.15
"""Audio that is judged later than this shows that the machine cannot keep up: no partial transcript
is made then."""

PIECE_S = 6.0
"""Of a longer utterance only the end is recognised again, where a pause lets it be cut: with what
is said until the next look, the silence after it and Whisper's margin that is a window of 8 s."""

LEAST_S = 2.0
"""So much sound (s) is recognised at least: single words are misheard more often than sentences."""

PAUSE_MS = 200
"""A shorter silence is no place to cut: it may be inside a word."""

WORDS_A_SECOND = 0.7
"""Of sound with fewer words than this, pauses included, some were not recognised: Whisper now and
then ends its text at a pause. People who speak slowly say 1.5."""

SETTLED_S = 2.0
"""From so much sound (s) the language of an utterance is heard once and for all: from less, Whisper
takes one language for another now and then."""

MARGIN_WORDS = 1
"""Words at the end of an agreement that are not trusted: the next sound may still change them."""

MARKS = '.,?!;:…-–—"”'
"""What may follow a word, and is no part of it."""

log = logging.getLogger(__name__)


class Detector(Protocol):
    """Judges voice (`engines.vad.VoiceDetector`)."""

    def push(self, samples: Samples) -> list[Voice]:
        """Take 16 kHz audio, give the verdicts on its 32 ms windows."""
        ...


class Transcribe(Protocol):
    """Recognises an utterance (`Engines.transcribe`)."""

    def __call__(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Awaitable[Transcription]:
        """Recognise an utterance (16 kHz, -1 to 1), of which so much is known.

        Raises:
            BadInput: The recogniser does not know the language.
            StageError: It failed.
        """
        ...


Recognise = Callable[[], Awaitable[Transcription]]
"""Gives what was said."""


class Hearing:
    """Resamples, keeps and judges what is heard. Offsets are samples at 16 kHz since the start.

    Args:
        detector: Judges voice.
        seconds: How much sound to keep (s).
    """

    def __init__(self, detector: Detector, seconds: float) -> None:
        self._detector = detector
        self._kept = RingBuffer(RATE, seconds)
        self._resampler: Resampler | None = None
        self._lag_ns = 0
        self._last: Frame | None = None

    @property
    def end(self) -> int:
        """How many samples have been heard."""
        return self._kept.end

    def follows(self, frame: Frame) -> bool:
        """Whether `frame` goes on where the last one ended; not so after a machine slept.

        Its samples are counted, not its time: a file that is read on a busy machine comes late, and
        is whole.
        """
        last = self._last
        if last is None or last.rate != frame.rate:
            return True
        return frame.offset - last.offset - len(last.samples) <= LOST_S * frame.rate

    def push(self, frame: Frame) -> list[Voice]:
        """Take the next frame, at any rate; gives the verdicts on the windows it completes."""
        self._last = frame
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, RATE)
            self._lag_ns = 0
        samples = self._resampler.push(frame.samples)
        # The resampler holds samples back: the first to come out went in that much earlier.
        self._kept.append(samples, frame.t_ns - self._lag_ns)
        self._lag_ns += frame.duration_ns - len(samples) * 1_000_000_000 // RATE
        return self._detector.push(samples)

    def time_of(self, offset: int) -> int:
        """When the sample at `offset` was captured (ns)."""
        return self._kept.time_of(offset)

    def last_sound(self, judged: int) -> int:
        """Where the voice ended that was judged to end at `judged` (see `speech_end`).

        Only what was heard so far is looked at.
        """
        start = max(0, judged - AROUND, self._kept.begin)
        found = speech_end(self._kept.cut(start, judged + AROUND), judged - start)
        return start + found.end

    def sound(self, start: int, end: int, *, until: int = 0) -> Audio:
        """What was heard from `start` to before `end`, and silence up to `until` if that is later.

        float32 in ±1, as the recogniser takes it.
        """
        audio = scaled(self._kept.cut(start, end))
        return np.pad(audio, (0, max(0, until - end)))


class RingBuffer:
    """Keeps the newest audio of a stream, and knows when each sample was captured.

    Offsets count samples since the stream began, at `rate`.
    """

    def __init__(self, rate: int, seconds: float) -> None:
        """Keep at least `seconds` of audio at `rate` Hz."""
        self.rate = rate
        self._keep = int(seconds * rate)
        self._blocks: deque[tuple[int, int, Samples]] = deque()
        self.end = 0

    @property
    def begin(self) -> int:
        """Offset of the oldest sample that is kept."""
        return self._blocks[0][0] if self._blocks else self.end

    def append(self, samples: Samples, t_ns: int) -> None:
        """Add what follows; `t_ns` is when its first sample was captured."""
        if not len(samples):
            return
        self._blocks.append((self.end, t_ns, samples))
        self.end += len(samples)
        while self._blocks and self._blocks[0][0] + len(self._blocks[0][2]) < self.end - self._keep:
            self._blocks.popleft()

    def cut(self, start: int, end: int) -> Samples:
        """A copy of the samples from `start` to before `end`, as far as they are still kept."""
        parts: deque[Samples] = deque()
        # What is asked for is mostly the newest, of many blocks.
        for first, _, block in reversed(self._blocks):
            if first + len(block) <= start:
                break
            if first < end:
                parts.appendleft(block[max(0, start - first) : max(0, end - first)])
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def time_of(self, offset: int) -> int:
        """When the sample at `offset` was captured (ns); beyond what is kept it is extrapolated.

        Each block has its own capture time, so a device clock that drifts does no harm.
        """
        if not self._blocks:
            return 0
        first, t_ns, _ = self._blocks[0]
        for start, time, _ in reversed(self._blocks):
            if start <= offset:
                first, t_ns = start, time
                break
        return t_ns + (offset - first) * 1_000_000_000 // self.rate


class Recogniser:
    """The recogniser of a session. It hears the language once in each utterance, unless told it.

    Of a long utterance only the end is recognised again. What was said before a pause is kept where
    the transcript that was made in the pause and one made while the user spoke on have the same
    words.

    Attributes:
        stable: The words that the running utterance surely begins with: the next transcript begins
            with them.
        language: Code of what the running utterance is surely spoken in; empty: not known yet.

    Args:
        transcribe: Recognises.
        every_ms: Time between two transcripts of the running utterance; 0 makes none.
        clock: Measures what they cost.
        inbox: The session's.
        tell: An act that gets each transcript of the running utterance.
    """

    def __init__(
        self,
        transcribe: Transcribe,
        *,
        every_ms: int,
        clock: Clock,
        inbox: Inbox,
        tell: Callable[[str], None],
    ) -> None:
        self.stable = self.language = ""
        self._transcribe = transcribe
        self._every_s = every_ms / 1000
        self._clock = clock
        self._inbox = inbox
        self._tell = tell
        # What somebody said that it will be; that of the running utterance; that of the last one.
        self._fixed = self._spoken = self._usual = ""
        self._prompt = ""
        self._failed = False
        # The running utterance: its turn (0: there is none), where the last transcript of it ended,
        # what they agree on, and what the last one cost.
        self._turn = self._until = 0
        self._agreement = Agreement()
        self._cost_s = 0.0
        self._task: asyncio.Task[None] | None = None
        # From where on it is recognised, and the words before that; where it paused, oldest first,
        # and the words before each pause. The last one may be going on: no words are not known yet.
        self._from, self._known = 0, ""
        self._pauses: list[tuple[int, str]] = []
        self._pause: tuple[int, str] | None = None
        self._doubted = False

    def expect(self, language: str, prompt: str) -> None:
        """What is said from now on is in this language, and of this kind; empty: as it turns out.

        Args:
            language: Its code.
            prompt: See `Known`.
        """
        self._fixed = language
        self._prompt = prompt

    async def transcribe(
        self, audio: Audio, voiced_ms: float | None, prefix: str = "", *, draft: bool = False
    ) -> Transcription:
        """Recognise an utterance (see `Engines.transcribe`).

        Raises:
            StageError: That fails.
        """
        try:
            heard = await self._transcribe(
                audio,
                Known(
                    voiced_ms=voiced_ms,
                    prefix=prefix,
                    language=self._fixed or self._spoken,
                    usual=self._usual,
                    draft=draft,
                    prompt=self._prompt,
                ),
            )
        except BadInput as error:
            raise StageError("stt", str(error)) from None
        if heard.sure and not draft:
            self._usual = heard.language
        return heard

    async def aside(self, recognise: Recognise) -> Transcription | None:
        """Recognise what the turn can do without; None if that fails, and the first time a line."""
        try:
            return await recognise()
        except StageError as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            self._failed = True
            log.log(level, "what is said cannot be recognised while it is said: %s", error)
            return None

    @property
    def running(self) -> bool:
        """Whether a partial transcript is being made."""
        return self._task is not None and not self._task.done()

    def begin(self, turn: int, start: int) -> None:
        """The utterance of a turn begins at this sample offset."""
        self._turn, self._until = turn, start
        self._agreement = Agreement()
        self.stable = self._spoken = ""
        self._from, self._known = start, ""
        self._pauses, self._pause, self._doubted = [], None, False

    def end(self) -> None:
        """The turn is over."""
        self._turn = 0

    def utterance(
        self,
        hearing: Hearing,
        end: int,
        voiced_ms: float | None = None,
        *,
        until: int = 0,
        stable: bool = False,
        pause: int = 0,
        draft: bool = False,
    ) -> Recognise:
        """What recognises the utterance up to `end`, with silence up to `until` if that is later.

        Args:
            hearing: Has its sound.
            end: One past its last sample.
            voiced_ms: How much of it is voiced, if known.
            until: See `Hearing.sound`.
            stable: Whether the stable words are taken as they are.
            pause: Where the speech ended, if a pause goes on.
            draft: Whether it is soon recognised again.
        """
        audio, known, turn = hearing.sound(self._from, end, until=until), self._known, self._turn
        if pause:
            self._pause = pause, ""
        prefix = " ".join(self.stable.split()[len(known.split()) :]) if stable else ""

        async def recognise() -> Transcription:
            heard = await self.transcribe(audio, None if known else voiced_ms, prefix, draft=draft)
            if known:
                heard = replace(heard, text=f"{known} {heard.text}".strip())
            if heard.sure and turn == self._turn:
                self.language = heard.language
                if len(audio) >= SETTLED_S * RATE:
                    self._spoken = heard.language
            if pause and heard.text and not heard.dropped:
                self._inbox.put(self._paused, turn, pause, heard.text)
            return heard

        return recognise

    def _paused(self, turn: int, speech_end: int, text: str) -> None:
        """This was said before the pause that goes on, unless words are missing in it."""
        if turn == self._turn and self._pause == (speech_end, "") and self.may_be_whole(text):
            self._pause = speech_end, text

    def may_be_whole(self, text: str) -> bool:
        """Whether a transcript of the running utterance has all words that were heard before.

        One that has fewer may have ended at a pause.
        """
        return len(text.split()) >= len(self._agreement.words) - MARGIN_WORDS

    def resumed(self, pause_ms: float) -> None:
        """The pause is over, after so long; the user goes on."""
        pause, self._pause = self._pause, None
        if pause is None or not pause[1] or pause_ms < PAUSE_MS:
            return
        (speech_end, text), at = pause, pause[0] + int(pause_ms * RATE / 2000)
        since, before = self._pauses[-1] if self._pauses else (self._from, self._known)
        words = len(text.split()) - len(before.split())
        # Between two pauses there may be no more than a click: no word is missed where none fits.
        wanted = WORDS_A_SECOND * (speech_end - since) / RATE
        self._doubted |= words < wanted and (words != 0 or wanted >= 1)
        if words and not self._doubted:
            self._pauses.append((at, text))

    def partly(self, hearing: Hearing) -> None:
        """Begin to recognise the utterance so far, if there is one and it is time to."""
        turn, end, began = self._turn, hearing.end, self._clock.now_ns()
        if not turn or not self._every_s or self.running:
            return
        wait_s = max(self._every_s, self._cost_s / BUDGET)
        if began - hearing.time_of(end) > BEHIND_S * 1e9 or end - self._until < wait_s * RATE:
            return
        cut = self._place_to_cut(end)
        self._until = end

        def heard(found: Transcription | None) -> None:
            self._cost_s = (self._clock.now_ns() - began) / 1e9
            if turn != self._turn or found is None:
                return
            if cut is not None:
                self._keep(*cut, found.text.split())
            elif found.text and not found.dropped:
                self.stable = self._agreement.push(found.text)
                self._tell(found.text)

        if cut is None:
            words = self.utterance(hearing, end, stable=True, draft=True)
        else:
            words = self.utterance(hearing, cut[0])
        self._task = self._inbox.start(self.aside(words), heard)

    def _place_to_cut(self, end: int) -> tuple[int, list[str]] | None:
        """A pause before which words can be kept, and these; None: there is none, or no need.

        The first pause that leaves no more than `PIECE_S`, or the last that leaves `LEAST_S`.
        """
        found = None
        if end - self._from <= PIECE_S * RATE:
            return None
        for at, text in self._pauses:
            before = self._agreement.words[: len(text.split())]
            if at + LEAST_S * RATE > end or at > self._until:
                break
            if bare(" ".join(before)) == bare(text):
                found = at, before
                if end - at <= PIECE_S * RATE:
                    break
        return found

    def _keep(self, at: int, before: list[str], afresh: list[str]) -> None:
        """Keep the words before a pause, as they are heard once more with no beginning given.

        What follows is recognised afresh: stable is what agrees with what was heard of it.
        """
        words = afresh if len(afresh) >= len(before) else before
        self._agreement.begin(len(before), words)
        self.stable = self._known = " ".join(words)
        self._from = at
        self._pauses = [
            (later, " ".join(words + text.split()[len(before) :]))
            for later, text in self._pauses
            if later > at
        ]
        self._doubted = False


class Agreement:
    """Which words consecutive transcripts of a growing utterance agree on. Pure.

    Local agreement of two: Liu et al. 2020 (arXiv:2005.11185), for Whisper Macháček et al. 2023
    (arXiv:2307.14743).

    Attributes:
        words: Those of the last transcript.
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self._stable = 0

    def begin(self, before: int, words: list[str]) -> None:
        """The first words of the last transcript are these, and only they are stable.

        Args:
            before: How many they are instead of.
            words: The words.
        """
        self.words = words + self.words[before:]
        self._stable = len(words)

    def push(self, text: str) -> str:
        """Take the next transcript; gives its stable words: all that were, unless it takes back.

        A mark after a word is among them only where both transcripts have it, with a word after it:
        audio that stops in the middle of a sentence gets a full stop all the same, and a model that
        is told to go on from there begins a new sentence, or the same one again.
        """
        words = text.split()
        agreed = 0
        for old, new in zip(self.words, words, strict=False):
            if bare(old) != bare(new):
                break
            agreed += 1
        # Of a transcript that takes back what was sure, nothing is trusted but what it confirms.
        kept = self._stable if agreed >= self._stable else 0
        self._stable = max(kept, agreed - MARGIN_WORDS)
        inner = self.words[:-1]
        self.words = words
        sure = (
            word if i < len(inner) and inner[i] == word else word.rstrip(MARKS)
            for i, word in enumerate(words[: self._stable])
        )
        return " ".join(word for word in sure if word)
