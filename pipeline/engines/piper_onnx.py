"""A voice's graph in our own ONNX sessions: phoneme ids in, sound out.

A VITS voice is cut where its vocoder and its flow begin, so that its sound can be made piece by
piece. VITS first turns a whole sentence into frames (text, durations: here the *encoder*), then
these into the frames that the vocoder takes (the *flow*), and every stretch of those into sound
(HiFi-GAN: here the *vocoder*). The last two steps look only a few frames to each side, so that
frames with some context give the very samples that the whole sentence would have given there. Kim
et al. 2021, arXiv:2106.06103.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from pipeline.engines.onnx_file import outline
from pipeline.engines.worker import onnx_session
from pipeline.errors import BadInput, first_line

LOG = 3
"""onnxruntime's errors are told, for a voice may be anybody's."""

PIECE_FRAMES = 14
"""Vocoder frames of a VITS voice's first piece of sound: 0.16 s at 22.05 kHz, the first 0.05 of
them silent."""

CONTEXT_FRAMES = 10
"""Frames of context on each side of a piece; 10 are exact."""

_NODE = "dec/conv_pre"
_WEIGHT = "dec.conv_pre.weight"
_FLOW = "flow/flows."
_INPUTS = {"input", "input_lengths", "scales", "sid"}

LONGEST = 6
"""The longest piece, in first pieces: there context is a fifth of the work. With 8 a voice takes
1 % less time and 12 MB more."""

LEAD_FRAMES = 5
"""The longest beginning of a sentence, in frames at the voice's own speed.

