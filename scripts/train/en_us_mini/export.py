"""Checkpoint -> en_US-mini.onnx (Piper's inputs and outputs) and its JSON configuration."""

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from torch import Tensor, nn

from en_us_mini.alignment import MARKS, SOUNDS
from en_us_mini.examples import load
from en_us_mini.features import HOP, SR, SUB
from en_us_mini.model import Acoustic
from en_us_mini.train import load_checkpoint
from en_us_mini.vocoder import Vocoder

# Sounds that eSpeak may emit for foreign words or that other tools may send, in groups: the
# nearest English sound, and those it stands for.
NEAREST = {
    "a": "aɪ aʊ",
    "b": "ɓ ʙ",
    "d": "ɖ ɗ ɟ ʄ",
    "e": "eɪ",
    "f": "ɸ",
    "h": "x ħ ɦ ʜ χ X",
    "i": "y",
    "j": "ʎ ʝ",
    "k": "c q",
    "l": "ɫ ɬ ɭ ɮ ʟ",
    "m": "ɱ",
    "n": "ɲ ɳ",
    "o": "oʊ",
    "s": "ʦ",
    "t": "ʈ",
    "u": "ɯ ʉ",
    "v": "ʋ β ⱱ",
    "w": "ɥ ɰ ʍ",
    "æ": "ɶ",
    "ŋ": "ɴ",
    "ɑ": "ɒ",
    "ɔ": "ɔɪ",
    "ə": "ɘ ɵ",
    "ɛ": "ε",
    "ɜ": "ø œ ɞ ɝ",
    "ɡ": "ɠ ɢ ɣ ʛ g",
    "ɪ": "ɨ ʏ",
    "ɹ": "r ɺ ɻ ʀ ʁ ˞",
    "ɾ": "ɽ",
    "ʃ": "ç ɕ ɧ ʂ",
    "ʌ": "ɤ",
    "ʒ": "ʐ ʑ",
    "ʔ": "ʕ ʡ ʢ",
    "ː": "ˑ",
}
ALIAS = {symbol: nearest for nearest, symbols in NEAREST.items() for symbol in symbols.split()}
SILENT = set("'()-\"#") | MARKS
LONGEST = 150.0  # vocoder steps a token may last at length_scale 1
SHORTEST = 1.5  # vocoder steps that every sound lasts
EXAMPLE = [1, 0, 20, 0, 59, 0, 24, 0, 120, 0, 27, 0, 100, 0, 10, 0, 2]  # "hello." to trace with
SCALES = {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8}  # Piper's defaults


class Voice(nn.Module):
    """The student and the vocoder, with Piper's inputs and outputs.

    Args:
        acoustic: the trained student.
        seen: ids that the training data holds; others are mapped to the nearest, or dropped.
        sharpen: how much to sharpen formants, 0 for not at all.
    """

    def __init__(self, acoustic: Acoustic, seen: set[int], sharpen: float) -> None:
        super().__init__()
        self.acoustic, self.vocoder = acoustic, Vocoder(sharpen)
        size = acoustic.config["symbols"]
        alias, timed, phone = np.zeros(size, np.int64), np.ones(size), np.zeros(size)
        sounds = set("".join(SOUNDS))
        for symbol, (i,) in DEFAULT_PHONEME_ID_MAP.items():
            to = symbol if i in seen else ALIAS.get(symbol)
            if symbol in "_^$" or to is None or DEFAULT_PHONEME_ID_MAP[to][0] not in seen:
                continue  # 0: dropped (begin and end are added anew)
            j = DEFAULT_PHONEME_ID_MAP[to][0]
            alias[i] = j
            timed[j] = 0.0 if to in SILENT else 1.0
            phone[j] = 1.0 if to in sounds else 0.0
        self.register_buffer("alias", torch.tensor(alias))
        self.register_buffer("timed", torch.tensor(timed, dtype=torch.float32))
        self.register_buffer("phone", torch.tensor(phone, dtype=torch.float32))
        self.register_buffer("bos", torch.tensor([1]))
        self.register_buffer("eos", torch.tensor([2]))

    def durations(self, tokens: Tensor, log_duration: Tensor, length_scale: Tensor) -> Tensor:
        """Vocoder steps [N] of each token."""
        dur = torch.clamp(torch.exp(log_duration) - 1, 0.0, LONGEST) * self.timed[tokens]
        dur = torch.where(dur < 0.4, torch.zeros_like(dur), dur)
        return torch.maximum(dur, self.phone[tokens] * SHORTEST) * length_scale

    def forward(self, input: Tensor, input_lengths: Tensor, scales: Tensor) -> tuple[Tensor, ...]:
        """Piper's call.

        Args:
            input: [1, N] ids with Piper's padding between them.
            input_lengths: [1].
            scales: noise_scale, length_scale, noise_w.

        Returns:
            Samples [1, 1, 1, S] within -1 to 1; vocoder steps [1, N] of each id.
        """
        ids = self.alias[torch.clamp(input[0], 0, self.alias.shape[0] - 1)]
        inside = torch.arange(ids.shape[0]) < input_lengths[0]
        keep = torch.nonzero((ids > 0) & inside)[:, 0]
        tokens = torch.cat([self.bos, ids[keep], self.eos])
        x, log_duration = self.acoustic.encode(tokens[None])
        dur = self.durations(tokens, log_duration[0], torch.clamp(scales[1], 0.2, 5.0))
        frames = torch.ceil(dur.sum() / SUB).to(torch.int64) + 1
        h = self.acoustic.spread(x, dur[None], frames)
        parameters = self.acoustic.params(self.acoustic.decode(h)[0])
        # the default noise_scale (0.667) gives the teacher's amount of breath
        audio = self.vocoder(*parameters, 0.6 + 0.6 * torch.clamp(scales[0], 0.0, 2.0))
        audio = audio * torch.clamp(self.phone[tokens].sum(), 0.0, 1.0)
        audio = audio / torch.pow(1 + audio**8, 0.125)  # limits at 1, linear below
        out = torch.zeros_like(input[0], dtype=torch.float32)
        out = out.scatter(0, keep, dur[1:-1])
        at = torch.arange(ids.shape[0])
        edge = torch.where(at == 0, dur[0], torch.zeros_like(out))
        edge = edge + torch.where(at == ids.shape[0] - 1, dur[-1], 0.0)
        # noise_w has no part in this model; it is accepted (times zero) as Piper sends it
        return audio[None, None, None] + 0.0 * scales[2], (out + edge)[None]


