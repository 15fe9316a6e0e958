"""The assistant does not hear itself, and still hears the user: in a room without devices."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import recording
from support.room import T0, Heard, Room, hold, speech

from pipeline.audio import echo
from pipeline.audio.echo import HEAD_S, TAIL_S, EchoCanceller, HalfDuplex, choose
from pipeline.audio.line import Ends
from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.config import AudioSettings, Settings
from pipeline.engines.vad import WINDOW, VoiceDetector
from pipeline.errors import BadInput
from pipeline.events import Frame, Samples
from pipeline.turns.taker import TIMES

VAD_RATE = 16_000
SETTINGS = Settings()
SILENCE = np.zeros(0, np.int16)
REPLY = range(1, 7)
"""Recordings that make a reply of 14 s, in as many voices."""
USER = (20, 22, 23)
"""And those that are said over it, 2 s after it begins."""

ROOMS = [
    Room(delay_s=delay_s, gain_db=gain_db) for delay_s in (0.02, 0.25) for gain_db in (-6.0, -20.0)
]
ODD = [
    *(Room(mic_rate=rate) for rate in (8000, 22_050, 44_100, 48_000)),
    *(Room(speaker_rate=rate) for rate in (16_000, 22_050, 44_100)),
    Room(delay_s=0.0),
    Room(delay_s=0.3),
    Room(jitter_s=0.003),
    Room(drift=1e-4),
    Room(frame_s=0.0101),
    Room(mic_rate=44_100, speaker_rate=22_050, jitter_s=0.002, drift=-1e-4, frame_s=0.032),
]


def power_db(sound: npt.NDArray[Any]) -> float:
    return float(10 * np.log10(np.mean(sound.astype(float) ** 2) + 1e-9))


def voiced(sound: Samples, rate: int = VAD_RATE) -> npt.NDArray[np.bool_]:
    """Which 32 ms the detector takes for speech, by the settings' threshold."""
    verdicts = VoiceDetector().push(resampled(sound, rate, VAD_RATE))
    return np.array([voice.probability > SETTINGS.vad.threshold for voice in verdicts])


def voiced_ms(windows: npt.NDArray[np.bool_]) -> int:
    return int(windows.sum()) * 1000 * WINDOW // VAD_RATE


def loss_db(heard: Heard, rate: int, begin_s: int = 1, end_s: int = 3600) -> float:
    """How much less of the echo there is after cleaning."""
    span = slice(begin_s * rate, end_s * rate)
    return power_db(heard.echo[span]) - power_db(heard.clean[span])


@pytest.fixture(scope="module")
def reply() -> Samples:
    return speech(REPLY, 0.15)


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_an_echo_is_no_voice_and_a_user_is(room: Room, reply: Samples) -> None:
    alone = hold(room, EchoCanceller(), reply, SILENCE)
    assert voiced_ms(voiced(alone.mic)) > 5000
    # Measured: 30 dB to 45 dB, where the quietest echoes end in the microphone's noise.
    assert loss_db(alone, room.mic_rate) > 25
    assert voiced_ms(voiced(alone.clean)) <= 64

    user = speech(USER, 0.8, before_s=2)
    both = hold(room, EchoCanceller(), reply, user)
    said, kept = voiced(user), voiced(both.clean)
    kept = kept[: len(said)]
    assert not kept[: int(1.9 * VAD_RATE) // WINDOW].any()
    edges = np.flatnonzero(np.diff(np.pad(said, 1).astype(int)))
    stretches = [(a, b) for a, b in edges.reshape(-1, 2) if b - a > 12]
    assert len(stretches) >= len(USER)
    for begin, end in stretches:
        assert voiced_ms(kept[begin : end + 4]) >= TIMES.word_ms


@pytest.mark.parametrize("room", ODD, ids=str)
def test_devices_may_be_odd(room: Room, reply: Samples) -> None:
    """Other rates, clocks that run apart, times that jitter, frames that are no whole blocks."""
    heard = hold(room, EchoCanceller(), reply[: 8 * VAD_RATE], SILENCE)
    assert loss_db(heard, room.mic_rate) > 25
    assert voiced_ms(voiced(heard.clean, room.mic_rate)) <= 64


@pytest.fixture(scope="module")
def minute() -> Samples:
    """A reply of a minute: some echoes are cancelled for half of it, and then no more."""
    return speech(range(1, 31), 0.15)[: 60 * VAD_RATE]


@pytest.fixture(scope="module")
def over_it() -> Samples:
    """Somebody who speaks through all of the last 20 s of it."""
    return speech(range(31, 41), 0.15, before_s=40)[: 60 * VAD_RATE]


def kept_share(user: Samples, clean: Samples) -> float:
    """How much of the user's voice over the reply is still voice, by the detector."""
    over = slice(40 * VAD_RATE, len(clean))
    said = voiced(user[over])
    return float((said & voiced(clean[over])).sum() / said.sum())


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.1, 0.48, 0.7])
def test_it_lasts_for_a_minute(delay_s: float, minute: Samples, over_it: Samples) -> None:
    """However much later the echo is than the loudspeaker's device says."""
    heard = hold(Room(delay_s=delay_s), EchoCanceller(), minute, over_it)
    losses = [loss_db(heard, VAD_RATE, *span) for span in ((4, 10), (10, 20), (20, 30), (30, 40))]
    assert min(losses) > 25  # measured: 40 to 43 dB
    assert kept_share(over_it, heard.clean) > 0.7  # measured: 0.83 to 0.89


