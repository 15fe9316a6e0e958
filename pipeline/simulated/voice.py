"""What simulated servers say, as sound: made when a script is loaded, never during a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from pipeline.audio.audible import ending, onset
from pipeline.audio.files import read_audio
from pipeline.audio.resample import Resampler
from pipeline.config import Settings
from pipeline.conversation.history import CHARS_PER_SECOND
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.corpus import say
from pipeline.models.catalogue import Catalogue
from pipeline.simulated.script import Script

RATE = 24_000
"""Hz, of what both protocols send."""

TONE_HZ = 220
TONE_PEAK = 6000

Sounds = Mapping[str, Samples]
"""Sound by its text: int16 mono at `RATE`; its first and its last sample are audible ones."""


def texts(script: Script) -> list[str]:
    """All that a script says: replies and preambles, each once."""
    turns = [turn for turns in script.conversations.values() for turn in turns]
    spoken = [turn.reply for turn in turns]
    spoken += [call.preamble for turn in turns for call in turn.calls]
    return list(dict.fromkeys(text for text in spoken if text.strip()))


def speak(script: Script, settings: Settings | None = None) -> Sounds:
    """Make all the sound of a script. Blocks for as long as the voice needs.

    Lines that the voice spoke once are kept in the user's cache.

    Args:
        script: What is said, and with which voice.
        settings: Which Piper voice; None: the embedded one.

    Raises:
        BadInput: The voice is not there, or a text has no sound in it.
        StageError: The voice failed.
    """
    if script.voice == "tone":
        return {text: hum(text) for text in texts(script)}
    return _spoken(texts(script), settings or Settings(), script.name)


def hum(text: str) -> Samples:
    """A tone for about as long as a voice would need for `text`."""
    t = np.arange(round(len(text) / CHARS_PER_SECOND * RATE)) / RATE
    # A cosine is loud from its first sample on.
    return (TONE_PEAK * np.cos(2 * np.pi * TONE_HZ * t)).astype(np.int16)


def _spoken(lines: Iterable[str], settings: Settings, name: str) -> Sounds:
    lines = list(lines)
    if not lines:
        return {}
    folder = Path(settings.models.dir) if settings.models.dir else None
    voice = Catalogue.load(folder).resolve("tts", settings.tts.voice)
    try:
        items = say(lines, voice, settings.tts)
    except BadInput as error:
        raise BadInput(f"script {name}: its replies cannot be spoken: {error}") from None
    return {item.text: _trimmed(np.concatenate([*read_audio(item.path, RATE)])) for item in items}


def _trimmed(samples: Samples) -> Samples:
    """Without the silence at both ends."""
    return samples[onset(samples, RATE) : ending(samples, RATE)]


def at_rate(samples: Samples, rate: int) -> Samples:
    """Sound of `RATE` at another rate: what a server sends that does not keep to its word."""
    resampler = Resampler(RATE, rate)
    return np.concatenate([resampler.push(samples), resampler.flush()])