def store_half(model: ModelProto) -> None:
    """Store large float tensors as float16, cast back when the model is loaded."""
    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        large = tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= 4096
        if not large or "vocoder" in tensor.name:
            continue
        values = numpy_helper.to_array(tensor).astype(np.float16)
        half = numpy_helper.from_array(values, tensor.name + "_h")
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)


def configuration() -> dict[str, Any]:
    """What Piper reads beside the model."""
    return {
        "audio": {"sample_rate": SR, "quality": "mini"},
        "espeak": {"voice": "en-us"},
        "inference": SCALES,
        "phoneme_type": "espeak",
        "phoneme_map": {},
        "phoneme_id_map": DEFAULT_PHONEME_ID_MAP,
        "num_symbols": len(DEFAULT_PHONEME_ID_MAP),
        "num_speakers": 1,
        "speaker_id_map": {},
        "hop_length": HOP,
        "piper_version": version("piper-tts"),
        "language": {
            "code": "en_US",
            "family": "en",
            "region": "US",
            "name_native": "English",
            "name_english": "English",
            "country_english": "United States",
        },
        "dataset": "mini",
    }


def export(voice: Voice, path: Path) -> None:
    """Write the ONNX file."""
    ids = torch.tensor([EXAMPLE])
    arguments = (ids, torch.tensor([ids.shape[1]]), torch.tensor(list(SCALES.values())))
    with warnings.catch_warnings():
        # the tracing exporter is deprecated, but needs nothing besides torch; and its notes on
        # what it did not fold are of no consequence, as the runtime folds it
        warnings.simplefilter("ignore")
        torch.onnx.export(
            voice,
            arguments,
            str(path),
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            input_names=["input", "input_lengths", "scales"],
            output_names=["output", "durations"],
            dynamic_axes={
                "input": {1: "phonemes"},
                "output": {3: "samples"},
                "durations": {1: "phonemes"},
            },
        )
    model = onnx.load(str(path))
    store_half(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main() -> None:
    """Export a checkpoint."""
    ap = argparse.ArgumentParser(description="Export the student as a voice for Piper.")
    ap.add_argument("--checkpoint", type=Path, required=True)
    ap.add_argument("--data", type=Path, required=True, help="the training examples")
    ap.add_argument("--out", type=Path, required=True, help="path of the .onnx file")
    ap.add_argument("--sharpen", type=float, default=0.0)
    args = ap.parse_args()
    seen = {int(i) for item in load(args.data) for i in item["ids"]}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export(Voice(load_checkpoint(args.checkpoint), seen, args.sharpen).eval(), args.out)
    described = args.out.with_name(args.out.name + ".json")
    described.write_text(
        json.dumps(configuration(), ensure_ascii=False, indent=1), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
