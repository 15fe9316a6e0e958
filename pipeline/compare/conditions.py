"""Conditions: what the user's sound goes through before any system hears it. Pure.

On its way it passes a room, noise is added, a microphone with a gain takes it up, and a line of
narrow band, with a telephone's codec, loses packets of it: in this order, whatever is named of it.
What is measured knows nothing of that: the left side of the WAV is the clean recording, and so is
the end of speech. Nothing here delays the sound: filters are of minimum phase, the shortest that
their loudness by frequency allows (less than 1 ms from 500 to 3000 Hz), and a room begins with its
direct sound.

All that is random comes from the run's seed, the scenario and the repeat, and begins anew with each
utterance: however long the replies were, every system hears the same disturbance of the same word.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from pipeline.audio.encoding import G711_RATE, Encoding
from pipeline.audio.line import RATE
from pipeline.audio.virtual import FRAMES_PER_S
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.measure.cues import FORM
from pipeline.yaml_file import complaint

CLEAN = "clean"
"""The condition in which nothing is done to the sound."""

FRAME = RATE // FRAMES_PER_S
"""Samples of a frame of the microphone, and of a packet (20 ms, as RTP has it for G.711)."""

BAND_HZ = (300.0, 3400.0)
"""What a telephone lets through (ITU-T G.712)."""

STOP_DB, RUMBLE_DB = 60.0, 40.0
"""How far down is what lies above the band, from 4 kHz on; and below it, at half its edge."""

RINGS = 640
"""Length of such a filter (samples): what it rings after that is 60 dB down."""

DIRECT_DB = 20.0
"""A room's direct sound is the first that is at most so far below its loudest (ISO 3382-1)."""

MOST_ROOM_S = 10.0
"""What lasts longer is no impulse response, but a recording: a cathedral's is shorter."""

SEAM_S = 0.05
"""Over so long the end of a noise fades into its beginning, where it begins again."""

SPOILT_DB = 0.5
"""Noise that loses more of its level at full scale is not the one that was asked for."""

CODECS: Mapping[str, Encoding] = {
    "g711u": Encoding("pcmu", G711_RATE),
    "g711a": Encoding("pcma", G711_RATE),
}

Floats = npt.NDArray[np.float64]
"""Sound; 1 is full scale."""


@checked(frozen=True, slots=True, config=FORM)
class Condition:
    """What is done to the user's sound; nothing, where nothing is named.

    Attributes:
        room: Recording of a room's impulse response, at whose direct sound the voice stays.
        noise: Recording of noise, which goes on in the pauses and replies; it is looped.
        snr_db: By how much the speech is above it (dB): the mean level of the scenario's
            recordings where a voice sounds in them (`turns.speech_end`), against the mean power of
            all of the noise.
        gain_db: Of the microphone; what is too loud then is cut off at full scale.
        band: `narrow`: 300 to 3400 Hz.
        codec: `g711u` or `g711a`: G.711's mu-law or A-law, at 8 kHz.
        loss: So many of 100 packets of 20 ms are lost, each by itself. In place of the first of
            them the packet before it is heard again, fading; then silence.
    """

    room: Path | None = None
    noise: Path | None = None
    snr_db: float | None = Field(default=None, ge=-30, le=80, validation_alias="snr")
    gain_db: float | None = Field(default=None, ge=-60, le=60, validation_alias="gain")
    band: Literal["narrow"] | None = None
    codec: Literal["g711u", "g711a"] | None = None
    loss: float | None = Field(default=None, ge=0, le=100)

    @property
    def name(self) -> str:
        """What reports call it."""
        room = self.room and f"room {self.room.stem}"
        noise = self.noise and f"{self.noise.stem} {self.snr_db:g} dB"
        gain = None if self.gain_db is None else f"gain {self.gain_db:g}"
        loss = None if self.loss is None else f"loss {self.loss:g}"
        parts = (room, noise, gain, self.band, self.codec, loss)
        return ", ".join(part for part in parts if part) or CLEAN


