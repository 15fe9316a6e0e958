"""A voice's graph in our own ONNX sessions: phoneme ids in, sound out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from pipeline.engines import vits
from pipeline.errors import BadInput

THREADS = 1
"""Two spinning threads cost 1.8 times the CPU."""

PIECE_FRAMES = 20
"""Vocoder frames of a VITS voice's first piece of sound: 0.23 s at 22.05 kHz."""

CONTEXT_FRAMES = 10
"""Frames of context on each side of a piece; 10 are exact."""

_INPUTS = {"input", "input_lengths", "scales", "sid"}

Feeds = dict[str, npt.NDArray[Any]]
"""What the graph is given, by name."""

Floats = npt.NDArray[np.float32]

Ends = npt.NDArray[np.int64]
"""The sample at which each phoneme id of a sentence ends, shape (ids,)."""


class Engine(Protocol):
    """What turns phoneme ids into sound."""

    session: ort.InferenceSession
    streams: bool

    def run(
        self, feeds: Feeds, options: ort.RunOptions, sounding: int
    ) -> tuple[Ends | None, Iterator[Floats]]:
        """One sentence.

        Args:
            feeds: What the graph is given.
            options: Of the run.
            sounding: After how many ids it should be silent.

        Returns:
            Where its ids end, if the voice tells, and its sound in order, each piece of shape (n,),
            full scale 1.
        """
        ...


class _Whole:
    """A voice of any kind: the sound of a sentence comes in one piece."""

    streams = False

    def __init__(self, session: ort.InferenceSession, hop: int) -> None:
        self.session = session
        self._hop = hop

    def run(
        self, feeds: Feeds, options: ort.RunOptions, sounding: int
    ) -> tuple[Ends | None, Iterator[Floats]]:
        sound, *others = _compute(self.session, feeds, options)
        sound = sound.reshape(-1).astype(np.float32, copy=False)
        ends = _ends(others, self._hop, feeds, len(sound))
        if ends is not None and (others[0] != np.rint(others[0])).any():
            ends = _stretched(ends, sounding, _audible(sound, self._hop))
        return ends, iter([sound])


class _Split:
    """A VITS voice: the vocoder makes piece after piece of what the encoder made of a sentence."""

    streams = True

    def __init__(self, halves: vits.Halves, piece_frames: int, context_frames: int) -> None:
        self.session = _session(halves.encoder)
        self._vocoder = _session(halves.vocoder)
        self._latent = halves.latent
        self._first = piece_frames
        self._context = context_frames
        # Samples per frame, or 0 if the vocoder gives no fixed number.
        self.hop = self._measured_hop()

    def run(
        self, feeds: Feeds, options: ort.RunOptions, sounding: int
    ) -> tuple[Ends | None, Iterator[Floats]]:
        latent, *others = _compute(self.session, feeds, options)
        ends = _ends(others, self.hop, feeds, latent.shape[2] * self.hop)
        return ends, self._pieces(latent, feeds, options)

    def _pieces(
        self, latent: npt.NDArray[Any], feeds: Feeds, options: ort.RunOptions
    ) -> Iterator[Floats]:
        for piece in vits.pieces(latent.shape[2], self._first, self._context):
            part = latent[:, :, piece.left : piece.right]
            start = (piece.start - piece.left) * self.hop
            stop = (piece.stop - piece.left) * self.hop
            yield self._decode(part, feeds, options)[start:stop]

    def _measured_hop(self) -> int:
        made = []
        given = self._vocoder.get_inputs()[0]
        for frames in (2, 7):
            dtype = np.float16 if given.type == "tensor(float16)" else np.float32
            part = np.zeros((1, given.shape[1], frames), dtype)
            sound = self._decode(part, {"sid": np.zeros(1, np.int64)}, ort.RunOptions())
            made.append(divmod(len(sound), frames))
        (hop, rest), other = made
        return hop if not rest and other == (hop, 0) else 0

    def _decode(self, part: npt.NDArray[Any], feeds: Feeds, options: ort.RunOptions) -> Floats:
        given = {self._latent: np.ascontiguousarray(part), **feeds}
        sound, *_ = _compute(self._vocoder, given, options)
        return sound.reshape(-1).astype(np.float32, copy=False)


