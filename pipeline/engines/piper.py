"""Text to speech: a Piper voice in our own ONNX session.

Piper's own loader takes every core, lets the threads spin between sentences, returns a sentence at
a time and scales each to full range. Here a voice computes in one thread, VITS voices give sound
while they compute, one gain holds for all that a voice says, and a synthesis can be stopped at any
point. Only Piper's way from text to phoneme ids is used as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from piper.config import PhonemeType, PiperConfig
from piper.const import BOS, PAD
from piper.voice import PiperVoice

from pipeline.config import TtsSettings
from pipeline.engines.piper_onnx import (
    CONTEXT_FRAMES,
    PIECE_FRAMES,
    Feeds,
    Floats,
    IdEnds,
    load,
)
from pipeline.engines.worker import Stop
from pipeline.errors import BadInput, StageError, first_line
from pipeline.events import Samples
from pipeline.text import heard, lexicon
from pipeline.text.heard import Sound, WordEnd
from pipeline.text.language_names import code_of
from pipeline.text.speakable import speakable

LEVEL_DB = -18.0
"""Level of speech: RMS of its voiced 10 ms frames, in dB re a full-scale square wave. Speech peaks
some 15 dB above its RMS, so that this is about the loudest that seldom meets the limiter."""

GAIN_BOUNDS = (0.25, 4.0)
"""A voice further from `LEVEL_DB` than 12 dB is odd; amplified more, its noise would be heard."""

KNEE = 0.9
"""Above this share of full scale the limiter bends."""

_SPEECH = "1 2 3 4 5"
"""Digits: espeak-ng reads them in the language of every voice."""

_SPELT = (PhonemeType.ESPEAK, PhonemeType.TEXT)
"""Alphabets whose phonemes are letters."""

_WordIds = list[tuple[int, int]]
"""Words that end in a sentence: each one's end in the text, and how many ids are spoken by then."""