@pytest.mark.slow
def test_without_an_echo_a_reply_costs_the_user_little(minute: Samples, over_it: Samples) -> None:
    """Who wears headphones."""
    heard = hold(Room(gain_db=-200), EchoCanceller(), minute, over_it)
    assert kept_share(over_it, heard.clean) > 0.8  # measured: 0.96


class Exchanged(Room):
    """From 10 s to 20 s another loudspeaker plays, which hides 0.7 s."""

    def echo(self, played: Samples, n: int) -> npt.NDArray[np.float64]:
        back, other = super().echo(played, n), Room(delay_s=0.7).echo(played, n)
        middle = slice(10 * self.mic_rate, 20 * self.mic_rate)
        back[middle] = other[middle]
        return back


def test_it_follows_a_loudspeaker_that_is_exchanged(minute: Samples) -> None:
    heard = hold(Exchanged(delay_s=0.1), EchoCanceller(), minute[: 30 * VAD_RATE], SILENCE)
    losses = [loss_db(heard, VAD_RATE, *span) for span in ((4, 10), (15, 20), (25, 30))]
    assert min(losses) > 25


FAR = [
    Room(delay_s=1.4),
    Room(delay_s=-0.1, ahead_s=0.15),
    Room(delay_s=0.7, gain_db=-20.0, reverb_s=0.4),
    Room(delay_s=0.7, mic_rate=8000, speaker_rate=22_050),
    Room(delay_s=0.7, mic_rate=44_100, jitter_s=0.003, drift=1e-4, frame_s=0.013),
]
"""Where the canceller alone finds no echo."""


@pytest.mark.parametrize("room", FAR, ids=str)
def test_an_echo_is_found_wherever_it_is(room: Room, reply: Samples) -> None:
    heard = hold(room, EchoCanceller(), reply[: 10 * VAD_RATE], SILENCE)
    # Measured: 30 to 41 dB, and 24 dB where all is odd.
    assert loss_db(heard, room.mic_rate, 5) > 20


@pytest.mark.parametrize("gain_db", [-10.0, -20.0])
def test_a_late_echo_is_found_before_there_are_words_in_it(gain_db: float, reply: Samples) -> None:
    room = Room(delay_s=0.7, gain_db=gain_db)
    heard = hold(room, EchoCanceller(), reply[: 3 * VAD_RATE], SILENCE)
    assert loss_db(heard, VAD_RATE, 1, 2) > 12  # measured: 21; 5 where two looks must agree


def test_a_reference_with_holes_costs_little(reply: Samples) -> None:
    heard = hold(Room(lost=0.01), EchoCanceller(), reply, SILENCE)
    assert loss_db(heard, VAD_RATE) > 12
    assert voiced_ms(voiced(heard.clean)) < 0.1 * voiced_ms(voiced(heard.mic))


def lag_of(one: Samples, later: Samples, most: int) -> int:
    """How many samples `later` is later."""
    n = len(later)
    a, b = np.fft.rfft(one[most:-most], n), np.fft.rfft(later[most:], n)
    return int(np.argmax(np.fft.irfft(a.conj() * b, n)[:most]))