def _compute(
    session: ort.InferenceSession, feeds: Feeds, options: ort.RunOptions
) -> list[npt.NDArray[Any]]:
    """The first two outputs of `session` (if it has two), given those `feeds` that it takes."""
    given = {value.name: feeds[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()[:2]]
    result: list[npt.NDArray[Any]] = session.run(names, given, options)
    return result


def _ends(
    durations: Sequence[npt.NDArray[Any]], hop: int, feeds: Feeds, samples: int
) -> Ends | None:
    """Where the ids of a sentence end, if `durations` (frames, one output or none) tells that.

    An output that is something else does not have one number for each id that add up to the sound.
    They may fall short of it: the embedded voice lets the last one ring.
    """
    if not durations or durations[0].size != feeds["input"].size:
        return None
    frames = durations[0].reshape(-1).astype(np.float64)
    ends = np.cumsum(frames) * hop
    if not (frames >= 0).all() or not samples / 2 <= ends[-1] <= samples + hop:
        return None
    return np.minimum(np.rint(ends).astype(np.int64), samples)


def _stretched(ends: Ends, sounding: int, audible: int) -> Ends:
    """`ends`, of which the one after which it should be silent is where it falls silent indeed.

    The frames of VITS are repeated by whole durations, which are exact. Fractions are from a voice
    that only takes them as advice: the embedded one comes to lag behind them by up to 0.2 s.
    """
    first, last = int(ends[0]), int(ends[sounding - 1])
    if last <= first or audible <= last:
        return ends
    stretched = np.rint(first + (ends - first) * ((audible - first) / (last - first)))
    result: Ends = np.minimum(stretched.astype(np.int64), audible)
    return result


def _audible(sound: Floats, hop: int) -> int:
    """Where a sentence falls silent: after its last frame down to 35 dB below the loudest."""
    frames = sound[: len(sound) // hop * hop].reshape(-1, hop)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10**-3.5)
    return int(loud[-1] + 1) * hop if len(loud) else 0


def load(
    path: Path,
    hop: int,
    *,
    stream: bool = True,
    piece_frames: int = PIECE_FRAMES,
    context_frames: int = CONTEXT_FRAMES,
) -> Engine:
    """The voice in `path`, cut in two if it can be, so that sound flows inside a sentence.

    Args:
        path: An `.onnx`.
        hop: Samples per frame of its durations; a voice that is cut shows its own.
        stream: False: leave it whole.
        piece_frames: See `PIECE_FRAMES`.
        context_frames: See `CONTEXT_FRAMES`.

    Raises:
        BadInput: The file is damaged, or no Piper voice.
    """
    try:
        # The graphs are cut anew at each start. That takes a fifth of what onnxruntime needs to
        # build a session from them: too little to keep copies of every voice on disk.
        model = onnx.load(path)
        halves = vits.split(model) if stream else None
        split = _Split(halves, piece_frames, context_frames) if halves else None
        if split and split.hop:
            engine: Engine = split
        else:
            engine = _Whole(_session(vits.timed(model) or str(path)), hop)
    except Exception as error:
        raise BadInput(
            f"{path}: cannot be loaded, it may be damaged: {brief(error)}\n"
            "`cascade models verify` tells; `cascade models pull` with its name fetches it again."
        ) from error
    names = {value.name for value in engine.session.get_inputs()}
    if "input" not in names or names - _INPUTS:
        raise BadInput(
            f"{path}: not a Piper voice: it takes {', '.join(sorted(names))}, "
            f"not {', '.join(sorted(_INPUTS))}"
        )
    return engine


def _session(model: str | bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    # Threads that spin between runs take the core from the language model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without the arena a run costs a quarter to a half more.
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def brief(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
