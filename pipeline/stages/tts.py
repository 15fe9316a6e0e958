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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from piper.config import PhonemeType, PiperConfig
from piper.voice import PiperVoice

from pipeline.config import Tts
from pipeline.errors import BadInput, StageError
from pipeline.events import Samples
from pipeline.stages import vits
from pipeline.stages.worker import Stop

LEVEL_DB = -18.0
"""Level of speech: RMS of its voiced 10 ms frames, in dB re a full-scale square wave. Speech peaks
some 15 dB above its RMS, so that this is about the loudest that seldom meets the limiter."""

GAIN_BOUNDS = (0.25, 4.0)
"""A voice further from `LEVEL_DB` than 12 dB is odd; amplified more, its noise would be heard."""

KNEE = 0.9
"""Above this share of full scale the limiter bends."""

_SPEECH = "1 2 3 4 5"
"""Digits: espeak-ng reads them in the language of every voice."""

_INPUTS = {"input", "input_lengths", "scales", "sid"}

_Feeds = dict[str, npt.NDArray[Any]]
_Floats = npt.NDArray[np.float32]


class Piper:
    """A Piper voice: text in, sound out. Blocks; runs in a worker thread, one text at a time.

    Attributes:
        rate: Samples per second (Hz).
        language: Code of what it speaks, such as `en`.
        streams: Whether sound flows inside a sentence: a VITS voice, and `tts.stream` is on.
    """

    def __init__(self, path: Path, settings: Tts) -> None:
        """Load the voice: its `.onnx` and the `.onnx.json` beside it.

        Raises:
            BadInput: A file is missing or damaged, or no Piper voice.
        """
        self._name = path.name.removesuffix(".onnx")
        self._settings = settings
        self._config = _read_config(path)
        self._engine = _load(path, settings)
        self.rate = self._config.sample_rate
        self.language = self._config.espeak_voice.split("-")[0]
        self.streams = isinstance(self._engine, _Split)
        self._voice = PiperVoice(self._engine.session, self._config, download_dir=path.parent)
        self._gain: float | None = None

    def warm(self) -> None:
        """Say something unheard: the first call costs twice, and the voice's level is unknown.

        Raises:
            StageError: The voice cannot speak (`fatal`).
        """
        try:
            phonemes = self._phonemes(_SPEECH) if self._is_espeak() else []
            # A voice without digits gets the letters it knows.
            ids = self._ids(phonemes[0] if phonemes else self._letters()[:12])
            # Without noise, so that a voice has the same gain every day.
            feeds = self._feeds(ids, noise=False)
            sound = np.concatenate([*self._engine.run(feeds, ort.RunOptions())])
        except StageError as error:
            raise StageError("tts", str(error), fatal=True) from error.__cause__
        except Exception as error:
            raise self._failed(error, fatal=True) from error
        self._gain = float(np.clip(10 ** (LEVEL_DB / 20) / level(sound, self.rate), *GAIN_BOUNDS))

    def synthesize(self, text: str, stop: Stop) -> Iterator[Samples]:
        """Speak `text`.

        Sentences follow each other as the voice speaks them, with no silence added.

        Args:
            text: Any length; what cannot be spoken (`...`, `?!`) has no sound.
            stop: Ends a running computation within milliseconds; the iteration then just ends.

        Yields:
            The sound in order, int16 mono at `rate`, in pieces of at least one sample. Nothing for
            text without sound.

        Raises:
            StageError: The text cannot be turned into phonemes, or the computation failed.
        """
        if self._gain is None:
            self.warm()
        assert self._gain is not None
        gain = self._gain * self._settings.volume
        options = ort.RunOptions()
        # onnxruntime logs a run that was asked to stop as an error.
        options.log_severity_level = 4
        stop.on_set(lambda: setattr(options, "terminate", True))
        for phonemes in self._phonemes(text):
            for sound in self._sentence(self._feeds(self._ids(phonemes)), options, stop):
                if not np.isfinite(sound).all():
                    raise StageError("tts", f"voice {self._name}: made a sound that is no number")
                if len(sound):
                    yield limited(sound * gain)

    def _sentence(self, feeds: _Feeds, options: ort.RunOptions, stop: Stop) -> Iterator[_Floats]:
        """The sound of one sentence, as far as it is wanted."""
        if stop.is_set:
            return
        try:
            for sound in self._engine.run(feeds, options):
                if stop.is_set:
                    return
                yield sound
        except Exception as error:
            if not stop.is_set:
                raise self._failed(error) from error

    def _is_espeak(self) -> bool:
        return self._config.phoneme_type == PhonemeType.ESPEAK

    def _letters(self) -> list[str]:
        return [p for p in self._config.phoneme_id_map if _sounds(p)]

    def _phonemes(self, text: str) -> list[list[str]]:
        """The sentences of `text` that have a sound in this voice, as phonemes."""
        try:
            # Piper takes [[…]] for phonemes; who writes that in a reply does not mean it.
            sentences = self._voice.phonemize(text.replace("[[", "[ ["))
        except Exception as error:
            raise self._failed(error) from error
        known = self._config.phoneme_id_map
        return [s for s in sentences if any(_sounds(p) and p in known for p in s)]

    def _ids(self, phonemes: list[str]) -> list[int]:
        return self._voice.phonemes_to_ids(phonemes)

    def _feeds(self, ids: list[int], *, noise: bool = True) -> _Feeds:
        config = self._config
        scales = [
            config.noise_scale * noise,
            config.length_scale / self._settings.speed,
            config.noise_w_scale * noise,
        ]
        return {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
            "sid": np.array([config.default_speaker_id], np.int64),
        }

    def _failed(self, error: Exception, *, fatal: bool = False) -> StageError:
        return StageError("tts", f"voice {self._name} cannot speak: {_brief(error)}", fatal=fatal)