class Piper:
    """A Piper voice: text in, sound out. Blocks; runs in a worker thread, one text at a time.

    Attributes:
        rate: Samples per second (Hz).
        language: Code of what it speaks, such as `en`.
        streams: Whether sound flows inside a sentence: a VITS voice that was not left whole.
    """

    def __init__(
        self,
        path: Path,
        settings: TtsSettings,
        *,
        stream: bool = True,
        piece_frames: int = PIECE_FRAMES,
        context_frames: int = CONTEXT_FRAMES,
    ) -> None:
        """Load the voice: its `.onnx` and the `.onnx.json` beside it.

        Args:
            path: The `.onnx`.
            settings: Speed, style, speaker and pronunciations.
            stream: False: the sound of a sentence comes in one piece, of a VITS voice too.
            piece_frames: See `piper_onnx.PIECE_FRAMES`.
            context_frames: See `piper_onnx.CONTEXT_FRAMES`.

        Raises:
            BadInput: A file is missing or damaged, or no Piper voice; it has no such speaker, or
                not all symbols of the lexicon.
        """
        self._name = path.name.removesuffix(".onnx")
        self._settings = settings
        self._config = _read_config(path)
        self._engine = load(
            path,
            self._config.hop_length,
            stream=stream,
            piece_frames=piece_frames,
            context_frames=context_frames,
        )
        self.rate = self._config.sample_rate
        self.language = voice_language(path)
        self.streams = self._engine.streams
        self._speaker = _speaker(self._name, self._config, settings.speaker)
        self._lexicon: lexicon.Lexicon = {}
        if settings.lexicon:
            symbols = self._config.phoneme_id_map
            self._lexicon = lexicon.read(
                Path(settings.lexicon).expanduser(), self.language, symbols
            )
            if self._config.phoneme_type not in _SPELT:
                raise BadInput(
                    f"tts.lexicon: {self._name} has no phonemes of its own; leave it out"
                )
        self._voice = PiperVoice(self._engine.session, self._config, download_dir=path.parent)
        self._gain: float | None = None

    def warm(self) -> None:
        """Say something unheard: the first call costs twice, and the voice's level is unknown.

        Raises:
            StageError: The voice cannot speak (`fatal`).
        """
        speakable(f"{_SPEECH} km", language=self.language)  # compiles what its language needs
        try:
            phonemes = self._phonemes(_SPEECH) if self._is_espeak() else []
            # A voice without digits gets the letters it knows.
            ids = self._ids(phonemes[0] if phonemes else self._letters()[:12])
            # Without noise, so that a voice has the same gain every day.
            feeds = self._feeds(ids, noise=False)
            _, pieces = self._engine.run(feeds, ort.RunOptions(), len(ids))
            sound = np.concatenate([*pieces])
        except StageError as error:
            raise StageError("tts", str(error), fatal=True) from error.__cause__
        except Exception as error:
            raise self._failed(error, fatal=True) from error
        self._gain = float(np.clip(10 ** (LEVEL_DB / 20) / level(sound, self.rate), *GAIN_BOUNDS))

    def synthesize(self, text: str, stop: Stop, speed: float = 1.0) -> Iterator[Sound]:
        """Speak `text`.

        Sentences follow each other as the voice speaks them, with no silence added.

        Args:
            text: Any length; what cannot be spoken (`...`, `?!`) has no sound.
            stop: Ends a running computation within milliseconds; the iteration then just ends.
            speed: 1.2 speaks a fifth faster than the settings say.

        Yields:
            The sound in order, int16 mono at `rate`, in pieces of at least one sample, and the
            words of `text` that end in each. Nothing for text without sound.

        Raises:
            StageError: The text cannot be turned into phonemes, or the computation failed.
        """
        if self._gain is None:
            self.warm()
        assert self._gain is not None
        gain = self._gain
        options = ort.RunOptions()
        # onnxruntime logs a run that was asked to stop as an error.
        options.log_severity_level = 4
        stop.on_set(lambda: setattr(options, "terminate", True))
        for phonemes, words in zip(*self._worded(text, self._phonemes(text)), strict=True):
            made = 0
            ids = self._ids(phonemes)
            sounding = words[-1][1] if words else len(ids)
            feeds = self._feeds(ids, speed=speed)
            for ends, sound in self._sentence(feeds, sounding, options, stop):
                if not np.isfinite(sound).all():
                    raise StageError("tts", f"voice {self._name}: made a sound that is no number")
                if len(sound):
                    yield Sound(limited(sound * gain), _ending(words, ends, made, len(sound)))
                made += len(sound)

    def _sentence(
        self, feeds: Feeds, sounding: int, options: ort.RunOptions, stop: Stop
    ) -> Iterator[tuple[IdEnds | None, Floats]]:
        """The sound of one sentence, as far as it is wanted; with each piece, where ids end."""
        if stop.is_set:
            return
        try:
            ends, sounds = self._engine.run(feeds, options, sounding)
            for sound in sounds:
                if stop.is_set:
                    return
                yield ends, sound
        except Exception as error:
            if not stop.is_set:
                raise self._failed(error) from error

    def _is_espeak(self) -> bool:
        return self._config.phoneme_type == PhonemeType.ESPEAK

    def _letters(self) -> list[str]:
        return [p for p in self._config.phoneme_id_map if _sounds(p)]

    def _phonemes(self, text: str) -> list[list[str]]:
        """The sentences of `text` that have a sound in this voice, as phonemes."""
        known = self._config.phoneme_id_map
        sentences = self._all_phonemes(text)
        return [s for s in sentences if any(_sounds(p) and p in known for p in s)]

    def _all_phonemes(self, text: str) -> list[list[str]]:
        try:
            # Piper takes [[…]] for phonemes; who writes that in a reply does not mean it.
            return self._voice.phonemize(text.replace("[[", "[ ["))
        except Exception as error:
            raise self._failed(error) from error

    def _ids(self, phonemes: list[str]) -> list[int]:
        return self._voice.phonemes_to_ids(phonemes)

    def _worded(
        self, text: str, sentences: list[list[str]]
    ) -> tuple[list[list[str]], list[_WordIds | None]]:
        """The sentences with the lexicon's words in them, and the words of `text` that end in each.

        Of each word its end in the text, and how many ids of the sentence are spoken by then.

        None for an alphabet whose phonemes are no letters (pinyin, which has ids of its own), or
        are slow to find out.
        """
        if self._config.phoneme_type not in _SPELT:
            return sentences, [None] * len(sentences)
        words = heard.words(text)
        places = heard.places(sentences, self._alone([word.text for word in words]))
        if self._lexicon:
            sentences, places = lexicon.pronounced(self._lexicon, sentences, words, places)
        counts = [self._id_counts(phonemes) for phonemes in sentences]
        found: list[_WordIds] = [[] for _ in sentences]
        for word, place in zip(words, places, strict=True):
            if sentences:
                found[place.sentence].append((word.end, counts[place.sentence][place.phonemes]))
        return sentences, [*found]

    def _alone(self, words: list[str]) -> list[list[str]]:
        """The phonemes of each word by itself."""
        if self._is_espeak():
            # One call takes a tenth of the time of many, and paragraphs do not touch each other.
            paragraphs = self._all_phonemes("\n\n".join(words))
            missing = len(words) - len(paragraphs)
            # Piper leaves out a last one that is empty.
            if missing in (0, 1):
                return paragraphs + [[] for _ in range(missing)]
        return [[p for part in self._all_phonemes(word) for p in part] for word in words]

    def _id_counts(self, phonemes: list[str]) -> list[int]:
        """How many ids are spoken after each number of phonemes, as Piper's `phonemes_to_ids`."""
        ids, pad = self._config.phoneme_id_map, len(self._config.phoneme_id_map[PAD])
        counts = [len(ids[BOS]) + pad]
        for phoneme in phonemes:
            counts.append(counts[-1] + (len(ids[phoneme]) + pad if phoneme in ids else 0))
        return counts

    def _feeds(self, ids: list[int], *, noise: bool = True, speed: float = 1.0) -> Feeds:
        config = self._config
        scales = [
            config.noise_scale * noise,
            config.length_scale / (self._settings.speed * speed),
            config.noise_w_scale * noise,
        ]
        return {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
            "sid": np.array([self._speaker], np.int64),
        }

    def _failed(self, error: Exception, *, fatal: bool = False) -> StageError:
        return StageError(
            "tts", f"voice {self._name} cannot speak: {first_line(error)}", fatal=fatal
        )


