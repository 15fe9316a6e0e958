"""What a simulated server hears and says, as sound: the user's utterances, and its own replies.

It does not guess as a voice detector does: sound is what is audible, and a script may tell to the
sample where an utterance ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.audio.audible import Ear, ending, onset
from pipeline.audio.files import read_audio
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.corpus import say
from pipeline.models.catalogue import Catalogue
from pipeline.serve.script import Script
from pipeline.serve.sound import RATE
from pipeline.text.heard import CHARS_PER_SECOND, in_proportion

GAP_MS = 200
"""After the end that a script tells, so much silence makes what follows a new utterance."""

PROMPT_NS = 200 * NS_PER_MS
"""A piece that a busy machine or a jittery line holds up for less than this moves no end: a pace of
real time is known from the pieces before it."""

PIECE = RATE // 5
"""Samples of a piece of a reply: 200 ms, about what the real servers send."""

SPEED = 4
"""Replies are sent so much faster than they play."""

Sounds = Mapping[str, Samples]
"""Sound by its text: int16 mono at `RATE`; its first and its last sample are audible ones."""


class UtteranceEdge(NamedTuple):
    """Where an utterance began or ended.

    Attributes:
        is_end: It ended there.
        sample: Its first audible sample, counted from the first one received; or where it truly
            ended: as the script tells, else one past its last audible sample.
        t_ns: When that was spoken, on the clock of the arrivals.
    """

    is_end: bool
    sample: int
    t_ns: int


class UtteranceFinder:
    """Finds utterances in a stream. Pure: it knows only the samples and times that it is given.

    Time is counted in samples received. A sample's time on the clock is when the piece that holds
    it arrived, less what follows it in that piece; if that piece is later than those just before
    it, it is when it would have arrived had it been as prompt as they were.

    Args:
        rate: Hz, of what it hears.
        silence_ms: So much silence ends an utterance of which the script does not tell the end.

    Attributes:
        position: How many samples have been received.
        silence_ms: May be set at any time.
    """

    def __init__(self, rate: int, silence_ms: float) -> None:
        self.rate = rate
        self.silence_ms = silence_ms
        self.position = 0
        self._ends_s: float | None = None
        self._early_s: float | None = None
        self._arrivals: deque[tuple[int, int]] = deque()
        self.reset()

    def reset(self) -> None:
        """Forget the utterance that is under way; what follows may be a new one."""
        self._ear = Ear(self.rate)
        self._began: int | None = None
        self._busy_until: int | None = None

    @property
    def speaking(self) -> bool:
        """Whether an utterance is under way."""
        return self._began is not None and self._busy_until is None

    def expect(self, ends_s: float | None, early_s: float | None = None) -> None:
        """Say where the next utterance ends; also changes the one that is under way.

        Args:
            ends_s: From its first audible sample (s); None: where silence begins.
            early_s: Call it over here already, and do not hear the rest as a new one.
        """
        self._ends_s = ends_s
        self._early_s = early_s

    def hear(self, samples: Samples, arrived_ns: int) -> list[UtteranceEdge]:
        """Hear the next piece of int16 sound; gives what it shows, in order.

        Args:
            samples: Any number of them.
            arrived_ns: When all of them were there.
        """
        found = []
        start, self.position = self.position, self.position + len(samples)
        self._arrivals.append((arrived_ns, arrived_ns - self.position * NS_PER_S // self.rate))
        while self._arrivals[0][0] < arrived_ns - PROMPT_NS:
            self._arrivals.popleft()
        self._ear.hear(samples, start * NS_PER_S // self.rate)
        if self._busy_until is not None:
            quiet = self.position - max(self._busy_until, self._sound_end())
            if quiet >= GAP_MS * self.rate // 1000:
                self.reset()
        if self._began is None and (first := self._ear.audible_ns) is not None:
            self._began = self._sample(first)
            found.append(self._edge(False, self._began))
        if self.speaking and (end := self._end()) is not None:
            found.append(self._edge(True, end))
        return found

    def stop(self) -> UtteranceEdge | None:
        """End the utterance here, because the client says so; None if there was none.

        What is left of it is not heard as a new one.
        """
        if not self.speaking:
            return None
        end = self._sound_end() if self._ends_s is None else self._at(self._ends_s)
        self._busy_until = max(self.position, end)
        return self._edge(True, min(end, self.position))

    def _end(self) -> int | None:
        """Where the utterance under way has ended; None: it goes on."""
        told_s = self._ends_s if self._early_s is None else self._early_s
        if told_s is None:
            end = self._sound_end()
            if self.position - end < self.silence_ms * self.rate / 1000:
                return None
            self.reset()
            return end
        end = self._at(told_s)
        if self.position < end:
            return None
        self._busy_until = end if self._ends_s is None else max(end, self._at(self._ends_s))
        return end

    def _at(self, seconds: float) -> int:
        """The sample that is so long after the utterance's first."""
        assert self._began is not None
        return self._began + round(seconds * self.rate)

    def _sound_end(self) -> int:
        """One past the last audible sample."""
        last = self._ear.last_audible_ns
        return 0 if last is None else self._sample(last) + 1

    def _sample(self, t_ns: int) -> int:
        return round(t_ns * self.rate / NS_PER_S)

    def _edge(self, is_end: bool, sample: int) -> UtteranceEdge:
        zero_ns = min(zero_ns for _, zero_ns in self._arrivals)
        return UtteranceEdge(is_end, sample, zero_ns + sample * NS_PER_S // self.rate)


def texts(script: Script) -> list[str]:
    """All that a script says: replies and preambles, each once."""
    turns = [turn for turns in script.conversations.values() for turn in turns]
    said = [turn.reply for turn in turns]
    said += [call.preamble for turn in turns for call in turn.calls]
    return list(dict.fromkeys(text for text in said if text.strip()))


def speak(script: Script, settings: Settings | None = None) -> Sounds:
    """Make all the sound of a script, before any turn. Blocks for as long as the voice needs.

    Lines that the voice spoke once are kept in the user's cache.

    Args:
        script: What is said, and with which voice.
        settings: Which Piper voice; None: the embedded one.

    Raises:
        BadInput: The voice is not there, or a text has no sound in it.
        StageError: The voice failed.
    """
    lines = texts(script)
    if script.voice == "tone" or not lines:
        return {text: hum(text) for text in lines}
    settings = settings or Settings()
    folder = Path(settings.models.dir) if settings.models.dir else None
    voice = Catalogue.load(folder).resolve("tts", settings.tts.voice)
    try:
        items = say(lines, voice, settings.tts)
    except BadInput as error:
        raise BadInput(f"script {script.name}: its replies cannot be spoken: {error}") from None
    sounds = {item.text: np.concatenate([*read_audio(item.path, RATE)]) for item in items}
    return {text: sound[onset(sound, RATE) : ending(sound, RATE)] for text, sound in sounds.items()}


def hum(text: str) -> Samples:
    """A tone for about as long as a voice would need for `text`."""
    t = np.arange(round(len(text) / CHARS_PER_SECOND * RATE)) / RATE
    # A cosine is loud from its first sample on.
    return (6000 * np.cos(2 * np.pi * 220 * t)).astype(np.int16)


class ReplyPiece(NamedTuple):
    """A piece of a reply.

    Attributes:
        text: The words of it, with the space before them; may be empty.
        samples: Its sound.
        wait_ns: How long after the piece before it this one is sent.
    """

    text: str
    samples: Samples
    wait_ns: int


def pieces(text: str, sound: Samples) -> Iterator[ReplyPiece]:
    """The pieces of a reply, in order; the texts make up `text`, the sound `sound`.

    The first piece has a word in any case, and the last one all that is left.
    """
    said, wait = "", 0
    for start in range(0, max(1, len(sound)), PIECE):
        end = min(start + PIECE, len(sound))
        words = in_proportion(text, end, len(sound)) if len(sound) else text
        if not words:
            words = text.split(" ", 1)[0]
        # A word that was said is never taken back.
        words = max(words, said, key=len)
        yield ReplyPiece(words[len(said) :], sound[start:end], wait)
        said, wait = words, (end - start) * NS_PER_S // RATE // SPEED
