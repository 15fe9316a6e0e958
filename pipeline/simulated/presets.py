"""Scripts that come with Cascade: latencies as they were published, and a conversation to try."""

from __future__ import annotations

import math
from statistics import NormalDist

from pipeline.errors import BadInput
from pipeline.simulated.script import Latency, Script, ScriptedTurn
from pipeline.simulated.timing import Z95

AIEWF = (
    "kwindla/aiewf-eval README, read 2026-11-20: voice-to-voice of turns without a tool, median "
    "{median} ms, maximum {maximum} ms"
)
"""They measure in a recording, from the end of the user's speech to the model's first sound; the
servers' own turn detection and the way to them are part of it."""

DERIVED = (
    "; the p95 is derived: a lognormal through that median whose expected quantile "
    "{turns}/({turns} + 1), of {turns} turns, is that maximum"
)

CAPPED = (
    "; that maximum looks like a time limit, which says nothing of the spread, so the p95 "
    "is as far above the median as that of gemini-3.1-flash-live"
)

_TURNS = {"gpt-realtime-2.1": 720}
"""Turns without a tool: 24 of the 30 of a conversation; 30 conversations of this one, …"""

_OTHERS = 240
"""… and 10 of the others."""

_PUBLISHED = {
    "gpt-realtime-2.1": (1504, 4288),
    "gpt-realtime-1.5": (1152, 2304),
    "gpt-realtime": (1536, 4672),
    "gemini-3.1-flash-live": (1632, 5664),
    "gemini-2.5-live": (2624, 30_000),
}
"""Median and maximum (ms)."""

CONVERSATION = (
    ScriptedTurn(reply="Hello. I am a simulated model, and I only say what my script holds."),
    ScriptedTurn(reply="That is a good question, and I have no answer to it."),
    ScriptedTurn(reply="Let us leave it at that. Goodbye."),
)
"""What the presets say where a file gives no other conversation."""

NAMES = tuple(_PUBLISHED)


def preset(name: str) -> Script:
    """A script by its name: the published latency of a model, and three replies.

    Raises:
        BadInput: There is none of that name.
    """
    if name not in _PUBLISHED:
        raise BadInput(f"--preset {name}: there is none of that name; there are {', '.join(NAMES)}")
    median, maximum = _PUBLISHED[name]
    turns = _TURNS.get(name, _OTHERS)
    source = AIEWF.format(median=median, maximum=maximum)
    if name == "gemini-2.5-live":
        reference = _PUBLISHED["gemini-3.1-flash-live"]
        p95 = median * _p95(*reference, _OTHERS) / reference[0]
        source += CAPPED
    else:
        p95 = _p95(median, maximum, turns)
        source += DERIVED.format(turns=turns)
    latency = Latency("lognormal", median_ms=median, p95_ms=round(p95))
    return Script(name, source, {"hello": CONVERSATION}, latency)


def _p95(median_ms: float, maximum_ms: float, turns: int) -> float:
    """95th percentile of the lognormal whose maximum of so many draws is about `maximum_ms`."""
    sigma = math.log(maximum_ms / median_ms) / NormalDist().inv_cdf(turns / (turns + 1))
    return median_ms * math.exp(Z95 * sigma)
