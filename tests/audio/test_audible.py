import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sound import steady, tone

from pipeline.audio.audible import Ear, ending, onset, stretches
from pipeline.clock import NS_PER_S
from pipeline.events import Samples

RATE = 16000
T0 = 5 * NS_PER_S


@settings(max_examples=60, deadline=None)
@given(
    lead=st.integers(0, 3000),
    blocks=st.lists(st.integers(1, 700), min_size=1, max_size=20),
    hz=st.sampled_from([80, 200, 1000, 4000]),
    click=st.integers(0, 3000),
)
def test_onset_is_found_wherever_blocks_end(
    lead: int, blocks: list[int], hz: float, click: int
) -> None:
    sound = np.concatenate([steady(20, lead), tone(RATE, 0.2, hz, 3000), steady(0, 5000)])
    if click < lead - RATE // 50:
        sound[click] = 30000
    found = onset(sound, RATE)
    assert found is not None
    assert lead <= found < lead + RATE // 1000
    ear = Ear(RATE)
    at, i = 0, 0
    while at < len(sound):
        n = blocks[i % len(blocks)]
        ear.hear(sound[at : at + n], T0 + at * NS_PER_S // RATE)
        at, i = at + n, i + 1
    assert ear.audible_ns is not None
    assert abs(ear.audible_ns - (T0 + found * NS_PER_S // RATE)) < NS_PER_S // RATE


@given(st.integers(100, 2000), st.integers(0, 3000), st.integers(200, 2000))
def test_the_ending_is_found_before_clicks(sound: int, silence: int, click: int) -> None:
    samples = np.concatenate([tone(RATE, 1)[:sound], steady(20, silence)])
    end = ending(samples, RATE)
    assert end is not None
    assert sound - RATE // 1000 < end <= sound
    if click < silence:
        samples[sound + click] = 30000
    assert ending(samples, RATE) == end
    assert stretches(samples, RATE, 9.0)[0][1] == ending(samples, RATE)


@pytest.mark.parametrize(
    "sound",
    [
        steady(0, 8000),
        steady(100, 8000),
        np.where(np.arange(8000) % 500 == 0, 30000, 0).astype(np.int16),
        np.zeros(0, np.int16),
    ],
)
def test_silence_hiss_and_clicks_are_not_audible(sound: Samples) -> None:
    assert onset(sound, RATE) is ending(sound, RATE) is None
    ear = Ear(RATE)
    ear.hear(sound, T0)
    assert ear.audible_ns is None
    assert ear.last_audible_ns is None