_READER = TypeAdapter(Condition)


def read(plain: object, folder: Path) -> Condition:
    """A condition as a scenario has it: `clean`, or a mapping such as `{codec: g711u}`.

    Args:
        plain: What the file holds.
        folder: What its sounds' names are relative to.

    Raises:
        BadInput: It is none.
    """
    if plain == CLEAN:
        return Condition()
    if not isinstance(plain, dict) or not plain:
        raise BadInput(
            f"conditions: {plain!r} is none; write clean, or what is to be done: room, noise and "
            "snr, gain, band, codec, loss, as in {codec: g711u}"
        )
    placed = {
        key: folder / value if key in ("room", "noise") and isinstance(value, str) else value
        for key, value in plain.items()
    }
    try:
        found = _READER.validate_python(placed)
    except ValidationError as error:
        raise BadInput(f"conditions: {complaint(error)}") from None
    if (found.noise is None) != (found.snr_db is None):
        raise BadInput("conditions: noise and snr go together, as in {noise: cafe.wav, snr: 10}")
    return found


def parse(text: str) -> Condition:
    """A condition as the command line has it: `clean`, or `noise=cafe.wav,snr=10`.

    Raises:
        BadInput: It is none.
    """
    try:
        if text == CLEAN:
            return Condition()
        pairs = [part.partition("=") for part in text.split(",")]
        named: dict[str, Any] = {key.strip(): value.strip() for key, _, value in pairs}
        if len(named) < len(pairs) or not all(value for *_, value in pairs):
            raise BadInput("write what is to be done, once each, as in noise=cafe.wav,snr=10")
        return read(named, Path())
    except BadInput as error:
        raise BadInput(f"--condition {text}: {error}") from None


class Disturbance:
    """A condition with its sounds, made ready for the recordings of a scenario."""

    def __init__(
        self,
        condition: Condition,
        noise: Samples | None = None,
        room: Samples | None = None,
        *,
        level_dbfs: float = 0.0,
        longest_s: float = 0.0,
    ) -> None:
        """Check that it can be had.

        Args:
            condition: What is to be done.
            noise: At `RATE`, where the condition has some.
            room: The impulse response at `RATE`, where it has one.
            level_dbfs: Of the speech: its mean power where it sounds; a square wave has 0 dBFS.
            longest_s: The longest of the recordings (s).

        Raises:
            BadInput: A sound is too short, too long or silent, or the noise would be cut off.
        """
        self.condition = condition
        self.response: Floats | None = None
        # Many scenarios share it, each at a level of its own.
        self.noise = noise
        self.noise_gain = 0.0
        if room is not None:
            self.response = _response(condition, room)
        if noise is not None:
            self.noise_gain = _noise_gain(condition, noise, level_dbfs, longest_s)
        # Tables are made now, and not when somebody waits for a frame.
        self.begin("").push(np.zeros(FRAME, np.int16))

    def begin(self, key: str) -> Passage:
        """What one conversation's sound goes through.

        Args:
            key: What the disturbance is drawn by: the same one gives the same.
        """
        return Passage(self, f"{key} {self.condition.name}")


