"""Cutting VITS voices. The voice here is a small VITS with random weights, built node by node.

It has what the cut depends on: durations that decide the number of frames, noise drawn inside the
graph, a flow of two convolutions with its mask as the last step, and the shape of Piper's medium
HiFi-GAN: three upsamplings to 256 samples a frame, kernels of 7 dilated up to 12. It is named as
PyTorch's exporter names it.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from piper.patch_voice_with_alignment import add_alignment_output
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

from pipeline.engines import piper_onnx

CHANNELS = 6
HOP = 256
SYMBOLS = 256
ENDLESS_IDS = 400
"""A text of more ids than this never ends in a voice built `endless`."""

Floats = npt.NDArray[np.float32]


class _Graph:
    """Collects the nodes and weights of a model."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(7)

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def random(self, name: str, *shape: int, gain: float = 1.0) -> str:
        size = gain / np.sqrt(np.prod(shape[1:]))
        return self.constant(name, self._rng.standard_normal(shape) * size)

    def add(self, name: str, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{name}_output_0"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output


def _encoder(g: _Graph, *, seed: float | None, endless: bool) -> tuple[str, str]:
    """Text to frames, and their mask: durations by CumSum, as VITS's `generate_path` has it."""
    seeded: dict[str, Any] = {} if seed is None else {"seed": seed}
    noise, length, noise_w = (
        g.add(f"/scale_{i}", "Gather", "scales", g.constant(f"index_{i}", i, np.int64))
        for i in range(3)
    )
    x = g.add("/enc_p/Gather", "Gather", g.random("enc_p.w", SYMBOLS, CHANNELS, gain=2), "input")
    logw = g.add("/dp/Gather", "Gather", g.random("dp.w", SYMBOLS, 1, gain=0.3), "input")
    drawn = g.add("/dp/Random", "RandomNormalLike", logw, **seeded)
    drawn = g.add("/dp/Mul", "Mul", drawn, noise_w)
    frames = g.add("/dp/Exp", "Exp", g.add("/dp/Add", "Add", logw, drawn))
    frames = g.add("/dp/Mul_1", "Mul", frames, length)
    n = g.add("/Size", "Size", "input")
    zero, one = g.constant("zero", 0, np.int64), g.constant("one", 1, np.int64)
    mask = g.add("/Less", "Less", g.add("/Range", "Range", zero, n, one), "input_lengths")
    mask = g.add("/Cast", "Cast", mask, to=TensorProto.FLOAT)
    mask = g.add("/Reshape", "Reshape", mask, g.constant("column", [1, -1, 1], np.int64))
    width = g.add("/Ceil", "Ceil", g.add("/Mul", "Mul", frames, mask))
    end = g.add("/CumSum", "CumSum", width, one)
    start = g.add("/Sub", "Sub", end, width)
    total = g.add("/ReduceSum", "ReduceSum", width, keepdims=0)
    at = g.add("/Range_1", "Range", g.constant("zerof", 0), total, g.constant("onef", 1))
    path = g.add(
        "/And", "And", g.add("/Less_1", "Less", at, end), g.add("/Not", "Not", _less(g, at, start))
    )
    path = g.add("/Cast_1", "Cast", path, to=TensorProto.FLOAT)
    mean = g.add("/Transpose", "Transpose", x, perm=[0, 2, 1])
    mean = g.add("/MatMul", "MatMul", mean, path)
    drawn = g.add("/RandomNormalLike", "RandomNormalLike", mean, **seeded)
    z = g.add("/Add_5", "Add", mean, g.add("/Mul_6", "Mul", drawn, noise))
    kept = _endless(g, n) if endless else "onef"
    mask = g.add("/Cast_2", "Cast", g.add("/Less_4", "Less", at, total), to=TensorProto.FLOAT)
    mask = g.add("/Reshape_2", "Reshape", mask, g.constant("line", [1, 1, -1], np.int64))
    return g.add("/Mul_8", "Mul", z, kept), mask


def _flow(g: _Graph, z: str, mask: str, *, name: str, op: str) -> str:
    """Two convolutions, each of which looks two frames to each side."""
    for i in range(2):
        weights = g.random(f"flow.{i}.weight", CHANNELS, CHANNELS, 5)
        x = g.add(f"{name}{i}/Conv", "Conv", z, weights, pads=[2, 2])
        z = g.add(f"{name}{i}/Add", "Add", z, g.add(f"{name}{i}/{op}", op, x))
    return g.add("/Mul_7", "Mul", z, mask)


def _less(g: _Graph, left: str, right: str) -> str:
    return g.add("/Less_2", "Less", left, right)


def _endless(g: _Graph, n: str) -> str:
    """1, after a loop whose body reads a weight from outside; without end for long texts."""
    limit = g.constant("limit", ENDLESS_IDS, np.int64)
    rounds = g.constant("rounds", 2**62, np.int64)
    times = g.add("/Where", "Where", g.add("/Less_3", "Less", limit, n), rounds, "one")
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Mul", ["held", g.constant("only.in.loop", 1)], ["held_on"]),
        ],
        "body",
        [
            scalar("i", TensorProto.INT64, []),
            scalar("go", TensorProto.BOOL, []),
            scalar("held", TensorProto.FLOAT, []),
        ],
        [scalar("go_on", TensorProto.BOOL, []), scalar("held_on", TensorProto.FLOAT, [])],
    )
    return g.add("/Loop", "Loop", times, g.constant("yes", True, np.bool_), "onef", body=body)


