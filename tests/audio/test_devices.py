import asyncio
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.cli_child import recording
from support.fake_portaudio import LAPTOP, FakePortAudio, Install

from pipeline.audio import devices, portaudio
from pipeline.audio.devices import (
    HUSH_FRAMES,
    MOST_FRAMES,
    QUIET_FRAMES,
    REPLY_FRAMES,
    Device,
    Microphone,
    Speaker,
    meter,
    peak_dbfs,
)
from pipeline.audio.files import read_audio
from pipeline.audio.line import Ends
from pipeline.audio.playout import Playout
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.config import AudioSettings
from pipeline.engines.vad import VoiceDetector
from pipeline.errors import StageError
from pipeline.events import Frame
from pipeline.turns.listener import Hearing

MICROPHONE = Device(0, "Mic", "ALSA", "input", 48000, 1, True)
LOUDSPEAKER = Device(0, "Loud", "ALSA", "output", 48000, 1, True)


async def test_says_why_a_stream_does_not_open(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    fake.accepts = lambda rate, channels: False
    with pytest.raises(StageError, match="Mic: does not open: Invalid sample rate"):
        async with Microphone(MICROPHONE):
            pass
    with pytest.raises(StageError, match="Loud: does not open"):
        async with Speaker(Playout(48000), LOUDSPEAKER):
            pass


def times(now_s: float, sound_s: float) -> SimpleNamespace:
    return SimpleNamespace(
        currentTime=now_s, inputBufferAdcTime=sound_s, outputBufferDacTime=sound_s
    )


def flags(**raised: bool) -> SimpleNamespace:
    return SimpleNamespace(**{"input_overflow": False, "output_underflow": False, **raised})


def _waiting(microphone: Microphone) -> list[Frame]:
    """What nobody has taken yet, block by block."""
    return [microphone._next(1) for _ in list(microphone._blocks)]


async def take(microphone: Microphone, n: int) -> list[Frame]:
    frames = []
    async for frame in microphone.frames():
        frames.append(frame)
        if len(frames) == n:
            break
    return frames


@pytest.mark.parametrize(
    ("adc_s", "ago_s"),
    [
        (99.97, 0.03),
        (99.95, 0.05),
        (100.0, 0.05),  # the sample at the beginning of a block cannot be this new
        (0.0, 0.05),  # not given
        (50.0, 0.05),
        (101.0, 0.05),
        (99.8, 0.05),  # as PulseAudio claims at the start
    ],
)
async def test_frames_know_when_they_were_captured(
    install: Install, adc_s: float, ago_s: float
) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(MICROPHONE) as microphone:
        block = np.arange(960, dtype=np.int16)[:, np.newaxis]
        before = time.monotonic_ns()
        fake.streams[0].callback(block, 960, times(100.0, adc_s), flags())
        after = time.monotonic_ns()
        fake.streams[0].callback(block, 960, times(100.0, adc_s), flags())
        first, second = await take(microphone, 2)
    # Of the first block only the last millisecond is heard.
    began_ns = first.t_ns - 19 * NS_PER_MS
    assert before - ago_s * NS_PER_S - 1000 <= began_ns <= after - ago_s * NS_PER_S + 1000
    assert (first.offset, second.offset, first.rate) == (0, 48, 48000)
    np.testing.assert_array_equal(first.samples, block[-48:, 0])
    np.testing.assert_array_equal(second.samples, block[:, 0])
    assert not np.shares_memory(second.samples, block)
    assert fake.streams[0].log == ["start", "abort", "close"]
    assert fake.streams[0].settings["blocksize"] == 1536
    assert fake.streams[0].settings["latency"] == 0.02


async def test_times_of_frames_do_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = iter(range(10 * NS_PER_S, 11 * NS_PER_S, 20 * NS_PER_MS))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(now_ns))
    microphone = Microphone(MICROPHONE)
    ages_s = [0.03, 0.03, 0.15, 0.13, 0.03, 0.01, 0.03, 0.23, 0.03]
    microphone._captured = int(devices.WARM_S * 48000) + 1
    microphone._loop = asyncio.get_running_loop()
    for ago_s in ages_s:
        block = np.zeros((960, 1), np.int16)
        microphone._callback(block, 960, times(100.0, 100.0 - ago_s), flags())
    monkeypatch.undo()
    start_ns = 10 * NS_PER_S - 30 * NS_PER_MS
    errors = [
        round((frame.t_ns - start_ns) / NS_PER_MS) - 20 * i
        for i, frame in enumerate(_waiting(microphone))
    ]
    assert errors == [0, 0, -10, -20, 0, 10, 0, -10, 0]


