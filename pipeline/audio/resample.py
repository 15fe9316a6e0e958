"""Sample-rate conversion of a stream, without loss of time."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

from pipeline.events import Samples

TAPS = 32
"""Length of libswresample's filter, in samples of the lower of the two rates (its default)."""

FINE_TAPS = 128
"""The same where nobody waits: flat to 90 % of the band, and what is beyond it 90 dB down."""


class Resampler:
    """Converts a stream of mono int16 audio from one rate to another, piece by piece.

    Sound keeps its place: output sample `k` is the input at time `k / rate_out`, and after `flush`
    the output is `round(n * rate_out / rate_in)` samples long. Half the filter is held back: 16
    samples of the lower rate, 1 ms at 16 kHz, whatever the size of the pieces (twice that until the
    filter has filled). That is why this is libswresample (which PyAV brings) and not soxr's stream,
    which converts in blocks and holds back 21 ms on average and 41 ms at worst: time that every
    turn would lose.

    The filter is 32 samples long at the lower rate: flat to 80 % of its band, aliases above 112 %
    of it are 60 dB down, and a step rings for less than 1 ms to either side.

    Args:
        rate_in: Hz, of what is pushed.
        rate_out: Hz, of what is returned. Equal rates pass through untouched.
        taps: Length of the filter. A longer one is sharper, and holds back as much more.
    """

    def __init__(self, rate_in: int, rate_out: int, *, taps: int = TAPS) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise ValueError(f"sample rates are positive, not {rate_in} and {rate_out}")
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._taps = taps
        self._start()

    def _start(self) -> None:
        self._graph: _Graph | None = None
        self._taken = 0
        self._given = 0

    def push(self, samples: Samples) -> Samples:
        """Convert the next piece; int16 (n,) at `rate_in`, any n. Returns what is ready."""
        if self.rate_in == self.rate_out:
            return samples
        if len(samples) == 0:
            return samples[:0]
        self._taken += len(samples)
        ready = self._convert(samples)
        self._given += len(ready)
        return ready

    def flush(self) -> Samples:
        """End the stream and return the rest of it; the next `push` begins a new one."""
        if self.rate_in == self.rate_out or self._taken == 0:
            return np.zeros(0, np.int16)
        missing = round(self._taken * self.rate_out / self.rate_in) - self._given
        # Silence pushes the held samples out of the filter, and serves streams that are shorter
        # than the filter, which libswresample would drop.
        pad = 2 * self._taps * -(-self.rate_in // min(self.rate_in, self.rate_out))
        rest = self._convert(np.zeros(pad, np.int16))[:missing]
        self._start()
        return rest

    def _convert(self, samples: Samples) -> Samples:
        if self._graph is None:
            self._graph = _Graph(self.rate_in, self.rate_out, self._taps)
        return self._graph.convert(samples)


class _Graph:
    """FFmpeg's filter graph around libswresample, which gives one piece, or none, for each."""

    def __init__(self, rate_in: int, rate_out: int, taps: int) -> None:
        self._rate_in = rate_in
        self._graph = Graph()
        # Both ends are kept: the graph looks for them anew with each piece.
        self._source = self._graph.add_abuffer(
            format="s16", sample_rate=rate_in, layout="mono", time_base=Fraction(1, rate_in)
        )
        self._sink = self._graph.add("abuffersink")
        resample = self._graph.add("aresample", f"{rate_out}:filter_size={taps}")
        self._graph.link_nodes(self._source, resample, self._sink).configure()

    def convert(self, samples: Samples) -> Samples:
        # Twice as fast as by `from_ndarray` and `to_ndarray`, for the pieces of a conversation.
        frame = av.AudioFrame("s16", "mono", len(samples))
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate = self._rate_in
        self._source.push(frame)
        try:
            ready = self._sink.pull()
        except BlockingIOError:
            return np.zeros(0, np.int16)
        assert isinstance(ready, av.AudioFrame)
        return np.frombuffer(bytes(ready.planes[0]), np.int16, ready.samples).copy()


def resampled(samples: Samples, rate_in: int, rate_out: int) -> Samples:
    """The whole of a mono int16 sound, at another rate (Hz)."""
    resampler = Resampler(rate_in, rate_out)
    return np.concatenate([resampler.push(samples), resampler.flush()])