class Passage:
    """What a stream of frames goes through, frame by frame: some 0.1 ms of work each."""

    def __init__(self, disturbance: Disturbance, key: str) -> None:
        """Begin with silence before it."""
        condition = self._condition = disturbance.condition
        self._loop = None if disturbance.noise is None else Loop(disturbance.noise)
        self._noise_gain = disturbance.noise_gain
        self._room = None if disturbance.response is None else Filter(disturbance.response)
        self._band = Filter(minimum_phase(*BAND_HZ)) if condition.band else None
        self._codec = CODECS[condition.codec] if condition.codec else None
        below = minimum_phase(0.0, BAND_HZ[1])
        self._down, self._up = Filter(below), Filter(2 * below)
        self._gain = 10 ** ((condition.gain_db or 0.0) / 20)
        self._key = key
        self._utterance = 0
        self._draw = random.Random(f"{key} 0")
        self._place = self._start()
        self._packet = np.zeros(FRAME, np.int16)

    def push(self, samples: Samples, begins: bool = False) -> Samples:
        """The next frame, as it is heard at the other end.

        Args:
            samples: `FRAME` of them, int16.
            begins: An utterance begins in it.
        """
        before = self._place
        if begins:
            self._utterance += 1
            self._draw = random.Random(f"{self._key} {self._utterance}")
            self._place = self._start()
        sound = samples / 32768
        if self._room is not None:
            sound = self._room.push(sound)
        if self._loop is not None:
            sound = sound + self._noise(self._loop, before)
        sound = np.clip(sound * self._gain, -1, 1)
        if self._band is not None:
            sound = self._band.push(sound)
        if self._codec is not None:
            sound = self._coded(self._codec, sound)
        return self._received(_whole(sound))

    def _start(self) -> int:
        """Where the noise begins."""
        return 0 if self._loop is None else self._draw.randrange(self._loop.length)

    def _noise(self, loop: Loop, before: int) -> Floats:
        """The next of the noise; where it has jumped, it fades over from where it was `before`."""
        found = loop.at(self._place)
        if before != self._place:
            found = found + (loop.at(before) - found) * (1 - np.arange(FRAME) / FRAME)
        self._place = (self._place + FRAME) % loop.length
        return found * self._noise_gain

    def _coded(self, codec: Encoding, sound: Floats) -> Floats:
        """There and back at half the rate. A resampler with a look ahead would delay the sound."""
        low = _whole(self._down.push(sound)[::2])
        spread = np.zeros(FRAME)
        spread[::2] = codec.decode(codec.encode(low)) / 32768
        return self._up.push(spread)

    def _received(self, packet: Samples) -> Samples:
        """What a receiver makes of a packet that may be lost."""
        if self._condition.loss is None:
            return packet
        if self._draw.random() * 100 >= self._condition.loss:
            self._packet = packet
            return packet
        faded = np.rint(self._packet * np.linspace(1, 0, FRAME)).astype(np.int16)
        self._packet = np.zeros(FRAME, np.int16)
        return faded


class Loop:
    """A noise without end: its end fades into its beginning. It is as the recording is, unscaled.

    Attributes:
        length: After so many samples it begins again.
    """

    def __init__(self, noise: Samples) -> None:
        """Take a recording of more than `SEAM_S`."""
        self._noise = noise
        self._seam = int(SEAM_S * RATE)
        self.length = len(noise) - self._seam

    def at(self, place: int) -> Floats:
        """`FRAME` samples from a place on."""
        places = (place + np.arange(FRAME)) % self.length
        found: Floats = self._noise[places] / 32768
        if (in_seam := places < self._seam).any():
            rising = (places[in_seam] / self._seam) ** 0.5
            falling = ((self._seam - 1 - places[in_seam]) / self._seam) ** 0.5
            end = self._noise[self.length + places[in_seam]] / 32768
            found[in_seam] = found[in_seam] * rising + end * falling
        return found


class Filter:
    """Convolves a stream with a response of any length, a frame at a time, without delay.

    The response is parted into frames, whose spectra are multiplied with those of the frames gone
    by (uniformly partitioned overlap-save, Stockham 1966).
    """

    def __init__(self, response: Floats) -> None:
        """Begin with silence before it."""
        parts = np.pad(response, (0, -len(response) % FRAME)).reshape(-1, FRAME)
        spectra = np.fft.rfft(parts, 2 * FRAME)[::-1]
        self._count = len(parts)
        # Twice, so that any turn of the ring is one stretch of it.
        self._spectra = np.concatenate([spectra, spectra])
        self._ring = np.zeros_like(spectra)
        self._newest = 0
        self._last = np.zeros(FRAME)

    def push(self, sound: Floats) -> Floats:
        """The next frame: `FRAME` samples in, as many out."""
        self._ring[self._newest] = np.fft.rfft(np.concatenate([self._last, sound]))
        self._last = sound
        begin = self._count - 1 - self._newest
        turned = self._spectra[begin : begin + self._count]
        self._newest = (self._newest + 1) % self._count
        return np.fft.irfft(np.einsum("pf,pf->f", self._ring, turned), 2 * FRAME)[FRAME:]


