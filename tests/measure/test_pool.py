from __future__ import annotations

from collections.abc import Mapping

import pytest
from rich.console import Console

from pipeline.config import Settings, load
from pipeline.errors import BadInput
from pipeline.measure.pool import Pool

URL = "http://127.0.0.1:9/v1"


def settings(**more: str) -> Settings:
    named = {key.replace("__", "."): value for key, value in more.items()}
    return load(None, {"llm.model": URL, **named})


def shared(more: Mapping[str, str]) -> bool:
    """Whether two variants have the same engines."""
    one, other = settings(), settings(**more)
    pool = Pool([one, other])
    pool.prepare(Console(stderr=True))
    return pool.get(one) is pool.get(other)


@pytest.mark.parametrize(
    "more",
    [
        {"reply__mode": "sequential"},
        {"turns__hold_ms": "700"},
        {"vad__threshold": "0.6"},
        {"conversation__budget_tokens": "500"},
    ],
)
def test_variants_that_compute_alike_share_engines(more: dict[str, str]) -> None:
    assert shared(more)


@pytest.mark.parametrize(
    "more",
    [
        {"stt__threads": "2"},
        {"tts__speed": "1.5"},
        {"llm__temperature": "0.5"},
        {"llm__model": "http://127.0.0.1:10/v1"},
        {"turns__predict": "false"},
    ],
)
def test_others_have_their_own(more: dict[str, str]) -> None:
    assert not shared(more)


def test_a_model_that_is_not_there_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(BadInput, match="nothing-such"):
        Pool([settings(stt__model="nothing-such")])
