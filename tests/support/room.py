"""A room without devices: what a loudspeaker plays comes back into the microphone.

Two made-up sound cards call a playout and an echo guard as real ones do: the loudspeaker asks for
10 ms at a time, somewhat before they are heard; the microphone brings 20 ms at a time, somewhat
after they were captured.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.audio.echo import Echo
from pipeline.audio.playout import Playout
from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_S
from pipeline.events import Frame, Samples
from support.cli_child import read_wav, recording

T0 = 1000 * NS_PER_S
NOISE = 10.0
"""Of the microphone, RMS: -70 dBFS."""


@dataclass(frozen=True)
class Room:
    """Where loudspeaker and microphone stand, and how good their cards are.

    Attributes:
        delay_s: From loudspeaker to microphone, and what the cards hide of their buffers; below 0
            where they claim more than they have (and `ahead_s` has to be more than that).
        gain_db: Of the echo as a whole.
        reverb_s: Time in which it falls by 60 dB.
        speaker_rate: Hz.
        mic_rate: Hz.
        ahead_s: How long before it is heard a block is asked for.
        jitter_s: Errors of all times that the cards tell, standard deviation.
        drift: By how much the microphone's clock is faster.
        lost: Share of the loudspeaker's blocks that the guard is not told about.
        frame_s: Length of the microphone's frames.
    """

    delay_s: float = 0.05
    gain_db: float = -10.0
    reverb_s: float = 0.2
    speaker_rate: int = 48_000
    mic_rate: int = 16_000
    ahead_s: float = 0.025
    jitter_s: float = 0.0
    drift: float = 0.0
    lost: float = 0.0
    frame_s: float = 0.020

    def echo(self, played: Samples, n: int) -> npt.NDArray[np.float64]:
        """What comes back of it, `n` samples at the microphone's rate."""
        rng = np.random.default_rng(7)
        size = int(self.reverb_s * self.mic_rate)
        falling = 10 ** (-3 * np.arange(size) / size)
        late = rng.standard_normal(size) * falling
        late[: int(0.003 * self.mic_rate)] = 0
        response = late * 0.5 / np.sqrt(np.sum(late**2))
        response[0] = 1
        response *= 10 ** (self.gain_db / 20) / np.sqrt(np.sum(response**2))
        sound = resampled(played, self.speaker_rate, self.mic_rate).astype(float)
        length = 1 << (len(sound) + size).bit_length()
        spectrum = np.fft.rfft(sound, length) * np.fft.rfft(response, length)
        shift = int(self.delay_s * self.mic_rate)
        back = np.concatenate(
            [np.zeros(max(shift, 0)), np.fft.irfft(spectrum, length), np.zeros(n)]
        )
        back = back[max(-shift, 0) :]
        if self.drift:
            back = np.interp(np.arange(n) / (1 + self.drift), np.arange(len(back)), back)
        return back[:n]


@dataclass
class Heard:
    """What came of it, at the microphone's rate.

    Attributes:
        echo: What came back from the loudspeaker.
        mic: The microphone: echo, user and noise.
        clean: The same, cleaned, and moved back by the delay that this has.
    """

    echo: npt.NDArray[np.float64]
    mic: Samples
    clean: Samples


def speech(numbers: Sequence[int], pause_s: float, *, before_s: float = 0.0) -> Samples:
    """Recordings one after the other, with pauses; 16 kHz."""
    pieces = [np.zeros(int(before_s * 16_000), np.int16)]
    for number in numbers:
        sound, rate = read_wav(recording(number))
        assert rate == 16_000
        pieces += [sound[:, 0], np.zeros(int(pause_s * rate), np.int16)]
    return np.concatenate(pieces)


def hold(room: Room, echo: Echo, reply: Samples, user: Samples) -> Heard:
    """Play `reply` into the room while `user` speaks (16 kHz each), for as long as the reply."""
    rng = np.random.default_rng(3)
    seconds = len(reply) / 16_000
    told: list[tuple[Samples, int]] = []
    playout = Playout(room.speaker_rate, tap=lambda samples, t_ns: told.append((samples, t_ns)))
    playout.write("a", reply, 16_000)
    playout.finish("a")
    block = room.speaker_rate // 100
    starts = range(0, int(seconds * room.speaker_rate), block)
    played = [playout.read(block, T0 + k * NS_PER_S // room.speaker_rate) for k in starts]

    n = int(seconds * room.mic_rate)
    back = room.echo(np.concatenate(played), n)
    voice = np.zeros(n)
    spoken = resampled(user, 16_000, room.mic_rate)[:n]
    voice[: len(spoken)] = spoken
    sound = back + voice + rng.normal(0, NOISE, n)
    mic = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)

    def jitter() -> int:
        return int(rng.normal(0, room.jitter_s) * NS_PER_S) if room.jitter_s else 0

    size = int(room.frame_s * room.mic_rate)
    # Events by the time at which their card calls: a block (0) or a frame (1), and which.
    ahead_ns = int(room.ahead_s * NS_PER_S)
    calls = [(t_ns - ahead_ns, 0, i) for i, (_, t_ns) in enumerate(told)]
    rate = room.mic_rate * (1 + room.drift)
    captured = [T0 + int(k * NS_PER_S / rate) for k in range(0, n - size, size)]
    calls += [(t_ns + int(size / rate * NS_PER_S), 1, i) for i, t_ns in enumerate(captured)]
    heapq.heapify(calls)
    cleaned = []
    while calls:
        _, kind, i = heapq.heappop(calls)
        if kind == 0:
            if rng.random() >= room.lost:
                echo.reference(told[i][0], room.speaker_rate, told[i][1] + jitter())
        else:
            part = mic[i * size : (i + 1) * size]
            frame = Frame(part, room.mic_rate, i * size, captured[i] + jitter())
            cleaned.append(echo.clean(frame).samples)
    clean = np.concatenate(cleaned)
    late = round(echo.delay_s * room.mic_rate)
    clean = np.concatenate([clean[late:], np.zeros(late, np.int16)])
    return Heard(back[: len(clean)], mic[: len(clean)], clean)
