"""A projector of pictures for llama.cpp, as small as can be, whose numbers are noise.

The layout of the file is GGUF's, version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md);
the names in it are those of llama.cpp's `clip.cpp` for LLaVA: a vision transformer of one used
layer, and two matrices from its width to the language model's.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

SIDE, PATCH = 56, 14
"""A picture is scaled to SIDE² pixels, and read as (SIDE / PATCH)² = 16 tokens."""

INNER, HEADS, LAYERS, EPSILON = 32, 2, 2, 1e-5

ALIGNED = 32


def projector_of_noise(path: Path, width: int) -> None:
    """Write one for a language model of that width."""
    vision = "clip.vision"
    about: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        f"{vision}.image_size": SIDE,
        f"{vision}.patch_size": PATCH,
        f"{vision}.embedding_length": INNER,
        f"{vision}.feed_forward_length": INNER,
        f"{vision}.projection_dim": width,
        f"{vision}.block_count": LAYERS,
        f"{vision}.attention.head_count": HEADS,
        f"{vision}.attention.layer_norm_epsilon": EPSILON,
        f"{vision}.image_mean": [0.5] * 3,
        f"{vision}.image_std": [0.5] * 3,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (INNER, 3, PATCH, PATCH),
        "v.position_embd.weight": ((SIDE // PATCH) ** 2, INNER),
        "mm.0.weight": (width, INNER),
        "mm.0.bias": (width,),
        "mm.2.weight": (width, width),
        "mm.2.bias": (width,),
    }
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
            shapes[f"v.blk.{layer}.{name}.weight"] = (INNER, INNER)
            shapes[f"v.blk.{layer}.{name}.bias"] = (INNER,)
        for name in ("ln1", "ln2"):
            shapes[f"v.blk.{layer}.{name}.weight"] = (INNER,)
            shapes[f"v.blk.{layer}.{name}.bias"] = (INNER,)
    noise = np.random.default_rng(1)
    tensors = {name: noise.normal(0, 0.02, shape) for name, shape in shapes.items()}
    path.write_bytes(_gguf(about, tensors))


def _gguf(about: dict[str, Any], tensors: dict[str, Any]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(about))
    head += b"".join(_text(name) + _value(value) for name, value in about.items())
    data = b""
    for name, tensor in tensors.items():
        head += _text(name) + struct.pack("<I", tensor.ndim)
        head += b"".join(struct.pack("<Q", side) for side in reversed(tensor.shape))
        head += struct.pack("<IQ", 0, len(data))
        data += _padded(tensor.astype("<f4").tobytes())
    return _padded(head) + data


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _value(value: Any) -> bytes:
    """A value with its type before it."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + _text(value)
    return struct.pack("<IIQ", 9, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNED)