def cleaned(
    guard: EchoCanceller, user: Samples, rate: int, frame_s: float, level: int
) -> list[Frame]:
    """A user's frames, while the loudspeaker plays a faint hum of that level."""
    size = int(frame_s * rate)
    frames = []
    for at in range(0, len(user) - size, size):
        frame = Frame(user[at : at + size], rate, at, T0 + at * NS_PER_S // rate)
        guard.reference(np.full(size, level, np.int16), rate, frame.t_ns + 30 * NS_PER_MS)
        frames.append(guard.clean(frame))
    return frames


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000, 22_050, 8000])
@pytest.mark.parametrize("frame_s", [0.020, 0.013])
def test_without_an_echo_the_user_is_unchanged_and_the_delay_is_told(
    rate: int, frame_s: float
) -> None:
    guard = EchoCanceller()
    user = resampled(speech([20], 0.2, before_s=0.1)[: 2 * VAD_RATE], VAD_RATE, rate)
    frames = cleaned(guard, user, rate, frame_s, level=1)
    out = np.concatenate([frame.samples for frame in frames])
    assert abs(lag_of(user[: len(out)], out, rate // 40) / rate - guard.delay_s) < 0.0025
    assert 0 < guard.delay_s < 0.025
    last_ns = T0 + frames[-1].offset * NS_PER_S // rate
    assert frames[-1].t_ns == last_ns - int(guard.delay_s * NS_PER_S)
    assert abs(power_db(out) - power_db(user)) < 1.5


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_while_nothing_is_played_the_user_comes_through_at_once(rate: int) -> None:
    guard = EchoCanceller()
    user = resampled(speech([20, 22, 23], 0.1)[: 8 * VAD_RATE], VAD_RATE, rate)
    size = rate // 50
    out: list[Samples] = []
    for at in range(0, len(user) - size, size):
        frame = Frame(user[at : at + size], rate, at, T0 + at * NS_PER_S // rate)
        # A reply from 2 s to 3 s.
        level = 100 if 2 * rate <= at < 3 * rate else 0
        guard.reference(np.full(size, level, np.int16), rate, frame.t_ns + 30 * NS_PER_MS)
        clean = guard.clean(frame)
        asleep = not 1.9 * rate < at < 5.1 * rate
        if asleep:
            assert (guard.delay_s, clean.t_ns) == (0.0, frame.t_ns)
            np.testing.assert_array_equal(clean.samples, frame.samples)
        out.append(clean.samples)
    # While it is awake there is the delay, and at its beginning nothing that was heard long ago.
    awake = np.concatenate(out[100:150])
    assert lag_of(user[100 * size : 150 * size], awake, rate // 40) > 0
    early = power_db(np.concatenate(out[98:102])) - power_db(user[98 * size : 102 * size])
    assert abs(early) < 3


def test_silence_is_left_silent(reply: Samples) -> None:
    guard = EchoCanceller()
    for i in range(50):
        frame = Frame(np.zeros(320, np.int16), 16_000, i * 320, T0 + i * 20 * NS_PER_MS)
        guard.reference(reply[i * 320 : (i + 1) * 320], 16_000, frame.t_ns)
        assert np.abs(guard.clean(frame).samples).max() <= 1


Op = tuple[bool, int, int]
OPS = st.lists(st.tuples(st.booleans(), st.integers(0, 1500), st.integers(-60, 4000)), max_size=40)


@pytest.mark.parametrize("make", [EchoCanceller, HalfDuplex])
@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
@given(ops=OPS)
def test_as_many_samples_come_out_as_go_in(make: type[echo.Echo], rate: int, ops: list[Op]) -> None:
    """Whatever the sizes and times of what is played and heard, from gaps to steps back."""
    guard, offset, t_ns = make(), 0, T0
    for is_frame, n, step_ms in ops:
        sound = np.full(n, 1000, np.int16)
        if is_frame:
            frame = Frame(sound, rate, offset, t_ns)
            cleaned = guard.clean(frame)
            assert len(cleaned.samples) == n
            assert cleaned.samples.dtype == np.int16
            assert (cleaned.rate, cleaned.offset) == (rate, offset)
            assert cleaned.t_ns == t_ns - int(guard.delay_s * NS_PER_S)
            offset += n
        else:
            guard.reference(sound, 48_000, t_ns)
        t_ns += step_ms * NS_PER_MS


@pytest.mark.parametrize("make", [EchoCanceller, HalfDuplex])
def test_the_reference_comes_from_another_thread(make: type[echo.Echo]) -> None:
    guard, over = make(), threading.Event()
    block = np.full(480, 3000, np.int16)

    def play() -> None:
        i = 0
        while not over.is_set():
            guard.reference(block, 48_000, T0 + i * 10 * NS_PER_MS)
            i += 1
            time.sleep(0.001)

    player = threading.Thread(target=play)
    player.start()
    for i in range(200):
        frame = Frame(np.full(320, 99, np.int16), 16_000, i * 320, T0 + i * 20 * NS_PER_MS)
        assert len(guard.clean(frame).samples) == 320
    over.set()
    player.join()


@given(
    blocks=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=40),
    frames=st.lists(st.integers(0, 60), max_size=40),
)
def test_half_duplex_is_deaf_exactly_while_a_reply_is_heard(
    blocks: list[tuple[bool, int]], frames: list[int]
) -> None:
    """Blocks of 10 ms and frames of 20 ms, each some time after the one before."""
    guard, t_ns = HalfDuplex(), T0
    deaf: list[tuple[int, int]] = []
    for loud, gap_ms in blocks:
        t_ns += (10 + gap_ms) * NS_PER_MS
        guard.reference(np.full(480, 5000 if loud else 50, np.int16), 48_000, t_ns)
        if loud:
            end_ns = t_ns + 10 * NS_PER_MS + int(TAIL_S * NS_PER_S)
            deaf.append((t_ns - int(HEAD_S * NS_PER_S), end_ns))
    t_ns = T0 - 500 * NS_PER_MS
    for gap_ms in frames:
        t_ns += (20 + gap_ms) * NS_PER_MS
        frame = Frame(np.full(320, 7, np.int16), 16_000, 0, t_ns)
        silent = not guard.clean(frame).samples.any()
        assert silent == any(a < t_ns + 20 * NS_PER_MS and t_ns < b for a, b in deaf)


@pytest.mark.parametrize("room", [Room(gain_db=-6), Room(delay_s=0.35, reverb_s=0.4)], ids=str)
def test_half_duplex_hears_nothing_of_an_echo(room: Room) -> None:
    reply = np.concatenate([speech([1], 0.1), np.zeros(VAD_RATE, np.int16)])
    heard = hold(room, HalfDuplex(), reply, SILENCE)
    assert voiced_ms(voiced(heard.mic)) > 500
    assert not voiced(heard.clean).any()


@pytest.mark.parametrize(
    ("mode", "live", "installed", "means", "note"),
    [
        ("auto", True, True, EchoCanceller, "--echo off"),
        ("auto", True, False, HalfDuplex, "voice-cascade[echo]"),
        ("auto", False, True, None, ""),
        ("auto", False, False, None, ""),
        ("cancel", True, True, EchoCanceller, ""),
        ("half-duplex", False, False, HalfDuplex, ""),
        ("off", True, True, None, ""),
    ],
)
def test_what_is_done_is_said_in_a_line_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    mode: echo.EchoMode,
    live: bool,
    installed: bool,
    means: type[echo.Echo] | None,
    note: str,
) -> None:
    monkeypatch.setattr(echo, "find_spec", lambda name: name if installed else None)
    made, told = choose(mode, live=live)
    assert made is means
    assert note in told and bool(told) == bool(note)
    assert "\n" not in told


def test_asking_for_the_canceller_without_the_extra_tells_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(echo, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r'pip install "voice-cascade\[echo\]"'):
        Ends(AudioSettings(echo="cancel"), ["mic"], "speaker")


async def test_the_ends_clean_what_they_hear(tmp_path: Path) -> None:
    ends = Ends(
        AudioSettings(echo="half-duplex"),
        [str(recording(20))],
        str(tmp_path / "out.wav"),
        fast=True,
    )
    heard: list[Frame] = []
    async with ends.open(VAD_RATE):
        async for frame in ends.frames():
            heard.append(frame)
            if len(heard) == 30:
                ends.playout.write("a", np.full(2000, 9000, np.int16), VAD_RATE)
                ends.playout.finish("a")
            if len(heard) == 100:
                break
        played = ends.playout.played("a")
    assert played is not None
    assert played.first_ns is not None
    assert played.last_ns is not None
    tail_ns = int(TAIL_S * NS_PER_S)
    inside = [f for f in heard if played.first_ns <= f.t_ns < played.last_ns + tail_ns]
    outside = [f for f in heard if f.t_ns + f.duration_ns < played.first_ns - tail_ns / 20]
    assert len(inside) >= 20
    assert not any(frame.samples.any() for frame in inside)
    assert any(frame.samples.any() for frame in outside)
    assert any(frame.samples.any() for frame in heard if frame.t_ns > played.last_ns + tail_ns)
