import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sound import tone

from pipeline.audio.resample import FINE_TAPS, TAPS, Resampler
from pipeline.events import Samples

LEVEL = 16000
RATES = [8000, 11025, 16000, 22050, 24000, 44100, 48000, 96000]


def convert(samples: Samples, rate_in: int, rate_out: int, step: int, taps: int = TAPS) -> Samples:
    resampler = Resampler(rate_in, rate_out, taps=taps)
    pieces = [resampler.push(samples[i : i + step]) for i in range(0, len(samples), step)]
    return np.concatenate([*pieces, resampler.flush()])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 4000),
    rate_in=st.sampled_from(RATES),
    rate_out=st.sampled_from(RATES),
    step=st.integers(1, 1500),
    taps=st.sampled_from([TAPS, FINE_TAPS]),
)
def test_output_has_the_length_of_the_input(
    n: int, rate_in: int, rate_out: int, step: int, taps: int
) -> None:
    out = convert(np.full(n, 1000, np.int16), rate_in, rate_out, step, taps)
    assert len(out) == round(n * rate_out / rate_in)
    assert out.dtype == np.int16


@settings(max_examples=30, deadline=None)
@given(
    rate_in=st.sampled_from(RATES),
    rate_out=st.sampled_from(RATES),
    step=st.integers(50, 3000),
)
def test_holds_back_no_more_than_its_delay(rate_in: int, rate_out: int, step: int) -> None:
    resampler = Resampler(rate_in, rate_out)
    delay_s = 0.0 if rate_in == rate_out else TAPS / 2 / min(rate_in, rate_out)
    given_s = 0.0
    for fed in range(step, rate_in // 2, step):
        given_s += len(resampler.push(np.zeros(step, np.int16))) / rate_out
        held_s = fed / rate_in - given_s
        full = fed / rate_in > 3 * delay_s
        allowed_s = delay_s * (1 if full else 2)
        assert held_s <= allowed_s + 3 / min(rate_in, rate_out)
        assert held_s >= -1 / rate_out


@pytest.mark.parametrize("rate_out", [16000, 44100, 48000])
@pytest.mark.parametrize("rate_in", [16000, 22050, 44100, 48000])
def test_sound_keeps_its_place(rate_in: int, rate_out: int) -> None:
    click = np.zeros(rate_in // 2, np.int16)
    click[rate_in // 4] = 30000
    out = convert(click, rate_in, rate_out, rate_in // 50)
    at = float(np.argmax(np.abs(out.astype(np.int32)))) / rate_out
    assert abs(at - (rate_in // 4) / rate_in) < 0.6 / min(rate_in, rate_out)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48000, 16000), (44100, 16000), (22050, 48000)])
def test_keeps_a_tone_and_takes_an_alias_out(rate_in: int, rate_out: int) -> None:
    kept = convert(tone(rate_in, 0.5, 1000, LEVEL), rate_in, rate_out, rate_in // 50)
    ideal = tone(rate_out, 0.5, 1000, LEVEL)
    middle = slice(rate_out // 10, -rate_out // 10)
    error = kept[middle].astype(float) - ideal[: len(kept)][middle]
    assert np.abs(error).max() < 8  # of `LEVEL`: -66 dB
    if rate_out < rate_in:
        alias = convert(tone(rate_in, 0.5, 10_000, LEVEL), rate_in, rate_out, rate_in // 50)
        assert np.abs(alias[middle].astype(int)).max() < 16


def test_where_nobody_waits_the_filter_is_sharper() -> None:
    kept = convert(tone(48000, 0.5, 7200, LEVEL), 48000, 16000, 960, FINE_TAPS)[2000:-2000].astype(
        float
    )
    assert np.sqrt(np.mean(kept**2)) == pytest.approx(LEVEL / np.sqrt(2), rel=0.01)
    alias = convert(tone(48000, 0.5, 8200, LEVEL), 48000, 16000, 960, FINE_TAPS)[2000:-2000]
    assert np.abs(alias.astype(int)).max() < 2


def test_full_scale_does_not_wrap() -> None:
    square = np.repeat(np.array([32767, -32768] * 50, np.int16), 220)
    out = convert(square, 22050, 48000, 441).astype(int)
    middle_of_steps = out[int(110 * 48000 / 22050) :: int(220 * 48000 / 22050)]
    assert (np.abs(middle_of_steps[:40]) > 30000).all()


def test_equal_rates_pass_through_untouched() -> None:
    samples = np.arange(-5, 5, dtype=np.int16)
    resampler = Resampler(16000, 16000)
    assert resampler.push(samples) is samples
    assert len(resampler.flush()) == 0


def test_begins_anew_after_a_flush() -> None:
    resampler = Resampler(48000, 16000)
    first = np.concatenate([resampler.push(tone(48000, 0.5, 440, LEVEL)), resampler.flush()])
    second = np.concatenate([resampler.push(tone(48000, 0.5, 440, LEVEL)), resampler.flush()])
    np.testing.assert_array_equal(first, second)


def test_refuses_a_rate_of_nothing() -> None:
    with pytest.raises(ValueError, match="positive"):
        Resampler(0, 16000)