def _vocoder(g: _Graph, z: str, *, speakers: int, pre: str, weight: str, pad: bool) -> None:
    """HiFi-GAN, with one residual block after each upsampling that reaches as far as medium's.

    But for the last, with which the outermost samples would depend on an eleventh frame: by a
    product of so many small weights that only these random ones show it.
    """

    def conv(name: str, x: str, shape: tuple[int, ...], dilation: int = 1, w: str = "") -> str:
        reach = (shape[2] - 1) * dilation // 2
        weights = g.random(w or f"dec.{name}.weight", *shape, gain=0.8)
        return g.add(
            pre if w else f"/dec/{name}/Conv",
            "Conv",
            x,
            weights,
            dilations=[dilation],
            pads=[reach, reach],
        )

    x = conv("conv_pre", z, (8, CHANNELS, 7), w=weight)
    if speakers > 1:
        g_ = g.add("/emb_g/Gather", "Gather", g.random("emb_g.weight", speakers, 4, gain=6), "sid")
        g_ = g.add("/Unsqueeze", "Unsqueeze", g_, g.constant("last", [-1], np.int64))
        x = g.add("/dec/Add", "Add", x, conv("cond", g_, (8, 4, 1)))
    channels = 8
    for i, (rate, kernel) in enumerate([(8, 16), (8, 16), (4, 8)]):
        x = g.add(f"/dec/LeakyRelu_{i}", "LeakyRelu", x, alpha=0.1)
        weights = g.random(f"dec.ups.{i}.weight", channels, channels // 2 or 1, kernel, gain=1.5)
        margin = (kernel - rate) // 2 if pad else 0
        x = g.add(
            f"/dec/ups.{i}/ConvTranspose",
            "ConvTranspose",
            x,
            weights,
            strides=[rate],
            pads=[margin, margin],
        )
        channels = channels // 2
        for j, dilation in enumerate((3, 12) if i < 2 else (1, 2)):
            y = g.add(f"/dec/resblocks.{i}/LeakyRelu_{j}", "LeakyRelu", x, alpha=0.1)
            y = conv(f"resblocks.{i}.convs.{j}", y, (channels, channels, 7), dilation)
            x = g.add(f"/dec/resblocks.{i}/Add_{j}", "Add", x, y)
    g.add("/dec/Tanh", "Tanh", conv("conv_post", x, (1, channels, 7)), output="/dec/sound")


def tiny_voice(
    *,
    speakers: int = 1,
    seed: float | None = None,
    endless: bool = False,
    pre: str = "/dec/conv_pre/Conv",
    weight: str = "dec.conv_pre.weight",
    pad: bool = True,
    flow: str = "/flow/flows.",
    mixed: str = "Tanh",
    after: str = "",
) -> onnx.ModelProto:
    """A small VITS with random weights that are the same each time.

    Args:
        speakers: More than one adds the input `sid`, which reaches only the vocoder.
        seed: Of the noise, which then is the same in each session made of the graph.
        endless: See `ENDLESS_IDS`.
        pre: Name of the vocoder's first node.
        weight: Name of its weights.
        pad: False gives a vocoder whose samples are no multiple of its frames.
        flow: How the names of the flow's nodes begin.
        mixed: What is in the flow besides convolutions.
        after: A last step: `scaled` by the sentence's settings, or `noisy`.
    """
    g = _Graph()
    _vocoder(
        g,
        _flow(g, *_encoder(g, seed=seed, endless=endless), name=flow, op=mixed),
        speakers=speakers,
        pre=pre,
        weight=weight,
        pad=pad,
    )
    if after == "scaled":
        g.add("/Last", "Mul", "/dec/sound", "/scale_1_output_0", output="output")
    elif after == "noisy":
        drawn = g.add("/dec/Random", "RandomNormalLike", "/dec/sound")
        g.add("/Last", "Add", "/dec/sound", drawn, output="output")
    else:
        g.add("/Last", "Identity", "/dec/sound", output="output")
    info = helper.make_tensor_value_info
    inputs = [
        info("input", TensorProto.INT64, [1, "phonemes"]),
        info("input_lengths", TensorProto.INT64, [1]),
        info("scales", TensorProto.FLOAT, [3]),
        info("sid", TensorProto.INT64, [1]),
    ][: 4 if speakers > 1 else 3]
    output = info("output", TensorProto.FLOAT, [1, 1, "samples"])
    graph = helper.make_graph(g.nodes, "voice", inputs, [output], g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def save_voice(folder: Path, model: onnx.ModelProto, **config: Any) -> Path:
    """Write a voice and its settings, as Piper's are published; returns the path of the `.onnx`."""
    path = folder / "tiny.onnx"
    onnx.save(model, path)
    settings = {
        "audio": {"sample_rate": 22050},
        "espeak": {"voice": "en-us"},
        "phoneme_type": "espeak",
        "num_symbols": SYMBOLS,
        "num_speakers": 1,
        "inference": {"noise_scale": 0.667, "length_scale": 1.5, "noise_w": 0.8},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
    }
    path.with_name("tiny.onnx.json").write_text(json.dumps(settings | config), encoding="utf-8")
    return path


def outputs_of(model: bytes) -> list[str]:
    return [value.name for value in onnx.load_model_from_string(model).graph.output]


class TestSplit:
    """How the halves sound together is tested from outside, in `test_piper.py`."""

    def test_parts_share_nothing(self) -> None:
        model = tiny_voice(endless=True, speakers=3)
        parts = piper_onnx.split(model)
        assert parts is not None
        models = [
            onnx.load_model_from_string(p) for p in (parts.encoder, parts.flow, parts.vocoder)
        ]
        for part in models:
            onnx.checker.check_model(part, full_check=True)
        encoder, flow, vocoder = ({w.name for w in part.graph.initializer} for part in models)
        assert not encoder & flow and not flow & vocoder and not vocoder & encoder
        assert any(name.startswith("dec.") for name in vocoder)
        assert any(name.startswith("flow.") for name in flow)
        assert "only.in.loop" in encoder
        assert [{value.name for value in part.graph.input} for part in models] == [
            {"input", "input_lengths", "scales"},
            {"/Mul_8_output_0", "/Reshape_2_output_0"},
            {parts.latent, "sid"},
        ]
        assert parts.reach == 4
        nodes = [node.name for part in models for node in part.graph.node if node.name]
        assert sorted(nodes) == sorted(node.name for node in model.graph.node)

    @pytest.mark.parametrize("model", [tiny_voice(flow="/other."), tiny_voice(mixed="Softmax")])
    def test_a_flow_that_does_not_show_or_looks_everywhere_is_the_encoders(
        self, model: onnx.ModelProto
    ) -> None:
        parts = piper_onnx.split(model)
        assert parts is not None
        assert not parts.flow
        assert outputs_of(parts.encoder)[0] == parts.latent

    @pytest.mark.parametrize(
        ("pre", "weight"),
        [
            ("/dec/conv_pre/Conv", "onnx::Conv_6410"),
            ("/model_g/dec/conv_pre/Conv", "model_g.dec.conv_pre.weight"),
            ("Conv_1843", "dec.conv_pre.weight"),
            ("node_conv1d_95", "model_g.dec.conv_pre.weight"),
        ],
    )
    def test_names_that_exporters_give(self, pre: str, weight: str) -> None:
        parts = piper_onnx.split(tiny_voice(pre=pre, weight=weight))
        assert parts is not None
        assert parts.latent == "/Mul_7_output_0"

    @pytest.mark.parametrize("model", [tiny_voice(after="noisy"), onnx.ModelProto()])
    def test_what_cannot_be_cut_is_left_whole(self, model: onnx.ModelProto) -> None:
        assert piper_onnx.split(model) is None


class TestDurations:
    """That they are those of Piper's own tool is tested from outside, in `test_piper.py`."""

    def test_a_voice_that_was_patched_is_taken_as_it_is(self) -> None:
        model = tiny_voice()
        name = add_alignment_output(model)
        found, parts = piper_onnx.durations(model), piper_onnx.split(model)
        assert found is not None
        assert found.name == name
        assert piper_onnx.timed(model) is None
        assert parts is not None
        assert outputs_of(parts.encoder) == ["/Mul_8_output_0", "/Reshape_2_output_0", name]

    @pytest.mark.parametrize(
        "rounded",
        [[], ["/dp/Mul_1_output_0", "/enc_p/Gather_output_0"], ["/dec/sound"]],
        ids=["nothing", "two things", "the vocoder's"],
    )
    def test_a_voice_whose_encoder_rounds_up_not_once_has_none(self, rounded: list[str]) -> None:
        model = tiny_voice()
        [ceil] = [node for node in model.graph.node if node.op_type == "Ceil"]
        ceil.op_type = "Round"
        for name in rounded:
            model.graph.node.append(helper.make_node("Ceil", [name], [f"{name}.ceil"]))
        parts = piper_onnx.split(model)
        assert parts is not None
        assert outputs_of(parts.encoder) == ["/Mul_8_output_0", "/Reshape_2_output_0"]
        assert (piper_onnx.durations(model) is None) == (len(rounded) != 1)


class TestPieces:
    @given(frames=st.integers(1, 5000), first=st.integers(4, 1000), context=st.integers(0, 100))
    def test_each_frame_once_and_in_order(self, frames: int, first: int, context: int) -> None:
        pieces = piper_onnx.pieces(frames, first, context)
        assert pieces[0].start == 0
        assert pieces[-1].stop == frames
        assert all(a.stop == b.start for a, b in pairwise(pieces))
        for piece in pieces:
            assert piece.start < piece.stop
            assert piece.left == max(0, piece.start - context)
            assert piece.right == min(frames, piece.stop + context)

    @given(frames=st.integers(1, 5000), first=st.integers(4, 200))
    def test_lengths_grow_to_a_bound(self, frames: int, first: int) -> None:
        pieces = piper_onnx.pieces(frames, first, 10)
        lengths = [piece.stop - piece.start for piece in pieces]
        assert lengths[0] <= first + first // 2
        for piece in pieces[1:-1]:
            assert piece.stop - piece.start == min(piece.start, first * piper_onnx.LONGEST)
        assert lengths[-1] <= first * piper_onnx.LONGEST + first // 2
        assert len(lengths) == 1 or lengths[-1] > first // 2

    @given(frames=st.integers(1, 5000), first=st.integers(piper_onnx.PIECE_FRAMES, 200))
    def test_a_piece_is_made_while_those_before_it_play(self, frames: int, first: int) -> None:
        # The claim of `pieces`: at 0.29 of real time, with 4 silent frames, without a gap.
        made = played_to = 0.0
        for i, piece in enumerate(piper_onnx.pieces(frames, first, 10)):
            made += 0.29 * (piece.right - piece.left)
            if i == 0:
                played_to = made - 4
            assert i == 0 or made <= played_to + 1e-9
            played_to += piece.stop - piece.start
