import asyncio
import dataclasses
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sound import steady, tone

from pipeline.audio.playout import (
    DUCK_GAIN,
    DUCK_S,
    FADE_S,
    REMEMBERED,
    SWELL_S,
    Played,
    Playout,
)
from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.events import Samples

RATE = 16000
FADE = int(FADE_S * RATE)
LOUD = 20000
T0 = 5 * NS_PER_S


def drain(playout: Playout, t_ns: int = T0, block: int = 160) -> Samples:
    blocks = []
    while playout.pending_ns:
        blocks.append(playout.read(block, t_ns))
        t_ns += block * NS_PER_S // playout.rate
    return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)


def state(playout: Playout, reply_id: str) -> Played:
    played = playout.played(reply_id)
    assert played is not None
    return played


Op = tuple[str, int, int]


def operations(*others: str, replies: int, most: int) -> st.SearchStrategy[list[Op]]:
    """What may happen to a playout: writes of up to `most` samples, reads, and `others`."""
    which, nothing = st.integers(0, replies - 1), st.just(0)
    return st.lists(
        st.one_of(
            st.tuples(st.just("write"), which, st.integers(0, most)),
            st.tuples(st.just("read"), nothing, st.integers(0, most * 5 // 6)),
            st.tuples(st.just("finish"), which, nothing),
            st.tuples(st.sampled_from(others), nothing, nothing),
        ),
        max_size=50,
    )


@settings(max_examples=200, deadline=None)
@given(ops=operations("stop", replies=6, most=700))
def test_every_sample_is_accounted_for(ops: list[Op]) -> None:
    """Each reply is a constant of its own, above any sample of a fade, so that it is recognised."""
    playout = Playout(RATE)
    accepted: dict[int, int] = {}
    closed: set[int] = set()
    forbidden: set[int] = set()
    heard: dict[int, int] = {}
    positions: dict[int, int] = {}
    fading = FADE
    last_fade = LOUD
    t_ns = T0

    def check(block: Samples) -> None:
        nonlocal fading, last_fade
        for value in block.astype(int):
            if value >= LOUD:
                reply = value - LOUD
                assert reply not in forbidden, "a stopped reply is heard after its fade"
                assert reply >= max(heard, default=0), "replies overtake each other"
                heard[reply] = heard.get(reply, 0) + 1
            elif value != 0:
                assert value <= last_fade, "a fade rises"
                last_fade = value
                fading += 1
                assert fading <= FADE, "a fade is too long"

    newest = -1
    for name, which, n in ops:
        reply, key = which, str(which)
        if name == "write" and (reply > newest or reply in accepted):
            # A new reply closes the ones before it.
            if reply not in accepted:
                closed.update(accepted)
                accepted[reply] = 0
                newest = reply
            playout.write(key, steady(LOUD + reply, n), RATE)
            if reply not in closed:
                accepted[reply] += n
        elif name == "read":
            check(playout.read(n, t_ns))
            t_ns += n * NS_PER_S // RATE
        elif name == "finish":
            playout.finish(key)
            if reply in accepted:
                closed.add(reply)
        elif name == "stop":
            playout.stop()
            for reply in accepted:
                if heard.get(reply, 0) < accepted[reply] or reply not in closed:
                    forbidden.add(reply)
            closed.update(accepted)
            fading, last_fade = 0, LOUD
            frozen = {reply: playout.position(str(reply)) for reply in forbidden}
            positions.update(frozen)
        for reply in accepted:
            position = playout.position(str(reply))
            assert positions.get(reply, 0) <= position <= accepted[reply]
            if reply in forbidden:
                assert position == positions[reply], "the position of a stopped reply moves"
                assert heard.get(reply, 0) <= position <= heard.get(reply, 0) + FADE
            else:
                assert position == heard.get(reply, 0)
            positions[reply] = position

    for reply in accepted:
        playout.finish(str(reply))
    check(drain(playout, t_ns))
    for reply, total in accepted.items():
        final = state(playout, str(reply))
        assert final.done
        assert final.written == total
        if reply not in forbidden:
            assert final.position == total == heard.get(reply, 0)
            assert not final.stopped


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([16000, 22050, 24000, 48000]),
    device=st.sampled_from([16000, 44100, 48000]),
    pieces=st.lists(st.integers(0, 5000), min_size=1, max_size=8),
    block=st.integers(50, 960),
)
def test_positions_are_in_the_samples_that_were_written(
    rate: int, device: int, pieces: list[int], block: int
) -> None:
    playout = Playout(device)
    total, before, t_ns = 0, 0, T0
    for n in pieces:
        playout.write("a", steady(9000, n), rate)
        total += n
        while playout.pending_ns > 0:
            playout.read(block, t_ns)
            t_ns += block * NS_PER_S // device
            position = playout.position("a")
            assert before <= position <= total
            before = position
    playout.write("a", steady(9000, 100), rate)
    playout.finish("a")
    drain(playout, t_ns)
    assert playout.position("a") == total + 100 == state(playout, "a").written


def test_position_and_what_is_pending_follow_the_device() -> None:
    playout = Playout(48000)
    playout.write("a", tone(22050, 2), 22050)
    playout.finish("a")
    assert (playout.position("a"), playout.pending_ns) == (0, 2 * NS_PER_S)
    playout.read(48480, T0)
    assert playout.pending_ns == 990 * NS_PER_MS
    assert playout.position("a") == 22050 * 101 // 100
    assert playout.position("nobody") == 0
    assert playout.played("nobody") is None


def test_resampling_is_seamless_between_writes() -> None:
    whole, parts = Playout(48000), Playout(48000)
    sound = tone(22050, 0.5)
    whole.write("a", sound, 22050)
    for i in range(0, len(sound), 333):
        parts.write("a", sound[i : i + 333], 22050)
    whole.finish("a")
    parts.finish("a")
    np.testing.assert_array_equal(drain(whole), drain(parts))


def roughness(samples: Samples) -> int:
    return int(np.abs(np.diff(samples.astype(int))).max(initial=0))


def test_a_reply_has_one_rate() -> None:
    playout = Playout(RATE)
    playout.write("a", tone(RATE, 0.1), RATE)
    with pytest.raises(ValueError, match="16000 Hz, and now 24000"):
        playout.write("a", tone(RATE, 0.1), 24000)


def test_times_are_those_at_the_loudspeaker() -> None:
    playout = Playout(48000)
    silence, sound = steady(0, 4410), tone(22050, 0.1)
    playout.write("a", np.concatenate([silence, sound, silence]), 22050)
    playout.finish("a")
    playout.read(480, T0 - 10 * NS_PER_MS)
    assert state(playout, "a").audible_ns is None
    for i in range(60):
        playout.read(480, T0 + i * 10 * NS_PER_MS)
    played = state(playout, "a")
    assert played.first_ns == T0 - 10 * NS_PER_MS
    assert played.last_ns == T0 + 490 * NS_PER_MS
    assert played.audible_ns is not None
    assert played.last_audible_ns is not None
    assert abs(played.audible_ns - (T0 + 190 * NS_PER_MS)) < NS_PER_MS
    assert abs(played.last_audible_ns - (T0 + 290 * NS_PER_MS)) < NS_PER_MS
    assert played.underrun_ns == 0
    assert played.done


def test_an_underrun_is_a_gap_inside_a_reply() -> None:
    playout = Playout(RATE)
    playout.read(1600, T0)  # before it begins is no underrun
    playout.write("a", tone(RATE, 0.1), RATE)
    playout.read(1600, T0)
    playout.read(320, T0)
    playout.read(160, T0)
    assert state(playout, "a").underrun_ns == 0  # it may just be over
    playout.write("a", tone(RATE, 0.1), RATE)
    playout.read(160, T0)
    played = state(playout, "a")
    assert played.underrun_ns == 30 * NS_PER_MS
    playout.read(1600, T0)
    playout.finish("a")
    playout.read(1600, T0)
    assert state(playout, "a").underrun_ns == 30 * NS_PER_MS  # after it ended is none


def test_a_late_end_is_no_underrun_and_no_blip() -> None:
    playout = Playout(48000)
    playout.write("a", tone(16000, 0.1), 16000)
    playout.read(9600, T0)
    playout.finish("a")
    assert not playout.read(480, T0).any()
    played = state(playout, "a")
    assert played.underrun_ns == 0
    assert played.done
    assert played.position == played.written


def test_sound_written_late_is_not_heard_early() -> None:
    playout = Playout(RATE)
    playout.read(320, T0 - 20 * NS_PER_MS)
    playout.write("a", steady(LOUD, 960), RATE)
    late = T0 + 5 * NS_PER_MS
    block = playout.read(320, T0, not_before_ns=late)
    assert not block[:80].any()
    assert (block[80:] == LOUD).all()
    assert state(playout, "a").first_ns == late
    # Once it plays, a late reader is the device's business, not the listener's.
    assert (playout.read(320, T0, not_before_ns=T0 + NS_PER_S) == LOUD).all()
    playout.read(10_000, T0)
    playout.write("b", steady(LOUD, 100), RATE)
    assert not playout.read(320, T0, not_before_ns=T0 + NS_PER_S).any()


def test_the_tap_gets_all_that_is_played() -> None:
    tapped: list[tuple[Samples, int]] = []
    playout = Playout(RATE, tap=lambda samples, t_ns: tapped.append((samples, t_ns)))
    playout.write("a", tone(RATE, 0.1), RATE)
    blocks = []
    for i in range(8):
        if i == 4:
            playout.stop()
        blocks.append(playout.read(160, T0 + i * 10 * NS_PER_MS))
    np.testing.assert_array_equal(np.concatenate([s for s, _ in tapped]), np.concatenate(blocks))
    assert [t for _, t in tapped] == [T0 + i * 10 * NS_PER_MS for i in range(8)]


async def test_it_tells_when_the_device_has_moved() -> None:
    playout = Playout(RATE)
    next_block = asyncio.create_task(playout.moved())
    later = asyncio.create_task(playout.moved(0.05))
    for i in range(5):
        await asyncio.sleep(0)
        assert (next_block.done(), later.done()) == (i > 0, False)
        playout.read(160, T0 + i * 10 * NS_PER_MS)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.wait_for(later, 1)


def test_forgets_old_replies_but_no_waiting_ones() -> None:
    playout = Playout(RATE)
    for i in range(3 * REMEMBERED):
        playout.write(str(i), steady(1, 16), RATE)
        if i >= REMEMBERED:
            playout.read(16, T0)
    assert playout.played("0") is None
    assert playout.played(str(3 * REMEMBERED - 1)) is not None
    assert len(drain(playout)) >= 16 * REMEMBERED


def test_threads_lose_nothing() -> None:
    """One writes, one ducks, and the device reads."""
    playout = Playout(48000)
    out: list[Samples] = []
    over = threading.Event()

    def write() -> None:
        for _ in range(300):
            playout.write("a", steady(9000, 441), 22050)
            playout.position("a")
        playout.finish("a")
        over.set()

    def duck() -> None:
        while not over.is_set():
            playout.duck()
            playout.swell()

    threads = [threading.Thread(target=work) for work in (write, duck)]
    for thread in threads:
        thread.start()
    while not over.is_set() or playout.pending_ns:
        out.append(playout.read(480, T0))
    for thread in threads:
        thread.join()
    played = state(playout, "a")
    assert played.position == played.written == 300 * 441
    expected = 300 * 441 * 48000 / 22050
    assert abs(np.count_nonzero(np.concatenate(out) > 8000 * DUCK_GAIN) - expected) < 100


DUCK = int(DUCK_S * RATE)
SWELL = int(SWELL_S * RATE)
SLOPE = (1 - DUCK_GAIN) / DUCK
"""Most that the gain may change from one sample to the next."""


@settings(max_examples=200, deadline=None)
@given(ops=operations("duck", "swell", "stop", replies=4, most=3000))
def test_ducking_changes_the_level_and_nothing_else(ops: list[Op]) -> None:
    """Beside a twin that is never ducked, sample by sample."""
    ducked, plain = Playout(RATE), Playout(RATE)
    down, since, t_ns = False, SWELL, T0
    for name, which, n in ops:
        for playout in (ducked, plain):
            if name == "write":
                playout.write(str(which), steady(LOUD, n), RATE)
            elif name == "finish":
                playout.finish(str(which))
            elif name == "stop":
                playout.stop()
        if name == "duck":
            ducked.duck()
            down, since = True, since if down else 0
        elif name == "swell":
            ducked.swell()
            down, since = False, since if not down else 0
        elif name == "stop":
            down, since = False, SWELL
        elif name == "read":
            quieter, full = ducked.read(n, t_ns).astype(float), plain.read(n, t_ns)
            t_ns += n * NS_PER_S // RATE
            assert (quieter <= full).all()
            sound = full == LOUD
            gain = quieter / LOUD
            settled = np.arange(1, n + 1) + since >= (DUCK if down else SWELL)
            assert (gain[sound & settled] == (DUCK_GAIN if down else 1.0)).all()
            assert (gain[sound] >= DUCK_GAIN).all()
            if n and sound.all():
                assert (np.diff(gain) <= 0 if down else np.diff(gain) >= 0).all()
            since += n
        assert ducked.pending_ns == plain.pending_ns
        for which in range(4):
            one, other = ducked.played(str(which)), plain.played(str(which))
            if one is None or other is None:
                assert one is other
                continue
            same = {"audible_ns": None, "last_audible_ns": None}
            assert dataclasses.replace(one, **same) == dataclasses.replace(other, **same)
            assert one.audible_ns is None or other.audible_ns is not None


@settings(max_examples=100, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    steps=st.lists(st.tuples(st.booleans(), st.integers(1, 3000)), min_size=1, max_size=12),
)
def test_the_level_moves_in_ramps_and_arrives(rate: int, steps: list[tuple[bool, int]]) -> None:
    playout = Playout(rate)
    slope = (1 - DUCK_GAIN) / (DUCK_S * rate)
    playout.write("a", steady(LOUD, 50_000), rate)
    blocks, level = [playout.read(1, T0)], 1.0
    for down, n in steps:
        if down:
            playout.duck()
        else:
            playout.swell()
        blocks.append(playout.read(n, T0))
        travel = (1 - DUCK_GAIN) / ((DUCK_S if down else SWELL_S) * rate) * n
        level = max(DUCK_GAIN, level - travel) if down else min(1.0, level + travel)
        assert abs(int(blocks[-1][-1]) - level * LOUD) <= 1
    assert roughness(np.concatenate(blocks)) <= slope * LOUD + 1


@pytest.mark.parametrize("ducked", [False, True])
@pytest.mark.parametrize("before", [0, 1, 100, 777, 1000, 1599, 1600])
def test_a_reply_stops_without_a_click(before: int, ducked: bool) -> None:
    """Wherever it is: not begun, in the middle, near the end of what was written, or right at it.

    What follows it, written before the fade is over or not, has its full level.
    """
    sound = tone(RATE, 0.1, 200)
    playout = Playout(RATE)
    playout.write("a", sound, RATE)
    if ducked:
        playout.duck()
    heard = playout.read(before, T0)
    playout.stop()
    playout.write("b", steady(LOUD, 320), RATE)
    after = playout.read(FADE + 320, T0)
    begin = int(np.argmax(after == LOUD))
    assert begin <= (FADE if before else 0)
    assert (after[begin : begin + 320] == LOUD).all()
    tail = np.concatenate([heard, after[:begin]])
    # The ramp down adds a little steepness of its own to that of the sound.
    assert roughness(tail) <= 1.5 * roughness(sound) + ducked * SLOPE * 12000


def test_stopping_again_in_a_ducked_fade_does_not_make_it_rise() -> None:
    playout = Playout(RATE)
    playout.write("a", steady(LOUD, 1600), RATE)
    heard = [playout.read(160, T0)]
    playout.stop()
    playout.duck()
    heard.append(playout.read(FADE // 2, T0))
    playout.stop()
    heard.append(playout.read(FADE, T0))
    assert (np.diff(np.concatenate(heard).astype(int)) <= 0).all()
    playout.write("b", steady(LOUD, 160), RATE)
    assert (playout.read(160, T0) == LOUD).all()


def test_what_ducking_makes_inaudible_is_not_audible() -> None:
    """-40 dBFS is audible, -60 is not."""
    playout = Playout(RATE)
    playout.write("a", steady(328, RATE), RATE)
    playout.duck()
    playout.read(1600, T0 - 100 * NS_PER_MS)  # the ramp is the only moment in which it is heard
    heard = state(playout, "a").last_audible_ns
    assert heard is not None
    assert heard < T0 - 100 * NS_PER_MS + int(DUCK_S * NS_PER_S)
    playout.read(1600, T0)
    assert state(playout, "a").last_audible_ns == heard
    playout.swell()
    playout.read(2 * SWELL, T0 + 100 * NS_PER_MS)
    played = state(playout, "a")
    assert played.last_audible_ns is not None
    assert abs(played.last_audible_ns - (T0 + 300 * NS_PER_MS)) < NS_PER_MS

    playout = Playout(RATE)
    playout.duck()
    playout.read(DUCK, T0)
    playout.write("a", steady(328, RATE), RATE)
    playout.read(1600, T0)
    assert state(playout, "a").audible_ns is None
    assert state(playout, "a").position == 1600