How long the mark lasts with which a sentence begins is drawn at random: 1 to 5 frames (58 ms) in 98
of 100 draws of `en_US-joe-medium`, but 20 to 36 in one of six of some sentences' ("What time is
it?"). All of it is silence, for which nobody shall wait.
"""

Feeds = dict[str, npt.NDArray[Any]]
"""What the graph is given, by name."""

Floats = npt.NDArray[np.float32]

IdEnds = npt.NDArray[np.int64]
"""The sample at which each phoneme id of a sentence ends, shape (ids,)."""


class Engine(Protocol):
    """What turns phoneme ids into sound."""

    session: ort.InferenceSession
    streams: bool

    def run(
        self, feeds: Feeds, options: ort.RunOptions, sounding: int
    ) -> tuple[IdEnds | None, Iterator[Floats]]:
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
    ) -> tuple[IdEnds | None, Iterator[Floats]]:
        sound, *others = _compute(self.session, feeds, options)
        sound = sound.reshape(-1).astype(np.float32, copy=False)
        ends = _ends(others, self._hop, feeds, len(sound))
        if ends is not None and (others[0] != np.rint(others[0])).any():
            ends = _stretched(ends, sounding, _audible(sound, self._hop))
        return ends, iter([sound])


class _Split:
    """A VITS voice: the vocoder makes piece after piece of what the encoder made of a sentence."""

    streams = True

    def __init__(self, parts: Parts, weights: Path, piece_frames: int, context_frames: int) -> None:
        def session(graph: bytes) -> ort.InferenceSession:
            return onnx_session(graph, weights=weights, log_severity=LOG)

        self.session = session(parts.encoder)
        self._flow = session(parts.flow) if parts.flow else None
        self._vocoder = session(parts.vocoder)
        self._latent = parts.latent
        self._reach = parts.reach
        self._first = piece_frames
        self._context = context_frames
        # Samples per frame, or 0 if the vocoder gives no fixed number.
        self.hop = self._measured_hop()

    def run(
        self, feeds: Feeds, options: ort.RunOptions, sounding: int
    ) -> tuple[IdEnds | None, Iterator[Floats]]:
        made = _compute(self.session, feeds, options)
        told = len(self._flow.get_inputs()) if self._flow else 1
        given, lasting = made[:told], made[told:]
        frames = given[0].shape[2]
        ends = _ends(lasting, self.hop, feeds, frames * self.hop)
        if ends is not None:
            late = max(0, int(ends[0]) // self.hop - round(LEAD_FRAMES * float(feeds["scales"][1])))
            given = [part[..., late:] for part in given]
            ends = np.maximum(ends - late * self.hop, 0)
        return ends, self._pieces(given, feeds, options)

    def _pieces(
        self, given: Sequence[npt.NDArray[Any]], feeds: Feeds, options: ort.RunOptions
    ) -> Iterator[Floats]:
        frames = given[0].shape[2]
        latent, made = given[0], 0 if self._flow else frames
        for piece in pieces(frames, self._first, self._context):
            if piece.right > made:
                # What the first piece needs, and then all: a few frames are made twice.
                until = frames if made else min(frames, piece.right + self._reach)
                latent = self._flowed([part[..., :until] for part in given], options)
                made = frames if until == frames else piece.right
            part = latent[:, :, piece.left : piece.right]
            start = (piece.start - piece.left) * self.hop
            stop = (piece.stop - piece.left) * self.hop
            yield self._decode(part, feeds, options)[start:stop]

    def _flowed(
        self, given: Sequence[npt.NDArray[Any]], options: ort.RunOptions
    ) -> npt.NDArray[Any]:
        assert self._flow is not None
        names = [value.name for value in self._flow.get_inputs()]
        parts = map(np.ascontiguousarray, given)
        return _compute(self._flow, dict(zip(names, parts, strict=True)), options)[0]

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
    """The outputs of `session`, given those `feeds` that it takes."""
    given = {value.name: feeds[value.name] for value in session.get_inputs()}
    result: list[npt.NDArray[Any]] = session.run(None, given, options)
    return result


def _ends(
    durations: Sequence[npt.NDArray[Any]], hop: int, feeds: Feeds, samples: int
) -> IdEnds | None:
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


def _stretched(ends: IdEnds, sounding: int, audible: int) -> IdEnds:
    """`ends`, of which the one after which it should be silent is where it falls silent indeed.

    The frames of VITS are repeated by whole durations, which are exact. Fractions are from a voice
    that only takes them as advice: the embedded one comes to lag behind them by up to 0.2 s.
    """
    first, last = int(ends[0]), int(ends[sounding - 1])
    if last <= first or audible <= last:
        return ends
    stretched = np.rint(first + (ends - first) * ((audible - first) / (last - first)))
    result: IdEnds = np.minimum(stretched.astype(np.int64), audible)
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
        # The graphs are cut anew at each start: that takes less than it would to keep copies of
        # every voice on disk.
        file = path.resolve()
        model = outline(file)
        parts = split(model) if stream else None
        cut = _Split(parts, file.parent, piece_frames, context_frames) if parts else None
        if cut and cut.hop:
            engine: Engine = cut
        else:
            whole = onnx_session(timed(model) or file, weights=file.parent, log_severity=LOG)
            engine = _Whole(whole, hop)
    except Exception as error:
        raise BadInput(
            f"{path}: cannot be loaded, it may be damaged: {first_line(error)}\n"
            "`cascade models verify` tells; `cascade models pull` with its name fetches it again."
        ) from error
    names = {value.name for value in engine.session.get_inputs()}
    if "input" not in names or names - _INPUTS:
        raise BadInput(
            f"{path}: not a Piper voice: it takes {', '.join(sorted(names))}, "
            f"not {', '.join(sorted(_INPUTS))}"
        )
    return engine


@dataclass(frozen=True, slots=True)
class Parts:
    """The graphs of a cut voice, serialised for onnxruntime.

    Attributes:
        encoder: From the voice's inputs to what the flow takes (else to `latent`); then the
            `durations`, if it makes them.
        flow: From the frames and their mask to `latent`; empty if the voice shows no flow.
        vocoder: From `latent` (and `sid`, if several speakers share the voice) to the sound.
        latent: What the vocoder takes, shape (1, channels, frames).
        reach: How many frames to each side the flow looks.
    """

    encoder: bytes
    flow: bytes
    vocoder: bytes
    latent: str
    reach: int


def durations(model: onnx.ModelProto) -> onnx.ValueInfoProto | None:
    """The tensor that tells how long each phoneme id lasts, in frames.

    A voice that Piper's tool has patched, or that was made so, has it as its second output. In
    others it is what Piper's `patch_voice_with_alignment` would make one: the only rounding up in
    the graph, VITS's `w_ceil`, of the shape (1, 1, ids).

    Returns:
        None for a voice without, or with several tensors that might be it.
    """
    outputs = model.graph.output
    if len(outputs) > 1:
        found: onnx.ValueInfoProto = outputs[1]
        return found
    rounded = {name for node in model.graph.node if node.op_type == "Ceil" for name in node.output}
    if len(rounded) != 1 or not outputs:
        return None
    kind = outputs[0].type.tensor_type.elem_type
    return helper.make_tensor_value_info(rounded.pop(), kind, [1, 1, "ids"])


def timed(model: onnx.ModelProto) -> bytes | None:
    """The voice with its `durations` as second output; None if it has none, or has it so."""
    found = durations(model)
    if found is None or len(model.graph.output) > 1:
        return None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(found)
    serialised: bytes = copy.SerializeToString()
    return serialised


def split(model: onnx.ModelProto) -> Parts | None:
    """Cut a voice where its vocoder begins, and where its flow does.

    The vocoder's first convolution is found by the name that PyTorch's exporter gives it (from 1.13
    on `/dec/conv_pre/Conv`) or by that of its weights, which older and newer exporters keep too.

    Returns:
        None for a voice that has no such place, or whose vocoder needs anything of the sentence but
        its frames, or draws noise of its own: it must be run whole.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    first = next((node for node in model.graph.node if _begins_vocoder(node)), None)
    if first is None or first.input[1] not in weights or not model.graph.output:
        return None
    latent, weight = first.input[0], weights[first.input[1]]
    nodes = [_Node(node, frozenset(_reads(node))) for node in model.graph.node]
    encoder = _needed(nodes, latent)
    vocoder = _needed(nodes, model.graph.output[0].name, given=[latent])
    inputs = {value.name for value in model.graph.input} - weights.keys()
    if _read(vocoder) & (inputs - {"sid"}) or any(_draws(node.proto) for node in vocoder):
        return None

    def frames(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, weight.data_type, [1, channels, "frames"])

    cut = [frames(latent, weight.dims[1])]
    flow, given = list[_Node](), cut
    if begins := _flow_takes(encoder, latent):
        flow = _needed(encoder, latent, given=begins)
        if any(node.proto.op_type in _FAR or _draws(node.proto) for node in flow):
            flow = []
        else:
            given = [frames(begins[0], weight.dims[1]), frames(begins[1], 1)]
            encoder = _needed(encoder, *begins)
    lasting = durations(model)
    made = {name for node in encoder for name in node.proto.output}
    told = [lasting] if lasting is not None and lasting.name in made else []
    return Parts(
        encoder=_serialised(model, encoder, [], [*given, *told]).SerializeToString(),
        flow=_serialised(model, flow, given, cut).SerializeToString() if flow else b"",
        vocoder=_in_rows(_serialised(model, vocoder, cut, [model.graph.output[0]])),
        latent=latent,
        reach=sum(_reach(node.proto, weights) for node in flow),
    )