def minimum_phase(low_hz: float, high_hz: float) -> Floats:
    """The shortest filter that lets a band through; `low_hz` 0: from the lowest on.

    Beyond its ends it falls linearly in dB and frequency. Made from its cepstrum, folded to the
    causal side (Oppenheim & Schafer, "Discrete-Time Signal Processing", chapter 12).
    """
    size = 4096
    hz = np.fft.rfftfreq(size, 1 / RATE)
    fall_db = STOP_DB * np.clip((hz - high_hz) / (G711_RATE / 2 - high_hz), 0, 1)
    if low_hz:
        fall_db += RUMBLE_DB * np.clip((low_hz - hz) / (low_hz / 2), 0, 1)
    cepstrum = np.fft.irfft(-fall_db * np.log(10) / 20, size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:RINGS]


def _response(condition: Condition, room: Samples) -> Floats:
    """A room's impulse response from its direct sound on; as a whole it keeps the level."""
    if len(room) > MOST_ROOM_S * RATE:
        raise BadInput(
            f"{condition.room}: is no impulse response of a room, which lasts {MOST_ROOM_S:g} s at "
            f"most, and this {len(room) / RATE:.1f} s; for sound in the background write noise"
        )
    sound = room / 32768
    size = np.abs(sound)
    if not size.any():
        raise BadInput(f"{condition.room}: is silent; give a room's impulse response")
    direct = int(np.argmax(size >= size.max() * 10 ** (-DIRECT_DB / 20)))
    found: Floats = sound[direct:] / np.sqrt(np.sum(np.square(sound[direct:])))
    return found


def _noise_gain(condition: Condition, noise: Samples, level_dbfs: float, longest_s: float) -> float:
    """By how much the noise is louder than its recording: as a factor."""
    where = str(condition.noise)
    # Shorter it would say the same twice within an utterance.
    if (length := len(noise) / RATE - SEAM_S) < longest_s:
        raise BadInput(
            f"{where}: is shorter than the speech: {max(0, length):.1f} s of noise, a recording of "
            f"{longest_s:.1f} s; give a longer one"
        )
    sound = noise / 32768
    if not (power := float(np.mean(np.square(sound)))):
        raise BadInput(f"{where}: is silent, so that no snr can be met; give a noise")
    assert condition.snr_db is not None
    wanted_dbfs = level_dbfs - condition.snr_db
    gain = 10 ** (wanted_dbfs / 20) / float(np.sqrt(power))
    sound = sound * gain
    # Before a microphone that is turned down there is room for so much more.
    scale = 10 ** (min(0.0, condition.gain_db or 0.0) / 20)
    cut = np.clip(sound, -1 / scale, 1 / scale)
    if 10 * np.log10(np.mean(np.square(cut))) < wanted_dbfs - SPOILT_DB:
        raise BadInput(
            f"{where}: snr {condition.snr_db:g} cannot be met: beside speech of {level_dbfs:.0f} "
            f"dBFS the noise would be beyond full scale (its level {wanted_dbfs:.0f} dBFS, its "
            f"peak {20 * np.log10(np.abs(sound).max()):+.0f}); name a higher snr, or a lower "
            "gain"
        )
    return gain


def _whole(sound: Floats) -> Samples:
    """As 16-bit samples; what is too loud is cut off."""
    return np.rint(np.clip(sound * 32768, -32768, 32767)).astype(np.int16)
