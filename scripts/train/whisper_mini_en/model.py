"""The Whisper architecture (pre-norm encoder and decoder) in plain PyTorch, for training on a CPU.

Parameter names follow transformers' WhisperModel, so that export.py can copy the weights one to
one.  What differs from inference:

* two auxiliary CTC outputs (phonemes on a middle encoder layer, words on the last one) teach the
  encoder to align; they are dropped at export;
* the encoder takes any number of frames, not only 3000.

Shapes: B utterances, F frames of features, L tokens, d channels.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from whisper_mini_en.features import BANDS

POSITIONS = 1500  # of the encoder: 30 s
MOST_TOKENS = 448


def sinusoids(length: int, channels: int, max_timescale: float = 10000) -> Tensor:
    """Whisper's position embedding of the encoder, [length, channels]."""
    step = math.log(max_timescale) / (channels // 2 - 1)
    scale = torch.exp(-step * torch.arange(channels // 2))
    time = torch.arange(length).view(-1, 1) * scale.view(1, -1)
    return torch.cat([time.sin(), time.cos()], dim=1)


class Attention(nn.Module):
    """Multi-head attention, to itself or to something else."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(d, d, bias=False)
        self.v_proj = nn.Linear(d, d)
        self.q_proj = nn.Linear(d, d)
        self.out_proj = nn.Linear(d, d)

    def forward(self, x: Tensor, other: Tensor | None = None, causal: bool = False) -> Tensor:
        """[B, L, d] -> [B, L, d], attending to `other` or else to itself."""
        other = x if other is None else other
        b, t, d = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(b, -1, self.heads, d // self.heads).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(other)), split(self.v_proj(other))
        with torch.autocast("cpu", enabled=False):
            y = scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, d))


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward part, both residual."""

    def __init__(self, d: int, heads: int, ff: int) -> None:
        super().__init__()
        self.self_attn = Attention(d, heads)
        self.self_attn_layer_norm = nn.LayerNorm(d)
        self.fc1 = nn.Linear(d, ff)
        self.fc2 = nn.Linear(ff, d)
        self.final_layer_norm = nn.LayerNorm(d)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second half of the layer."""
        return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, d] -> [B, F, d]."""
        return self.feed_forward(x + self.self_attn(self.self_attn_layer_norm(x)))


class DecoderLayer(EncoderLayer):
    """Causal self-attention, attention to the encoder, and a feed-forward part."""

    def __init__(self, d: int, heads: int, ff: int) -> None:
        super().__init__(d, heads, ff)
        self.encoder_attn = Attention(d, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(d)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        """[B, L, d] -> [B, L, d], given the encoder's output."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), causal=True)
        x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), encoded)
        return self.feed_forward(x)


class Encoder(nn.Module):
    """Features to encodings, at half the frame rate."""

    def __init__(self, n_mels: int, d: int, heads: int, ff: int, layers: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(n_mels, d, 3, padding=1)
        self.conv2 = nn.Conv1d(d, d, 3, stride=2, padding=1)
        self.register_buffer("pos", sinusoids(POSITIONS, d), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer(d, heads, ff) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, mel: Tensor, middle: int) -> tuple[Tensor, Tensor]:
        """[B, n_mels, F] -> [B, F/2, d], after the last layer and after layer `middle`."""
        x = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2)
        x = x.float() + self.pos[: x.shape[1]]
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return self.layer_norm(x), outputs[middle]


class Decoder(nn.Module):
    """Tokens and encodings to the next tokens' hidden states."""

    def __init__(self, vocab: int, d: int, heads: int, ff: int, layers: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, d)
        self.embed_positions = nn.Embedding(MOST_TOKENS, d)
        self.layers = nn.ModuleList(DecoderLayer(d, heads, ff) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(d)

    def forward(self, ids: Tensor, encoded: Tensor) -> Tensor:
        """[B, L] -> [B, L, d]."""
        x = self.embed_tokens(ids) + self.embed_positions.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, encoded)
        return self.layer_norm(x)


class Output(NamedTuple):
    """Logits: of tokens [B, L, vocab], of phonemes and words [B, F/2, classes + 1]."""

    tokens: Tensor
    phonemes: Tensor
    words: Tensor


class MiniWhisper(nn.Module):
    """The whole model.

    Args:
        vocab: size of the tokenizer, time stamps included.
        n_phon: classes of the first auxiliary output, without the blank (class 0).
        n_words: classes of the second.
        d: channels.
        heads: attention heads per layer.
        ff: width of the feed-forward parts.
        enc_layers: layers of the encoder.
        dec_layers: layers of the decoder.
        n_mels: bands of the features.
    """

    def __init__(
        self,
        vocab: int,
        n_phon: int,
        n_words: int,
        d: int = 192,
        heads: int = 4,
        ff: int = 768,
        enc_layers: int = 5,
        dec_layers: int = 2,
        n_mels: int = BANDS,
    ) -> None:
        super().__init__()
        self.cfg: dict[str, Any] = {
            "vocab": vocab,
            "n_phon": n_phon,
            "n_words": n_words,
            "d": d,
            "heads": heads,
            "ff": ff,
            "enc_layers": enc_layers,
            "dec_layers": dec_layers,
            "n_mels": n_mels,
        }
        self.encoder = Encoder(n_mels, d, heads, ff, enc_layers)
        self.decoder = Decoder(vocab, d, heads, ff, dec_layers)
        self.middle = enc_layers - 3
        self.ctc_phon = nn.Linear(d, n_phon + 1)
        self.ctc_words = nn.Linear(d, n_words + 1)
        nn.init.normal_(self.decoder.embed_tokens.weight, std=0.02)
        nn.init.normal_(self.decoder.embed_positions.weight, std=0.01)

    def forward(self, mel: Tensor, ids: Tensor) -> Output:
        """[B, n_mels, F] features and [B, L] tokens to logits.

        The output layer is tied to the embedding, as in Whisper.
        """
        encoded, middle = self.encoder(mel, self.middle)
        tokens = linear(self.decoder(ids, encoded), self.decoder.embed_tokens.weight).float()
        return Output(tokens, self.ctc_phon(middle), self.ctc_words(encoded))
