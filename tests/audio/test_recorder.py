import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli_child import read_wav

from pipeline.audio.playout import Playout
from pipeline.audio.recorder import Recorder
from pipeline.audio.stream import Track
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.errors import StageError
from pipeline.events import Frame, Samples

OUT = 24000
T0 = 1000 * NS_PER_S
CLICK = 16000


@dataclass(frozen=True)
class Device:
    """A sound device that hears a click of 1 ms at the given true times."""

    rate: int
    block: int
    clicks_s: tuple[float, ...]
    seconds: float
    begin_s: float = 0.0
    ppm: float = 0.0
    jitter_s: float = 0.0
    lost: tuple[int, ...] = ()
    wrong_time: tuple[int, ...] = ()

    def blocks(self) -> Iterator[tuple[Samples, int]]:
        """Its blocks and the times it claims for them."""
        rng = np.random.default_rng(1)
        real_rate = self.rate * (1 + self.ppm / 1e6)
        sound = np.zeros(int(self.seconds * real_rate), np.int16)
        for click in self.clicks_s:
            at = round((click - self.begin_s) * real_rate)
            if at >= 0:
                sound[at : at + self.rate // 1000] = CLICK
        for i in range(len(sound) // self.block):
            t_s = self.begin_s + i * self.block / real_rate
            t_s += rng.uniform(-self.jitter_s, self.jitter_s)
            t_s += 0.1 if i in self.wrong_time else 0
            if i not in self.lost:
                yield sound[i * self.block : (i + 1) * self.block], T0 + round(t_s * NS_PER_S)


def stream(device: Device, rate: int = OUT) -> Samples:
    track = Track(rate, T0)
    for samples, t_ns in device.blocks():
        track.push(samples, device.rate, t_ns)
    track.finish()
    return track.take(track.end)


def edges(sound: Samples, rate: int = OUT) -> list[float]:
    """When each click begins (seconds)."""
    loud = np.abs(sound.astype(int)) > CLICK // 2
    found = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]]))
    return [float(i) / rate for i in found]


CLICKS = (0.4, 1.1, 3.0, 7.7)


IN_GAP, IN_DOUBT = (2.005,), (0.4, 2.005, 2.025, 4.005, 7.7)


@pytest.mark.parametrize(
    ("device", "within_s"),
    [
        *((Device(rate, 320, CLICKS, 9, begin_s=0.037), 0.0002) for rate in (16000, OUT, 48000)),
        *((Device(rate, 441, CLICKS, 9, begin_s=0.037), 0.0002) for rate in (22050, 44100)),
        # What came before the stream began is left out.
        (Device(16000, 320, (0.5,), 3, begin_s=-1.0), 0.0003),
        # Also in the block that ends a gap.
        (Device(16000, 320, IN_GAP, 4, lost=tuple(range(80, 100))), 0.0003),
        # One wrong time moves nothing; also in that block, and right after it.
        (Device(16000, 320, IN_DOUBT, 9, wrong_time=(100, 200, 300)), 0.0003),
        # A clock that drifts: 30 ms in the end, if it were not followed.
        (Device(16000, 320, tuple(float(i) for i in range(10, 150, 10)), 150, ppm=200), 0.002),
    ],
)
def test_clicks_are_where_the_clock_says(device: Device, within_s: float) -> None:
    assert edges(stream(device)) == pytest.approx(device.clicks_s, abs=within_s)