_FAR = ("MatMul", "Gemm", "Softmax")
"""What looks at all frames at once: a flow of these cannot be computed in parts."""


class _Node(NamedTuple):
    proto: onnx.NodeProto
    reads: frozenset[str]


def _begins_vocoder(node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Conv"
        and len(node.input) > 1
        and (_NODE in node.name or node.input[1].endswith(_WEIGHT))
    )


def _draws(node: onnx.NodeProto) -> bool:
    return node.op_type.startswith(("Random", "Bernoulli", "Multinomial"))


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors a node reads, those inside its branches and loops included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)


def _read(nodes: list[_Node]) -> frozenset[str]:
    return frozenset().union(*(node.reads for node in nodes))


def _needed(nodes: list[_Node], *tensors: str, given: Sequence[str] = ()) -> list[_Node]:
    """The nodes that `tensors` are computed by, in order, where those `given` are already there."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.proto.output}
    wanted, needed = [*tensors], set[int]()
    while wanted:
        name = wanted.pop()
        i = makers.get(name)
        if name in given or i is None or i in needed:
            continue
        needed.add(i)
        wanted.extend(nodes[i].reads)
    return [nodes[i] for i in sorted(needed)]


def _flow_takes(encoder: list[_Node], latent: str) -> tuple[str, str] | None:
    """The frames and the mask that the flow takes, of which it makes `latent`.

    VITS masks the latent frames in the end: `dec(flow(z_p, y_mask) * y_mask)`.
    """
    made = {name: node.proto for node in encoder for name in node.proto.output}
    last, first = made[latent], next((n.proto for n in encoder if _FLOW in n.proto.name), None)
    if first is None or last.op_type != "Mul" or not {first.input[0], last.input[1]} <= made.keys():
        return None
    return first.input[0], last.input[1]


def _reach(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> int:
    """How many frames to each side a convolution looks."""
    if node.op_type != "Conv":
        return 0
    dilation = next((a.ints[0] for a in node.attribute if a.name == "dilations"), 1)
    return int((weights[node.input[1]].dims[2] - 1) * dilation // 2)


def _serialised(
    model: onnx.ModelProto,
    nodes: list[_Node],
    given: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """A model of `nodes` alone, with the inputs and weights that they read."""
    read = _read(nodes)
    part = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions
    )
    graph = part.graph
    graph.name = "part"
    graph.node.extend(node.proto for node in nodes)
    graph.input.extend(given)
    graph.input.extend(value for value in model.graph.input if value.name in read)
    graph.initializer.extend(t for t in model.graph.initializer if t.name in read)
    graph.output.extend(outputs)
    return part


def _in_rows(model: onnx.ModelProto) -> bytes:
    """The model with its convolutions over time as convolutions over pictures one row high.

    They compute the same, in a fifth less time on x86: for pictures alone onnxruntime (1.31) has
    kernels that take channels in blocks (NCHWc).
    """
    graph = model.graph
    lengths = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    nodes = [*graph.node]
    del graph.node[:]
    for name, shape in (("to.row", [0, 0, 1, -1]), ("from.row", [0, 0, -1])):
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))

    def reshape(name: str, to: str, result: str) -> None:
        graph.node.append(helper.make_node("Reshape", [name, to], [result]))

    for node in nodes:
        if node.op_type != "Conv" or lengths.get(node.input[1]) != 3:
            graph.node.append(node)
            continue
        result, node.output[0] = node.output[0], f"{node.output[0]}.row"
        for i, part in enumerate(("sound", "weight")):
            reshape(node.input[i], "to.row", f"{result}.{part}")
            node.input[i] = f"{result}.{part}"
        for attribute in node.attribute:
            if attribute.name in ("kernel_shape", "strides", "dilations"):
                attribute.ints[:] = [1, *attribute.ints]
            elif attribute.name == "pads":
                attribute.ints[:] = [0, attribute.ints[0], 0, attribute.ints[1]]
        graph.node.append(node)
        reshape(node.output[0], "from.row", result)
    serialised: bytes = model.SerializeToString()
    return serialised


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames `start` to `stop` of a sentence, to be made from frames `left` to `right`."""

    start: int
    stop: int
    left: int
    right: int


def pieces(frames: int, first: int, context: int) -> list[Piece]:
    """How to cut a sentence of so many frames.

    Each piece is as long as all before it. The first should be short, to be heard early; long ones
    waste less on context. While a first piece of 14 frames plays, of which 4 are silent, 34 must be
    made with a context of 10: a vocoder that needs 0.29 of real time keeps up. Piper's low and
    medium voices need 0.02 to 0.06. Its high ones need 0.3 on a fast processor and 0.6 on a slow
    one, where whole sentences have no gaps.

    Args:
        frames: Latent frames of the sentence.
        first: Frames in the first piece; the longest has `LONGEST` times as many.
        context: Frames on each side that a piece is made with, as far as the sentence has them.
    """
    cuts = [0]
    while cuts[-1] < frames:
        length = min(max(first, cuts[-1]), first * LONGEST)
        rest = frames - cuts[-1] - length
        # A crumb at the end would cost more context than it holds frames.
        cuts.append(cuts[-1] + length if rest > first // 2 else frames)
    return [
        Piece(start, stop, max(0, start - context), min(frames, stop + context))
        for start, stop in pairwise(cuts)
    ]
