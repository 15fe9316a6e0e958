"""Where sessions meet one microphone and one loudspeaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.virtual_time import VirtualClock
from support.virtual_time import run as in_virtual_time

from pipeline.audio.playout import Playout
from pipeline.compare.junction import MOST_WAITING, SILENT_S, Branch, Mixer
from pipeline.compare.switch import FADE_S
from pipeline.events import Frame, Samples

RATE = 24_000


def frame(number: int) -> Frame:
    return Frame(np.full(320, number, np.int16), 16_000, number * 320, number * 20_000_000)


def branch() -> Branch:
    return Branch(Playout(RATE), VirtualClock())  # type: ignore[arg-type]


def test_a_mixer_reads_every_playout() -> None:
    mixer = Mixer(2, RATE)
    for playout, level in zip(mixer.playouts, (1000, -2000), strict=True):
        playout.write("r", np.full(RATE, level, np.int16), RATE)
    settled = int(0.1 * RATE)
    mixer.read(settled, 0)
    assert [playout.position("r") for playout in mixer.playouts] == [settled, settled]
    mixer.heard = 1
    fading = mixer.read(settled, settled * 10**9 // RATE)
    fade = int(FADE_S * RATE)
    assert (np.diff(fading[:fade].astype(int)) < 0).all()
    assert (fading[fade:] == -2000).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 700)), max_size=20))
def test_however_it_is_switched_nothing_clicks_and_nothing_is_lost(
    blocks: Sequence[tuple[int, int]],
) -> None:
    told: list[Samples] = []
    mixer = Mixer(3, RATE, lambda samples, t_ns: told.append(samples))
    sounds = [np.full(RATE, level, np.int16) for level in (9000, -9000, 0)]
    for playout, sound in zip(mixer.playouts, sounds, strict=True):
        playout.write("r", sound, RATE)
    out = [mixer.read(480, 0)]
    for heard, n in blocks:
        mixer.heard = heard
        out.append(mixer.read(n, 0))
    mixed = np.concatenate(out).astype(int)
    assert (np.concatenate(told) == mixed).all()
    steps = np.abs(np.diff(mixed))
    assert steps.max(initial=0) <= 18_000 / (FADE_S * RATE) + 1
    assert {playout.position("r") for playout in mixer.playouts} == {min(RATE, len(mixed))}


def test_a_branch_gives_what_it_was_offered_and_then_ends() -> None:
    async def work() -> list[int]:
        one = branch()
        for number in range(5):
            assert one.offer(frame(number))
        one.end()
        one.offer(frame(9))
        return [int(given.samples[0]) async for given in one.frames()]

    assert in_virtual_time(work()) == [0, 1, 2, 3, 4]


def test_of_a_session_that_does_not_keep_up_the_oldest_is_lost_and_said_once() -> None:
    async def work() -> None:
        one = branch()
        told = [one.offer(frame(number)) for number in range(MOST_WAITING + 10)]
        assert told.count(False) == 1
        assert one.lost == 10
        one.end()
        left = [int(given.samples[0]) async for given in one.frames()]
        assert left == list(range(10, MOST_WAITING + 10))

    in_virtual_time(work())


def test_a_mute_session_is_quiet_after_a_minute() -> None:
    async def work() -> None:
        one, clock = branch(), VirtualClock()
        one.stir()
        one.go_on(False, 1)
        assert not one.quiet
        await clock.sleep_until(int((SILENT_S - 1) * 1e9))
        assert not one.quiet
        await clock.sleep_until(int((SILENT_S + 1) * 1e9))
        assert one.quiet
        one.stir()
        assert not one.quiet
        one.go_on(True, 1)
        assert one.quiet
        one.offer(frame(1))
        assert not one.quiet

    in_virtual_time(work())