@settings(max_examples=20, deadline=None)
@given(
    rate=st.sampled_from([16000, 44100, 48000]),
    ppm=st.integers(-300, 300),
    jitter_ms=st.floats(0, 8),
    begin_s=st.floats(0, 0.3),
)
def test_jitter_and_drift_do_not_add_up(
    rate: int, ppm: int, jitter_ms: float, begin_s: float
) -> None:
    clicks = (8.0, 12.5, 15.0)
    jitter_s = jitter_ms / 1000
    device = Device(rate, rate // 50, clicks, 16, begin_s=begin_s, ppm=ppm, jitter_s=jitter_s)
    assert edges(stream(device)) == pytest.approx(clicks, abs=0.0015 + 0.35 * jitter_s)


@settings(max_examples=20, deadline=None)
@given(first=st.integers(20, 300), n=st.integers(2, 100), rate=st.sampled_from([16000, 48000]))
def test_lost_blocks_leave_silence(first: int, n: int, rate: int) -> None:
    lost = tuple(range(first, first + n))
    clicks = tuple(
        t for t in (0.1, 0.3, 3.0, 5.0, 8.5) if not first - 1 <= int(t * 50) <= first + n + 1
    )
    device = Device(rate, rate // 50, clicks, 9, lost=lost)
    sound = stream(device)
    assert edges(sound) == pytest.approx(clicks, abs=0.0003)
    assert len(sound) == pytest.approx(9 * OUT, abs=OUT // 50)


def test_sound_that_comes_twice_is_left_out() -> None:
    track = Track(OUT, T0)
    device = Device(16000, 320, CLICKS, 9)
    for i, (samples, t_ns) in enumerate(device.blocks()):
        track.push(samples, 16000, t_ns)
        if i == 100:
            for late in range(5):  # a device that repeats 100 ms while time stands still
                track.push(np.full(320, 100, np.int16), 16000, t_ns + late)
    track.finish()
    found = edges(track.take(track.end))
    assert found[:2] == pytest.approx(CLICKS[:2], abs=0.0003)
    assert found[2] == pytest.approx(CLICKS[2], abs=0.005)  # a second later
    assert found[3] == pytest.approx(CLICKS[3], abs=0.0015)


def test_a_rate_may_change() -> None:
    track = Track(OUT, T0)
    for device in (
        Device(16000, 320, (0.5,), 1),
        Device(48000, 480, (1.5,), 1, begin_s=1.0),
    ):
        for samples, t_ns in device.blocks():
            track.push(samples, device.rate, t_ns)
    track.finish()
    assert edges(track.take(track.end)) == pytest.approx([0.5, 1.5], abs=0.0003)


@pytest.mark.parametrize(
    ("user", "reply", "in_time"),
    [
        (Device(16000, 320, (1.0, 4.0), 6), Device(48000, 480, (1.25, 4.5), 6), True),
        (Device(16000, 320, (1.0,), 6), Device(48000, 480, (1.25,), 6, begin_s=0.06), True),
        (Device(16000, 320, (1.0,), 20), Device(48000, 480, (19.0,), 2, begin_s=18), False),
    ],
)
def test_both_sides_are_on_one_clock(
    tmp_path: Path, user: Device, reply: Device, in_time: bool
) -> None:
    """Also where one is ahead, or comes only when the other is over."""
    path = tmp_path / "a.wav"
    blocks = [(t, 0, s) for s, t in user.blocks()] + [(t, 1, s) for s, t in reply.blocks()]
    with Recorder(path, OUT) as recorder:
        for t_ns, side, samples in sorted(blocks, key=lambda b: b[:2]) if in_time else blocks:
            if side == 0:
                recorder.user(Frame(samples, 16000, 0, t_ns))
            else:
                recorder.reply(samples, 48000, t_ns)
    assert recorder.start_ns == T0
    sound, rate = read_wav(path)
    assert rate == OUT
    assert edges(sound[:, 0]) == pytest.approx(user.clicks_s, abs=0.0003)
    assert edges(sound[:, 1]) == pytest.approx(reply.clicks_s, abs=0.0003)
    end_s = max(device.begin_s + device.seconds for device in (user, reply))
    assert len(sound) == pytest.approx(end_s * OUT, abs=2)


def test_records_what_a_playout_plays(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with Recorder(path, OUT) as recorder:
        playout = Playout(48000, tap=lambda samples, t: recorder.reply(samples, 48000, t))
        playout.write("a", np.full(22050, 9000, np.int16), 22050)
        for i in range(100):
            recorder.user(Frame(np.zeros(320, np.int16), 16000, 320 * i, T0 + i * 20 * NS_PER_MS))
            if i == 20:
                playout.stop()
            playout.read(960, T0 + i * 20 * NS_PER_MS)
    sound, _ = read_wav(path)
    loud = np.flatnonzero(np.abs(sound[:, 1].astype(int)) > 90)
    assert loud[0] <= 2
    assert 0.400 < loud[-1] / OUT < 0.406  # where it was stopped, and 5 ms of fade


def test_what_has_come_is_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with Recorder(path, OUT) as recorder:
        for i, (samples, t_ns) in enumerate(Device(16000, 320, CLICKS, 9).blocks(), start=1):
            recorder.user(Frame(samples, 16000, 0, t_ns))
            recorder.reply(samples, 16000, t_ns)
            if i % 100 == 0:
                recorder.written().result(30)
                # All but what the resamplers hold back.
                assert i * OUT // 50 - len(read_wav(path)[0]) <= OUT // 500
    assert recorder.written().done()


def test_a_side_that_is_absent_does_not_hold_up_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with Recorder(path, OUT) as recorder:
        for samples, t_ns in Device(16000, 320, (1.0, 18.0), 20).blocks():
            recorder.user(Frame(samples, 16000, 0, t_ns))
        for _ in range(3000):
            if path.stat().st_size > 14 * OUT * 4:  # all but the 5 s that are waited for
                break
            time.sleep(0.01)
        else:
            pytest.fail("nothing is written while one side is absent")
    sound, _ = read_wav(path)
    assert edges(sound[:, 0]) == pytest.approx([1.0, 18.0], abs=0.0003)
    assert not sound[:, 1].any()


def test_long_silence_takes_no_memory() -> None:
    track = Track(OUT, T0)
    tracemalloc.start()
    track.pad_to(2 * 3600 * OUT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert track.end == 2 * 3600 * OUT
    assert peak < 2_000_000  # of 346 MB


@pytest.mark.parametrize("told", [True, False])
def test_a_disk_that_fills_is_reported_once(tmp_path: Path, told: bool) -> None:
    """To whoever brings the user's sound; at the end if there is none."""
    recorder = Recorder(tmp_path / "a.wav", OUT, most_bytes=44 + 3 * OUT * 4)
    blocks = list(Device(16000, 320, (), 10).blocks())
    for samples, t_ns in blocks:
        recorder.reply(samples, 16000, t_ns)
    recorder.reply(blocks[0][0], 16000, T0 + 20 * NS_PER_S)  # the user's side is silent till then
    recorder._thread.join()
    frame = Frame(blocks[0][0], 16000, 0, T0)
    with pytest.raises(StageError, match="4 GiB"):
        recorder.user(frame) if told else recorder.close()
    recorder.user(frame)
    recorder.close()
    assert len(read_wav(tmp_path / "a.wav")[0]) == 3 * OUT


def test_a_disk_that_hangs_costs_blocks_not_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    original = Track.push

    def push(self: Track, samples: Samples, rate: int, t_ns: int) -> None:
        go.wait()
        original(self, samples, rate, t_ns)

    monkeypatch.setattr(Track, "push", push)
    recorder = Recorder(tmp_path / "a.wav", OUT, most_waiting=100)
    for samples, t_ns in Device(16000, 320, (0.5, 3.0), 4).blocks():
        recorder.user(Frame(samples, 16000, 0, t_ns))
    assert recorder.dropped in (99, 100)
    go.set()
    recorder.close()
    assert edges(read_wav(tmp_path / "a.wav")[0][:, 0]) == pytest.approx([0.5], abs=0.001)


def test_an_empty_recording_is_a_valid_file(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.wav", OUT) as recorder:
        pass
    recorder.close()
    assert recorder.start_ns is None
    assert len(read_wav(tmp_path / "a.wav")[0]) == 0
