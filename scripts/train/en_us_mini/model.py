"""The student: eSpeak tokens -> durations -> vocoder parameters (non-autoregressive).

Shapes: B utterances, N tokens, T model frames of `features.SUB` vocoder steps, C channels.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from en_us_mini.features import BANDS, SUB

OUT = BANDS + 3  # envelope, log F0, voicing logit, maximum voiced frequency
F0_RANGE = 80.0, 420.0  # Hz


class Block(nn.Module):
    """Residual: norm, dilated width-3 convolution written as a matrix product, SiLU, linear."""

    def __init__(self, dim: int, hidden: int, dilation: int) -> None:
        super().__init__()
        self.d = dilation
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(3 * dim, hidden)
        self.down = nn.Linear(hidden, dim)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]; mask [B, N, 1] is 1 where there is something."""
        y = self.norm(x)
        if mask is not None:
            y = y * mask
        z = pad(y, (0, 0, self.d, self.d))
        n = y.shape[1]
        y = torch.cat([z[:, :n], y, z[:, 2 * self.d : 2 * self.d + n]], -1)
        return x + self.down(silu(self.up(y)))


class Attention(nn.Module):
    """Self-attention with a distance penalty per head, so it works at any length."""

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.h = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.slope = nn.Parameter(torch.tensor([0.0, 0.03, 0.1, 0.3])[:heads])
        nn.init.normal_(self.out.weight, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]; mask [B, N, 1] is 1 where there is something."""
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, self.h, c // self.h)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        place = torch.arange(n, device=x.device, dtype=torch.float32)
        distance = (place[:, None] - place[None]).abs()
        score = q @ k.transpose(-1, -2) / math.sqrt(c // self.h)
        score = score - self.slope.abs()[:, None, None] * distance
        if mask is not None:
            score = score + (mask.transpose(1, 2)[:, None] - 1) * 1e4
        y = (score.softmax(-1) @ v).transpose(1, 2).reshape(b, n, c)
        return x + self.out(y)


class Acoustic(nn.Module):
    """Tokens to durations, and tokens spread over time to vocoder parameters."""

    def __init__(
        self, symbols: int = 256, enc: int = 192, dec: int = 192, hidden: int = 384
    ) -> None:
        super().__init__()
        self.config = {"symbols": symbols, "enc": enc, "dec": dec, "hidden": hidden}
        self.emb = nn.Embedding(symbols, enc)
        nn.init.normal_(self.emb.weight, std=0.3)
        self.place = nn.Linear(3, enc)
        self.enc = nn.ModuleList(
            [
                Block(enc, hidden, 1),
                Block(enc, hidden, 2),
                Attention(enc),
                Block(enc, hidden, 1),
                Attention(enc),
                Block(enc, hidden, 3),
            ]
        )
        self.dur = nn.ModuleList([Block(enc, hidden, 1), nn.LayerNorm(enc), nn.Linear(enc, 1)])
        self.inp = nn.Linear(enc + 5, dec)
        self.dec = nn.ModuleList([Block(dec, hidden, d) for d in (1, 2, 4, 1, 2, 1)])
        self.out = nn.Sequential(nn.LayerNorm(dec), nn.Linear(dec, SUB * OUT))
        self.register_buffer("env_mean", torch.zeros(BANDS))
        self.register_buffer("env_std", torch.ones(BANDS))
        self.register_buffer("f0_stat", torch.tensor([5.15, 0.2]))

    def encode(
        self, ids: Tensor, mask: Tensor | None = None, length: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encodings [B, N, C] and log(1 + duration in vocoder steps) [B, N].

        Args:
            ids: [B, N] without Piper's padding between the symbols.
            mask: [B, N, 1], 1 where there is a token.
            length: [B, 1] tokens of each utterance; all of them N where it is left out.
        """
        b, n = ids.shape
        i = torch.arange(n, device=ids.device, dtype=torch.float32)[None]
        last = i[:, -1:] if length is None else length - 1
        rest = torch.clamp(last - i, min=0)
        place = torch.stack(
            [
                torch.log1p(i).expand(b, n) / 4,
                torch.log1p(rest) / 4,
                i / torch.clamp(last, min=1),
            ],
            -1,
        )
        x = self.emb(ids) + self.place(place)
        for layer in self.enc:
            x = layer(x, mask)
        y = self.dur[1](self.dur[0](x, mask))
        return x, self.dur[2](y)[..., 0]

    def spread(self, x: Tensor, dur: Tensor, frames: int | Tensor) -> Tensor:
        """Repeat encodings over time and add where in its token each frame is: [B, T, C + 5].

        Args:
            x: [B, N, C].
            dur: [B, N] in vocoder steps.
            frames: T.
        """
        end = torch.cumsum(dur, 1)
        centre = torch.arange(frames, device=x.device, dtype=torch.float32) * SUB + (SUB - 1) / 2
        token = (end[:, None, :] <= centre[None, :, None]).sum(-1).clamp(max=x.shape[1] - 1)
        e = torch.gather(end, 1, token)
        d = torch.clamp(torch.gather(dur, 1, token), min=0.5)
        gone = torch.clamp(centre[None] - (e - d), min=0)
        left = torch.clamp(e - centre[None], min=0)
        place = torch.stack(
            [
                gone / d,
                torch.log1p(gone),
                torch.log1p(left),
                torch.log1p(d),
                torch.clamp(left / d, max=1),
            ],
            -1,
        )
        h = torch.gather(x, 1, token[..., None].expand(-1, -1, x.shape[2]))
        return torch.cat([h, place], -1)

    def decode(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, C + 5] -> [B, T * SUB, OUT] normalised vocoder parameters."""
        x = self.inp(h)
        for layer in self.dec:
            x = layer(x, mask)
        y = self.out(x)
        return y.reshape(y.shape[0], y.shape[1] * SUB, OUT)

    def params(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised output -> envelope, F0 (Hz), voicing (0..1), voiced frequency (kHz)."""
        env = y[..., :BANDS] * self.env_std + self.env_mean
        f0 = torch.exp(y[..., BANDS] * self.f0_stat[1] + self.f0_stat[0])
        return env, f0.clamp(*F0_RANGE), torch.sigmoid(y[..., BANDS + 1]), y[..., BANDS + 2]
