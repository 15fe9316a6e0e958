from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.measure.plan import jobs, variants

SMALL = st.integers(1, 5)


def load(changes: Mapping[str, str], options: Mapping[str, str] | None = None) -> Settings:
    return config.load(None, changes, options)


# ---- the grid --------------------------------------------------------------------------------


def test_without_a_wish_there_is_one_variant() -> None:
    (variant,) = variants(load, None, [])
    assert variant.name == "speculative"
    assert variant.changes == {"reply.mode": "speculative"}


def test_modes_are_variants() -> None:
    found = variants(load, "sequential, overlapped,sequential", [])
    assert [variant.name for variant in found] == ["sequential", "overlapped"]
    assert [variant.settings.reply.mode for variant in found] == ["sequential", "overlapped"]


def test_several_axes_are_a_grid() -> None:
    found = variants(load, "overlapped", ["stt=whisper-mini-en,base.en", "turns.hold_ms=300,500"])
    assert [variant.name for variant in found] == [
        "overlapped stt=whisper-mini-en turns.hold_ms=300",
        "overlapped stt=whisper-mini-en turns.hold_ms=500",
        "overlapped stt=base.en turns.hold_ms=300",
        "overlapped stt=base.en turns.hold_ms=500",
    ]
    last = found[-1]
    assert (last.settings.stt.model, last.settings.turns.hold_ms) == ("base.en", 500)
    assert last.changes == {
        "reply.mode": "overlapped",
        "stt.model": "base.en",
        "turns.hold_ms": 500,
    }


def test_the_mode_can_be_varied_like_any_setting() -> None:
    found = variants(load, None, ["mode=sequential,overlapped", "voice=a.onnx"])
    assert [variant.name for variant in found] == [
        "sequential voice=a.onnx",
        "overlapped voice=a.onnx",
    ]


def test_a_password_in_an_address_is_not_shown() -> None:
    (variant,) = variants(load, None, ["llm=http://me:secret@host/v1"])
    assert variant.settings.llm.model == "http://me:secret@host/v1"
    assert "secret" not in variant.name + str(variant.changes)


@pytest.mark.parametrize(
    ("modes", "vary", "says"),
    [
        ("fast", [], "--mode: reply.mode is 'fast'"),
        ("", [], "say which setting"),
        (None, ["stt"], "say which setting"),
        (None, ["stt="], "say which setting"),
        (None, ["nonsense=1"], "is no setting that can be varied"),
        (
            None,
            ["turns.hold=0.3"],
            "--vary turns.hold: unknown key turns.hold; did you",
        ),
        (None, ["nothing.at_all=1"], "unknown key nothing"),
        (None, ["turns.hold_ms=1"], "--vary turns.hold_ms: turns.hold_ms is '1'; allowed"),
        (None, ["mode=fast"], "--vary mode: reply.mode is 'fast'; allowed"),
        (
            None,
            ["turns.hold_ms=500,200"],
            r"--vary turns.hold_ms: turns.shortest_ms is 256, longer than turns.hold_ms \(200\)",
        ),
        (None, ["llm.api_key=a,b"], "is no setting that can be varied"),
        (None, ["stt=a", "stt.model=b"], "is varied twice"),
        ("overlapped", ["mode=sequential"], "is varied twice"),
    ],
)
def test_what_cannot_be_varied_is_refused(modes: str | None, vary: list[str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        variants(load, modes, vary)


# ---- the order -------------------------------------------------------------------------------


@given(SMALL, SMALL, SMALL, st.integers())
def test_every_variant_hears_every_recording_as_often(
    n: int, items: int, repeats: int, seed: int
) -> None:
    trials = jobs(range(n), range(items), repeats, seed)
    warm, counted = trials[:n], trials[n:]
    assert [(trial.variant, trial.repeat) for trial in warm] == [(v, 0) for v in range(n)]
    assert Counter((t.variant, t.item, t.repeat) for t in counted) == Counter(
        (v, i, r) for v in range(n) for i in range(items) for r in range(1, repeats + 1)
    )


@given(SMALL, SMALL, SMALL, st.integers())
def test_variants_follow_each_other_recording_by_recording(
    n: int, items: int, repeats: int, seed: int
) -> None:
    counted = jobs(range(n), range(items), repeats, seed)[n:]
    blocks = [[*block] for _, block in groupby(counted, lambda t: (t.repeat, t.item))]
    assert len(blocks) == items * repeats
    for block in blocks:
        assert sorted(trial.variant for trial in block) == [*range(n)]
    assert [trial.repeat for trial in counted] == sorted(trial.repeat for trial in counted)


@given(SMALL, SMALL, SMALL, st.integers())
def test_a_seed_is_an_order(n: int, items: int, repeats: int, seed: int) -> None:
    assert jobs(range(n), range(items), repeats, seed) == jobs(
        range(n), range(items), repeats, seed
    )


def test_other_seeds_are_other_orders_and_no_variant_is_always_first() -> None:
    orders = [jobs(range(3), range(10), 5, seed) for seed in (1, 2)]
    assert orders[0] != orders[1]
    firsts = Counter(trial.variant for trial in orders[0][3::3])
    assert len(firsts) == 3
