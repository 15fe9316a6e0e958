"""A VITS voice cut in two at its vocoder, so that its sound can be made piece by piece.

VITS first turns a whole sentence into latent frames (text, durations, flow: here the *encoder*),
then every stretch of frames into sound (HiFi-GAN: here the *vocoder*). The second step looks only a
few frames to each side, so that frames with some context give the very samples that the whole
sentence would have given there. Kim et al. 2021, arXiv:2106.06103.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import onnx
from onnx import helper

GROWTH = 2
"""Each piece is this much longer than the one before.

The first should be short, to be heard early; long ones waste less on context. While a piece plays,
one of twice the length plus context on both sides must be made: with a first piece of 20 frames and
a context of 10 that is 60 frames in the time of 20, so a vocoder that needs up to a third of real
time keeps up. Piper's low and medium voices need 0.02 to 0.08. Its high ones need 0.3 on a fast
processor and 0.6 on a slow one, where whole sentences have no gaps.
"""

LONGEST = 8
"""The longest piece, in first pieces: there context is an eighth of the work, and more would save
little but fill the speaker's queue in lumps of seconds."""

_NODE = "dec/conv_pre"
_WEIGHT = "dec.conv_pre.weight"


@dataclass(frozen=True, slots=True)
class Halves:
    """The two graphs of a cut voice, serialised for onnxruntime.

    Attributes:
        encoder: From the voice's inputs to `latent`.
        vocoder: From `latent` (and `sid`, if several speakers share the voice) to the sound.
        latent: The tensor at the cut, shape (1, channels, frames): the encoder's first output.
        timed: Whether the encoder's second output is `durations`.
    """

    encoder: bytes
    vocoder: bytes
    latent: str
    timed: bool


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


def split(model: onnx.ModelProto) -> Halves | None:
    """Cut a voice where its vocoder begins.

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
    vocoder = _needed(nodes, model.graph.output[0].name, given=latent)
    inputs = {value.name for value in model.graph.input} - weights.keys()
    if _read(vocoder) & (inputs - {"sid"}) or any(_draws(node.proto) for node in vocoder):
        return None
    cut = helper.make_tensor_value_info(latent, weight.data_type, [1, weight.dims[1], "frames"])
    lasting = durations(model)
    made = {name for node in encoder for name in node.proto.output}
    told = [lasting] if lasting is not None and lasting.name in made else []
    return Halves(
        encoder=_serialised(model, encoder, None, [cut, *told]),
        vocoder=_serialised(model, vocoder, cut, [model.graph.output[0]]),
        latent=latent,
        timed=bool(told),
    )


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


def _needed(nodes: list[_Node], tensor: str, *, given: str | None = None) -> list[_Node]:
    """The nodes that `tensor` is computed by, in order, where `given` is already there."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.proto.output}
    wanted, needed = [tensor], set[int]()
    while wanted:
        name = wanted.pop()
        i = makers.get(name)
        if name == given or i is None or i in needed:
            continue
        needed.add(i)
        wanted.extend(nodes[i].reads)
    return [nodes[i] for i in sorted(needed)]


def _serialised(
    model: onnx.ModelProto,
    nodes: list[_Node],
    given: onnx.ValueInfoProto | None,
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    """A model of `nodes` alone, with the inputs and weights that they read."""
    read = _read(nodes)
    half = onnx.ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions
    )
    graph = half.graph
    graph.name = "half"
    graph.node.extend(node.proto for node in nodes)
    graph.input.extend([given] if given else [])
    graph.input.extend(value for value in model.graph.input if value.name in read)
    graph.initializer.extend(t for t in model.graph.initializer if t.name in read)
    graph.output.extend(outputs)
    serialised: bytes = half.SerializeToString()
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

    Args:
        frames: Latent frames of the sentence.
        first: Frames in the first piece; see `GROWTH` for the others.
        context: Frames on each side that a piece is made with, as far as the sentence has them.
    """
    cuts, length = [0], first
    while cuts[-1] < frames:
        rest = frames - cuts[-1] - length
        # A crumb at the end would cost more context than it holds frames.
        cuts.append(cuts[-1] + length if rest > first // 2 else frames)
        length = min(length * GROWTH, first * LONGEST)
    return [
        Piece(start, stop, max(0, start - context), min(frames, stop + context))
        for start, stop in pairwise(cuts)
    ]