def _ending(
    words: _WordIds | None, ends: IdEnds | None, start: int, samples: int
) -> tuple[WordEnd, ...] | None:
    """The words that end in a piece of a sentence, which begins at `start`."""
    if words is None or ends is None:
        return None
    at = [(char, int(ends[ids - 1])) for char, ids in words]
    return tuple(
        WordEnd(char, end - start) for char, end in at if start < max(end, 1) <= start + samples
    )


def _speaker(name: str, config: PiperConfig, wanted: str) -> int:
    """The number of a speaker, by its name or its number; the first where none is asked for.

    Raises:
        BadInput: The voice has no such one.
    """
    if not wanted:
        return int(config.default_speaker_id)
    known = config.speaker_id_map or {}
    if wanted in known:
        return int(known[wanted])
    if wanted.isdecimal() and int(wanted) < config.num_speakers:
        return int(wanted)
    few = ", ".join([*known][:20]) + (", …" if len(known) > 20 else "")
    there = f"{config.num_speakers}: {few or '0 and up'}" if config.num_speakers > 1 else "one only"
    raise BadInput(f"tts.speaker is {wanted!r}; {name} has {there}")


def voice_language(path: Path) -> str:
    """Code of the language that a voice speaks, as Whisper has it; nothing else of it is loaded.

    Args:
        path: The `.onnx`.

    Raises:
        BadInput: The `.onnx.json` beside it is missing or damaged.
    """
    return code_of(_read_config(path).espeak_voice)


def _read_config(path: Path) -> PiperConfig:
    config = path.with_name(path.name + ".json")
    try:
        settings = PiperConfig.from_dict(json.loads(config.read_text(encoding="utf-8")))
        if not isinstance(settings.sample_rate, int) or settings.sample_rate < 1000:
            raise ValueError(f"sample_rate is {settings.sample_rate!r}")
        return settings
    except KeyError as error:
        raise BadInput(f"{config}: not the settings of a Piper voice: no {error}") from error
    except Exception as error:
        raise BadInput(
            f"{config}: not the settings of a Piper voice: {first_line(error)}"
        ) from error


def _sounds(phoneme: str) -> bool:
    """Whether it is a letter or a digit (some voices write tones so), not a pause or a stress."""
    return phoneme.isalnum()


def level(sound: Floats, rate: int) -> float:
    """How loud speech is while there is any: the RMS of its 10 ms frames that are voiced.

    A frame down to 20 dB below the loudest counts: pauses do not make a voice quiet. Never 0.
    """
    size = rate // 100
    frames = sound[: len(sound) // size * size].reshape(-1, size)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    voiced = power[power >= power.max(initial=0.0) / 100]
    return max(float(np.sqrt(voiced.mean())) if len(voiced) else 0.0, 1e-6)


def limited(sound: Floats) -> Samples:
    """Bend what exceeds full scale back into it, and round to 16 bits.

    Up to `KNEE` samples are left alone; above, tanh continues with the same slope and never gets to
    full scale. Each sample for itself, so that pieces join without a seam.
    """
    size = np.abs(sound)
    room = 1.0 - KNEE
    bent = KNEE + room * np.tanh((size - KNEE) / room)
    result = np.where(size > KNEE, np.copysign(bent, sound), sound)
    return np.rint(result * 32767.0).astype(np.int16)