async def test_sound_that_a_sleeping_machine_lost_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = iter([10 * NS_PER_S, 10 * NS_PER_S + 900 * NS_PER_MS, 3600 * NS_PER_S])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(now_ns))
    microphone = Microphone(MICROPHONE)
    microphone._loop = asyncio.get_running_loop()
    for _ in range(3):
        microphone._callback(np.zeros((960, 1), np.int16), 960, times(100.0, 99.97), flags())
    monkeypatch.undo()
    first, late, lost = _waiting(microphone)
    assert (first.offset, late.offset) == (0, 48)
    assert lost.offset == pytest.approx((3600 - 10) * 48000, abs=48000)
    assert lost.t_ns - late.t_ns == (lost.offset - late.offset) * NS_PER_S // 48000


async def test_channels_are_averaged(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(replace(MICROPHONE, channels=2)) as microphone:
        block = np.array([[30000, 32000], [-32768, -32768], [5, 0]], np.int16)
        fake.streams[0].callback(block, 3, times(1, 1), flags())
        assert (await take(microphone, 1))[0].samples.tolist() == [31000, -32768, 3]


async def test_a_voice_on_one_of_many_channels_is_heard(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an interface that opens with all of its inputs, and one microphone at it."""
    voice = np.concatenate([*read_audio(recording(5), 48000)])
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(replace(MICROPHONE, name="Rack", channels=8)) as microphone:
        heard = []
        for start in range(0, len(voice) - 960, 960):
            block = np.zeros((960, 8), np.int16)
            block[:, 5] = voice[start : start + 960]
            fake.streams[0].callback(block, 960, times(1, 1), flags())
            heard += await take(microphone, 1)
    skipped = 960 - len(heard[0].samples)
    first = next(i for i, frame in enumerate(heard) if np.abs(frame.samples).max() > 1000)
    # What comes is not waited for: the voice is known once it has risen from the quiet.
    for frame in heard[first + 25 :]:
        at = frame.offset + skipped
        np.testing.assert_array_equal(frame.samples, voice[at : at + 960])
    assert first * 960 < np.argmax(np.abs(voice) > 1000) + 48000 // 4
    [line] = caplog.messages
    assert line.startswith("microphone Rack: the average of its 8 channels loses the voice")


async def test_a_reader_that_stalls_loses_the_oldest(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(MICROPHONE) as microphone:
        for i in range(MOST_FRAMES + 7):
            block = np.full((960, 1), i, np.int16)
            fake.streams[0].callback(block, 960, times(1, 1), flags())
        frames = await take(microphone, MOST_FRAMES)
    assert [int(frame.samples[0]) for frame in frames] == list(range(7, MOST_FRAMES + 7))
    assert frames[0].offset == 48 + 6 * 960


@pytest.mark.parametrize("rate", [48000, 32000, 16000])
async def test_a_window_of_the_voice_detector_ends_with_each_frame(
    install: Install, rate: int
) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    hearing = Hearing(VoiceDetector(), 1.0)
    async with Microphone(replace(MICROPHONE, rate=rate)) as microphone:
        n = fake.streams[0].settings["blocksize"]
        for _ in range(9):
            fake.streams[0].callback(np.zeros((n, 1), np.int16), n, times(1, 1), flags())
        windows = [len(hearing.push(frame)) for frame in await take(microphone, 9)]
    assert windows == [0, *[1] * 8]


async def test_quiet_frames_wait_for_one_another_where_nobody_is_in_a_hurry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    microphone = Microphone(MICROPHONE)
    wakes: list[int] = []
    monkeypatch.setattr(microphone, "_wake", lambda: wakes.append(len(microphone._blocks)))
    quiet, loud = np.full((960, 1), 50, np.int16), np.full((960, 1), 500, np.int16)

    def hear(*blocks: np.ndarray) -> list[int]:
        wakes.clear()
        microphone._blocks.clear()
        for block in blocks:
            microphone._callback(block, 960, times(1, 1), flags())
        return list(wakes)

    microphone.together = QUIET_FRAMES
    assert len(hear(*[quiet] * HUSH_FRAMES)) == HUSH_FRAMES
    assert hear(*[quiet] * QUIET_FRAMES) == [QUIET_FRAMES]
    assert hear(quiet, -3 * quiet, -loud, quiet) == [3, 4]
    microphone.together = 1
    assert len(hear(*[quiet] * (HUSH_FRAMES + 9))) == HUSH_FRAMES + 9


async def test_frames_that_waited_come_as_one(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(MICROPHONE) as microphone:
        microphone.together = QUIET_FRAMES
        for i in range(QUIET_FRAMES + 1):
            if i == 2:
                microphone._captured += 960  # lost
            block = np.full((960, 1), i, np.int16)
            fake.streams[0].callback(block, 960, times(1, 1), flags())
        before, after = await take(microphone, 2)
    assert (before.offset, len(before.samples)) == (0, 48 + 960)
    assert before.samples[[0, 48]].tolist() == [0, 1]
    assert (after.offset, len(after.samples)) == (48 + 2 * 960, (QUIET_FRAMES - 1) * 960)


def test_devices_take_their_time_while_nobody_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = Ends(AudioSettings(echo="off"), ["mic"], "speaker")
    ends._source = microphone = Microphone(MICROPHONE)
    ends._sound = playout = Playout(48000)
    ends._speaker = speaker = Speaker(playout, LOUDSPEAKER)
    told: list[bool] = []
    monkeypatch.setattr(speaker, "rest", told.append)
    for quiet in (True, False):
        assert ends.go_on(quiet, 0)
        assert microphone.together == (QUIET_FRAMES if quiet else 1)
    # A question may still be heard while its answer is waited for.
    playout.write("a", np.zeros(480, np.int16), 48000)
    assert ends.go_on(True, 0)
    assert microphone.together == REPLY_FRAMES
    assert told == [True, False, False]


def done() -> None:
    """All that PortAudio's owner was asked for before."""
    portaudio.owner().submit(lambda _: None).result()


def silence_for(speaker: Speaker, seconds: float) -> None:
    """All has been quiet for so long."""
    speaker.rest(quiet=True)
    assert speaker._quiet_from is not None
    speaker._quiet_from -= seconds
    speaker.rest(quiet=True)
    done()


async def test_a_loudspeaker_rests_when_all_is_quiet_for_long(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    playout = Playout(48000)
    async with Speaker(playout, LOUDSPEAKER, silent_s=0.02, steady_s=0.01) as speaker:
        stream = fake.streams[0]
        silence_for(speaker, devices.REST_S - 1)
        assert stream.log == ["start"]
        speaker.rest(quiet=False)
        silence_for(speaker, devices.REST_S + 1)
        assert stream.log == ["start", "abort"]
        stream.finished()  # as PortAudio says of what is stopped
        for _ in range(3 * devices.LOOKS):
            speaker._look()

        # The same stream plays what was written meanwhile.
        playout.write("a", np.full(480, 9, np.int16), 48000)
        speaker.rest(quiet=False)
        done()
        assert stream.log == ["start", "abort", "start"]
        block = np.zeros((480, 1), np.int16)
        stream.callback(block, 480, times(0, 0), flags())
        assert block.any()
        speaker._look()
        stream.finished()
        with pytest.raises(StageError, match="Loud: is gone"):
            speaker._look()
    assert stream.log[-1] == "close"


@pytest.mark.parametrize(
    ("host", "wakes_s", "rests"),
    [("ALSA", 60.0, True), ("ALSA", 0.0, False), ("Core Audio", 60.0, False)],
)
async def test_a_loudspeaker_that_may_wake_late_plays_on(
    install: Install, monkeypatch: pytest.MonkeyPatch, host: str, wakes_s: float, rests: bool
) -> None:
    monkeypatch.setattr(devices, "WAKES_S", wakes_s)
    monkeypatch.setattr(devices, "REST_S", 0.0)
    fake = install(FakePortAudio(*LAPTOP))
    loudspeaker = replace(LOUDSPEAKER, host=host)
    async with Speaker(Playout(48000), loudspeaker, steady_s=0.01) as speaker:
        speaker.rest(quiet=True)
        done()
        assert fake.streams[0].log == ["start", *["abort"] * rests]


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_loudspeaker_that_does_not_get_up_is_gone(install: Install, hangs: bool) -> None:
    fake = install(FakePortAudio(*LAPTOP))

    def start() -> None:
        if not hangs:
            raise fake.error

    async with Speaker(Playout(48000), LOUDSPEAKER, silent_s=0.02, steady_s=0.01) as speaker:
        silence_for(speaker, devices.REST_S + 1)
        fake.streams[0].start = start  # type: ignore[method-assign]
        speaker.rest(quiet=False)
        done()
        with pytest.raises(StageError, match="Loud: is gone"):
            await speaker.watch()


async def test_a_device_that_ends_is_a_fatal_error(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(MICROPHONE) as microphone:
        fake.streams[0].callback(np.zeros((960, 1), np.int16), 960, times(1, 1), flags())
        fake.streams[0].finished()
        with pytest.raises(StageError, match="Mic: is gone") as caught:
            await take(microphone, 2)
    assert caught.value.fatal


async def test_a_device_that_falls_silent_is_a_fatal_error(install: Install) -> None:
    install(FakePortAudio(*LAPTOP))
    async with Microphone(MICROPHONE, silent_s=0.02) as microphone:
        with pytest.raises(StageError, match="Mic: is gone"):
            await take(microphone, 1)
    async with Speaker(Playout(48000), LOUDSPEAKER, silent_s=0.02, steady_s=0.01) as speaker:
        with pytest.raises(StageError, match="Loud: is gone"):
            await speaker.watch()


async def test_the_loudspeaker_plays_the_playout(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    playout = Playout(48000)
    stereo = Device(0, "Loud", "ALSA", "output", 48000, 2, True)
    async with Speaker(playout, stereo, steady_s=0.01) as speaker:
        assert fake.streams[0].settings["blocksize"] == 480
        sound = np.arange(1, 481, dtype=np.int16)
        playout.write("a", sound, 48000)
        out = np.full((480, 2), 99, np.int16)
        before = time.monotonic_ns()
        fake.streams[0].callback(out, 480, times(10.0, 10.03), flags(output_underflow=True))
        after = time.monotonic_ns()
        np.testing.assert_array_equal(out, np.stack([sound, sound], 1))
        played = playout.played("a")
        assert played is not None
        assert played.first_ns is not None
        assert before - 1000 <= played.first_ns <= after + 1000
        assert played.last_ns - played.first_ns == pytest.approx(0.04 * NS_PER_S, abs=2000)
        fake.streams[0].callback(out, 480, times(0.0, 0.0), flags())
        assert not out.any()
        assert speaker.underflows == 1


async def test_times_of_played_blocks_do_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = iter(range(10 * NS_PER_S, 11 * NS_PER_S, 10 * NS_PER_MS))
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(now_ns))
    heard: list[int] = []
    speaker = Speaker(Playout(48000, tap=lambda _, t_ns: heard.append(t_ns)), LOUDSPEAKER)
    for ahead_s in [0.02, 0.04, 0.02, 0.02, 0.02, 0.02, 0.02, 0.1, 0.1]:
        block = np.zeros((480, 1), np.int16)
        speaker._callback(block, 480, times(100.0, 100.0 + ahead_s), flags())
    monkeypatch.undo()
    start_ns = 10 * NS_PER_S + 20 * NS_PER_MS
    errors = [round((t_ns - start_ns) / NS_PER_MS) - 10 * i for i, t_ns in enumerate(heard)]
    assert errors == [0, 20, 15, 10, 5, 0, 0, 80, 80]


async def test_a_loudspeaker_that_ends_at_once_does_not_open(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    fake.opening = lambda settings: settings["finished_callback"]()
    with pytest.raises(StageError, match="is gone"):
        async with Speaker(Playout(48000), LOUDSPEAKER):
            pass
    assert fake.streams[0].log[-1] == "close"


@pytest.mark.parametrize("opens", [True, False])
async def test_a_stream_that_nobody_waits_for_any_more_is_closed(
    install: Install, opens: bool
) -> None:
    go = threading.Event()
    fake = install(FakePortAudio(*LAPTOP))
    fake.opening = lambda settings: go.wait()
    speaker = Speaker(Playout(48000), LOUDSPEAKER)
    if opens:
        go.set()
    entering = asyncio.create_task(speaker.__aenter__())
    while opens and not fake.streams:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    entering.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert [stream.log[-1] for stream in fake.streams] == ["close"]


async def test_a_stream_that_opens_late_is_closed_then(install: Install) -> None:
    go = threading.Event()
    fake = install(FakePortAudio(*LAPTOP))
    fake.opening = lambda settings: go.wait()
    entering = asyncio.create_task(Microphone(MICROPHONE, close_s=0.01).__aenter__())
    await asyncio.sleep(0.02)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert fake.streams == []
    go.set()
    while not fake.streams or fake.streams[0].log[-1] != "close":
        await asyncio.sleep(0.001)


async def test_a_driver_that_hangs_does_not_keep_us(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = portaudio.Owner()
    monkeypatch.setattr(devices, "owner", lambda: own)
    go = threading.Event()
    fake = install(FakePortAudio(*LAPTOP))
    async with Microphone(MICROPHONE, close_s=0.01):
        monkeypatch.setattr(fake.streams[0], "abort", lambda ignore_errors: go.wait())
    assert "close" not in fake.streams[0].log
    go.set()


def test_levels_are_relative_to_full_scale() -> None:
    assert peak_dbfs(np.full(100, -32768, np.int16)) == 0
    assert peak_dbfs(np.array([0, 3277, -50], np.int16)) == pytest.approx(-20, abs=0.01)
    assert peak_dbfs(np.zeros(10, np.int16)) == peak_dbfs(np.zeros(0, np.int16)) == -120


async def test_the_meter_gives_ten_levels_a_second(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    measured = []

    async def play() -> None:
        while not fake.streams:
            await asyncio.sleep(0)
        for i in range(30):
            block = np.full((1536, 1), 16384 if i >= 6 else 0, np.int16)
            fake.streams[0].callback(block, 1536, times(1, 1), flags())

    playing = asyncio.create_task(play())
    async for one in meter(MICROPHONE, 0.5):
        measured.append(one)
    await playing
    assert [round(one) for one in measured] == [-120, -120, -6, -6, -6]