class _Engine(Protocol):
    """What turns phoneme ids into sound."""

    session: ort.InferenceSession

    def run(self, feeds: _Feeds, options: ort.RunOptions) -> Iterator[_Floats]:
        """The sound of one sentence in order, each piece of shape (n,), full scale 1."""
        ...


class _Whole:
    """A voice of any kind: the sound of a sentence comes in one piece."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session

    def run(self, feeds: _Feeds, options: ort.RunOptions) -> Iterator[_Floats]:
        yield _compute(self.session, feeds, options).reshape(-1).astype(np.float32, copy=False)


class _Split:
    """A VITS voice: the vocoder makes piece after piece of what the encoder made of a sentence."""

    def __init__(self, halves: vits.Halves, settings: Tts) -> None:
        self.session = _session(halves.encoder, settings.threads)
        self._vocoder = _session(halves.vocoder, settings.threads)
        self._latent = halves.latent
        self._first = settings.stream_frames
        self._context = settings.context_frames

    def run(self, feeds: _Feeds, options: ort.RunOptions) -> Iterator[_Floats]:
        latent = _compute(self.session, feeds, options)
        for piece in vits.pieces(latent.shape[2], self._first, self._context):
            part = latent[:, :, piece.left : piece.right]
            sound = self._decode(part, feeds, options)
            hop = len(sound) // part.shape[2]
            start = (piece.start - piece.left) * hop
            yield sound[start : start + (piece.stop - piece.start) * hop]

    def hop(self) -> int | None:
        """Samples per frame, or None if the vocoder gives no fixed number."""
        made = []
        given = self._vocoder.get_inputs()[0]
        for frames in (2, 7):
            dtype = np.float16 if given.type == "tensor(float16)" else np.float32
            part = np.zeros((1, given.shape[1], frames), dtype)
            sound = self._decode(part, {"sid": np.zeros(1, np.int64)}, ort.RunOptions())
            made.append(divmod(len(sound), frames))
        (hop, rest), other = made
        return hop if hop and not rest and other == (hop, 0) else None

    def _decode(self, part: npt.NDArray[Any], feeds: _Feeds, options: ort.RunOptions) -> _Floats:
        given = {self._latent: np.ascontiguousarray(part), **feeds}
        sound = _compute(self._vocoder, given, options)
        return sound.reshape(-1).astype(np.float32, copy=False)


def _compute(
    session: ort.InferenceSession, feeds: _Feeds, options: ort.RunOptions
) -> npt.NDArray[Any]:
    """The first output of `session`, which is given those `feeds` that it takes."""
    given = {value.name: feeds[value.name] for value in session.get_inputs()}
    result: npt.NDArray[Any] = session.run([session.get_outputs()[0].name], given, options)[0]
    return result


def _load(path: Path, settings: Tts) -> _Engine:
    try:
        # The graphs are cut anew at each start. That takes a fifth of what onnxruntime needs to
        # build a session from them: too little to keep copies of every voice on disk.
        halves = vits.split(onnx.load(path)) if settings.stream else None
        split = _Split(halves, settings) if halves else None
        if split and split.hop():
            engine: _Engine = split
        else:
            engine = _Whole(_session(str(path), settings.threads))
    except Exception as error:
        raise BadInput(
            f"{path}: cannot be loaded, it may be damaged: {_brief(error)}\n"
            "Delete it and fetch the voice again."
        ) from error
    names = {value.name for value in engine.session.get_inputs()}
    if "input" not in names or names - _INPUTS:
        raise BadInput(
            f"{path}: not a Piper voice: it takes {', '.join(sorted(names))}, "
            f"not {', '.join(sorted(_INPUTS))}"
        )
    return engine


def _session(model: str | bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin between runs take the core from the language model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without the arena a run costs a quarter to a half more.
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _read_config(path: Path) -> PiperConfig:
    config = path.with_name(path.name + ".json")
    for file in (path, config):
        if not file.is_file():
            raise BadInput(
                f"{file}: there is no such file; a Piper voice is two files, "
                f"{path.name} and {config.name}"
            )
    try:
        settings = PiperConfig.from_dict(json.loads(config.read_text(encoding="utf-8")))
        if not isinstance(settings.sample_rate, int) or settings.sample_rate < 1000:
            raise ValueError(f"sample_rate is {settings.sample_rate!r}")
        return settings
    except KeyError as error:
        raise BadInput(f"{config}: not the settings of a Piper voice: no {error}") from error
    except Exception as error:
        raise BadInput(f"{config}: not the settings of a Piper voice: {_brief(error)}") from error


def _sounds(phoneme: str) -> bool:
    """Whether it is a letter or a digit (some voices write tones so), not a pause or a stress."""
    return phoneme.isalnum()


def _brief(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def level(sound: _Floats, rate: int) -> float:
    """How loud speech is while there is any: the RMS of its 10 ms frames that are voiced.

    A frame down to 20 dB below the loudest counts: pauses do not make a voice quiet. Never 0.
    """
    size = rate // 100
    frames = sound[: len(sound) // size * size].reshape(-1, size)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    voiced = power[power >= power.max(initial=0.0) / 100]
    return max(float(np.sqrt(voiced.mean())) if len(voiced) else 0.0, 1e-6)


def limited(sound: _Floats) -> Samples:
    """Bend what exceeds full scale back into it, and round to 16 bits.

    Up to `KNEE` samples are left alone; above, tanh continues with the same slope and never gets to
    full scale. Each sample for itself, so that pieces join without a seam.
    """
    size = np.abs(sound)
    room = 1.0 - KNEE
    bent = KNEE + room * np.tanh((size - KNEE) / room)
    result = np.where(size > KNEE, np.copysign(bent, sound), sound)
    return np.rint(result * 32767.0).astype(np.int16)
