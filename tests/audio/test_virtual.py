import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.audio.files import WavWriter, read_audio
from pipeline.audio.playout import Playout
from pipeline.audio.virtual import Playing, VirtualCard
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock, FastClock
from pipeline.errors import BadInput
from pipeline.events import Frame, Samples

BLOCK_NS = 20 * NS_PER_MS
RATE = 16000


class SetClock(Clock):
    """Stands still until somebody sleeps; may oversleep."""

    def __init__(self) -> None:
        self.t_ns = 7 * NS_PER_S
        self.oversleep: dict[int, int] = {}
        self.sleeps = 0

    def now_ns(self) -> int:
        return self.t_ns

    async def sleep_until(self, t_ns: int) -> None:
        self.t_ns = max(self.t_ns, t_ns) + self.oversleep.get(self.sleeps, 0)
        self.sleeps += 1


def speech(path: Path, n: int, seed: int) -> Samples:
    samples = np.random.default_rng(seed).integers(1, 9000, n).astype(np.int16)
    with WavWriter(path, RATE) as writer:
        writer.write(samples)
    return samples


async def take(frames: AsyncIterator[Frame], n: int) -> list[Frame]:
    return [await anext(frames) for _ in range(n)]


def joined(frames: list[Frame]) -> Samples:
    return np.concatenate([frame.samples for frame in frames])


async def test_the_microphone_hears_the_file_and_then_silence(tmp_path: Path) -> None:
    clock = SetClock()
    sound = speech(tmp_path / "a.wav", 1000, 1)
    card = VirtualCard(clock, [tmp_path / "a.wav"])
    frames = []
    async for frame in card.frames():
        assert clock.now_ns() == frame.t_ns + BLOCK_NS  # it comes when it has been heard
        frames.append(frame)
        if len(frames) == 6:
            break
    np.testing.assert_array_equal(joined(frames), np.pad(sound, (0, 6 * 320 - 1000)))
    assert [frame.t_ns for frame in frames] == [7 * NS_PER_S + i * BLOCK_NS for i in range(6)]
    assert [frame.offset for frame in frames] == [320 * i for i in range(6)]
    assert {frame.rate for frame in frames} == {RATE}
    assert card.spans == [
        Playing(tmp_path / "a.wav", 7 * NS_PER_S, 7 * NS_PER_S + 1000 * NS_PER_S // RATE)
    ]


async def test_files_wait_for_next(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    sounds = [speech(path, 640, i) for i, path in enumerate(paths)]
    card = VirtualCard(SetClock(), paths)
    frames = card.frames()
    first = await take(frames, 2)
    assert [frame.begins for frame in first] == [True, False]
    np.testing.assert_array_equal(joined(first), sounds[0])
    assert not joined(await take(frames, 10)).any()
    assert card.next()
    [second] = await take(frames, 1)
    assert second.begins
    np.testing.assert_array_equal(second.samples, sounds[1][:320])
    assert card.next()  # while the second is being spoken: the third follows it at once
    np.testing.assert_array_equal(joined(await take(frames, 1)), sounds[1][320:])
    np.testing.assert_array_equal(joined(await take(frames, 2)), sounds[2])
    assert not card.next()
    assert [span.path for span in card.spans] == paths
    assert not joined(await take(frames, 5)).any()


async def test_reads_any_rate(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a.wav", 48000) as writer:
        writer.write(np.full(48000, 5000, np.int16))
    card = VirtualCard(SetClock(), [tmp_path / "a.wav"])
    heard = joined(await take(card.frames(), 60))
    np.testing.assert_array_equal(
        heard[:RATE], np.concatenate([*read_audio(tmp_path / "a.wav", RATE)])
    )
    assert not heard[RATE:].any()


def test_a_bad_file_is_noticed_before_the_conversation(tmp_path: Path) -> None:
    speech(tmp_path / "a.wav", 640, 1)
    with pytest.raises(BadInput, match=r"missing\.wav"):
        VirtualCard(SetClock(), [tmp_path / "a.wav", tmp_path / "missing.wav"])


def test_a_large_corpus_is_not_held_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limit on open files on this system")
    speech(tmp_path / "a.wav", 640, 1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        VirtualCard(SetClock(), [tmp_path / "a.wav"] * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("rate", [11025, 22050, 44100, 48000])
async def test_the_loudspeaker_takes_what_follows(rate: int) -> None:
    clock, sunk = SetClock(), list[Samples]()
    tapped: list[tuple[int, int]] = []
    playout = Playout(rate, tap=lambda samples, t_ns: tapped.append((t_ns, len(samples))))
    frames = VirtualCard(clock, (), playout, sunk.append).frames()
    await take(frames, 50)
    sound = np.arange(1, rate + 1, dtype=np.int32).astype(np.int16)
    now = clock.now_ns()
    playout.write("a", sound, rate)
    playout.finish("a")
    await take(frames, 51)
    heard = np.concatenate(sunk)
    np.testing.assert_array_equal(heard[rate : 2 * rate], sound)
    played = playout.played("a")
    assert played is not None
    assert played.first_ns == now + BLOCK_NS  # the next block: nothing can be heard sooner
    starts = [t_ns for t_ns, _ in tapped]
    assert np.diff(starts).tolist() == [BLOCK_NS] * 100
    assert sum(n for _, n in tapped[:50]) == rate


async def test_late_blocks_keep_the_schedule_and_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = SetClock()
    clock.oversleep = {3: 5 * NS_PER_MS, 10: 150 * NS_PER_MS}
    card = VirtualCard(clock)
    with caplog.at_level(logging.WARNING):
        frames = await take(card.frames(), 40)
    assert [frame.t_ns for frame in frames] == [7 * NS_PER_S + i * BLOCK_NS for i in range(40)]
    assert card.latest_ns == 150 * NS_PER_MS
    assert caplog.text.count("too busy") == 1


async def test_sound_that_comes_while_a_block_is_late_is_not_dated_back() -> None:
    clock = SetClock()
    clock.oversleep = {5: 30 * NS_PER_MS}
    playout = Playout(RATE)
    frames = VirtualCard(clock, (), playout).frames()
    await take(frames, 5)
    playout.write("a", np.full(3200, 9000, np.int16), RATE)
    await take(frames, 3)
    played = playout.played("a")
    assert played is not None
    assert played.first_ns == 7 * NS_PER_S + 6 * BLOCK_NS + 30 * NS_PER_MS


async def test_a_machine_that_slept_does_not_catch_up() -> None:
    clock = SetClock()
    clock.oversleep = {4: 3600 * NS_PER_S}
    frames = await take(VirtualCard(clock).frames(), 10)
    times = [frame.t_ns - 7 * NS_PER_S for frame in frames]
    assert times[4] == 4 * BLOCK_NS
    assert times[5] == 5 * BLOCK_NS + 3600 * NS_PER_S
    assert times[9] - times[5] == 4 * BLOCK_NS
    assert frames[9].offset == 9 * 320


async def test_what_a_machine_slept_through_is_told_of_the_file_it_fell_into(
    tmp_path: Path,
) -> None:
    for number, name in enumerate("ab"):
        speech(tmp_path / f"{name}.wav", 2000, number)
    clock = SetClock()
    clock.oversleep = {4: 1030 * NS_PER_MS}
    card = VirtualCard(clock, [tmp_path / "a.wav", tmp_path / "b.wav"], rate=22_050)
    card.next()
    await take(card.frames(), 20)
    assert [round(span.lost_ns / NS_PER_MS) for span in card.spans] == [1030, 0]


async def test_a_fast_clock_skips_the_waiting_while_nothing_is_computed() -> None:
    clock = FastClock()
    working = True
    frames = VirtualCard(clock, busy=lambda: working).frames()
    began = await take(frames, 5)
    assert clock.skipped_ns == 0
    working = False
    minute = await take(frames, 3000)
    assert minute[-1].t_ns - began[0].t_ns == 3004 * BLOCK_NS
    skipped_ns = clock.skipped_ns
    assert skipped_ns >= 30 * NS_PER_S  # most of it
    working = True
    await take(frames, 3)
    assert clock.skipped_ns == skipped_ns


async def test_a_fast_clock_goes_on_when_work_ends_in_the_middle_of_a_wait() -> None:
    clock = FastClock()
    asked = 0

    def busy() -> bool:
        nonlocal asked
        asked += 1
        return asked == 1

    await take(VirtualCard(clock, busy=busy).frames(), 1)
    assert asked == 2
    assert 0 < clock.skipped_ns < BLOCK_NS


async def test_others_run_between_skipped_blocks() -> None:
    """And whoever waits by the clock is woken when it has been put forward so far."""
    clock = FastClock()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    early, late = (
        asyncio.create_task(clock.sleep_until(clock.now_ns() + seconds * NS_PER_S))
        for seconds in (1, 3600)
    )
    await take(VirtualCard(clock).frames(), 100)
    other.cancel()
    assert turns >= 100
    await asyncio.wait_for(early, 60)
    assert not late.done()
    late.cancel()


async def test_a_clock_never_goes_back_and_is_never_ahead() -> None:
    clock = FastClock()
    clock.skip_to(clock.now_ns() + NS_PER_S)
    skipped = clock.skipped_ns
    clock.skip_to(clock.now_ns() - NS_PER_S)
    assert clock.skipped_ns == skipped
    for due_ns in (0, Clock().now_ns() + 5 * NS_PER_MS):
        await Clock().sleep_until(due_ns)
        assert Clock().now_ns() >= due_ns


async def test_drives_a_loudspeaker_alone() -> None:
    sunk: list[Samples] = []
    playout = Playout(RATE)
    playout.write("a", np.full(3200, 9000, np.int16), RATE)
    playout.finish("a")
    card = VirtualCard(FastClock(), (), playout, sunk.append)
    running = asyncio.create_task(card.run())
    while playout.pending_ns:
        await asyncio.sleep(0)
    running.cancel()
    assert np.count_nonzero(np.concatenate(sunk)) == 3200
