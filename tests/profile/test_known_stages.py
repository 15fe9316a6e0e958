"""Turns whose stages take known times: what a profile says of them, and what it predicts.

All but the engines is the real thing, in virtual time: what a figure is off by is its own error.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support import virtual_time
from support.scripted import LOUD, Engines, Model, Speaker

from pipeline.audio.files import WavWriter
from pipeline.config import Settings, load
from pipeline.conversation.cascade import Cascade
from pipeline.conversation.reply import ReplyPace
from pipeline.engines.local import LocalEngines
from pipeline.measure.corpus import Item
from pipeline.measure.record import Record
from pipeline.measure.summary import summarise
from pipeline.profile import run as profile
from pipeline.profile.run import Bounds, measure_turn
from pipeline.profile.what_if import checks, forecast, parse
from pipeline.trace import PARTS

BLOCK_MS = 20.0
"""A reply waits for the next block of its device: `own` and the whole vary by as much."""

WORDS = "The first train leaves at nine in the morning and it takes about an hour."

SPOKEN_S = (0.5, 0.58, 0.66, 0.74, 0.81)
"""Of the recordings; with five pairs differences have an interval, without which the summary names
no part."""


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Recordings of a voice that ends at a known sample."""
    folder, made = tmp_path_factory.mktemp("items"), []
    for spoken_s in SPOKEN_S:
        voice = np.resize([LOUD] * 16 + [-LOUD] * 16, round(16_000 * spoken_s))
        path = folder / f"{spoken_s}.wav"
        with WavWriter(path, 16_000) as wav:
            wav.write(np.pad(voice, 1600).astype(np.int16))
        made.append(Item(path, path.name, "When?", 0.1 + spoken_s, 0.2 + spoken_s))
    return made


def measured(
    items: list[Item],
    settings: Settings,
    folder: Path,
    *,
    stt_s: float = 0.09,
    first_s: float = 0.2,
    token_s: float = 0.01,
    tts_s: float = 0.06,
) -> list[Record]:
    """A turn with each recording, and with engines that take so long.

    To recognise, to the first token, from one token to the next, and to the first sound.
    """
    made = []
    for item in items:
        voice = Speaker(16_000, samples_per_char=960, delay_s=tts_s, pieces=1)
        model = Model([WORDS] * 9, first_s, token_s)
        engines = cast(LocalEngines, Engines(["When?"], model, voice, stt_s))
        work = measure_turn(item, settings, engines, folder / "turn.wav", Bounds(reply_s=0.2))
        record, _ = virtual_time.run(work)
        assert record.status == "ok", record.reason
        made.append(replace(record, file=item.name, repeat=1))
    return made


def run(variants: Mapping[str, list[Record]]) -> list[Record]:
    """All turns, as one run makes them."""
    named = [replace(one, variant=name) for name, made in variants.items() for one in made]
    return [replace(one, order=order) for order, one in enumerate(named)]


SLOWED: dict[str, tuple[dict[str, Any], float]] = {
    "stt": ({"stt_s": 0.29}, 200),
    "llm_first_token": ({"first_s": 0.5}, 300),
    "first_clause": ({"token_s": 0.03}, 300),
    "tts_first_audio": ({"tts_s": 0.18}, 120),
}
"""What is made slower, and by how much (ms), by the part that is to show it."""


@pytest.mark.parametrize("part", SLOWED)
def test_a_slowed_stage_shows_as_that_part_and_no_other(
    part: str, items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is hidden: the hold is fixed, nothing is recognised while the user speaks, and the
    # first clause is the reply.
    pace = ReplyPace(first_words=len(WORDS.split()), first_deadline_ms=10_000)
    monkeypatch.setattr(profile, "Cascade", functools.partial(Cascade, pace=pace, partial_ms=0))
    more = {"reply.mode": "overlapped", "turns.predict": "false", "turns.hold_ms": "200"}
    settings = load(None, more)
    costs, longer_ms = SLOWED[part]
    variants = {
        "usual": measured(items, settings, tmp_path),
        "slowed": measured(items, settings, tmp_path, **costs),
    }
    header: dict[str, Any] = {"variants": {name: {} for name in variants}, "settings": {}}
    of: Any = summarise(header, run(variants))["variants"]["slowed"]["against_first"]
    assert of["moved"] == [part]
    change = {name: of["parts_ms"][name]["median"] for name in PARTS}
    wanted = dict.fromkeys(PARTS, 0.0) | {part: longer_ms}
    assert change == pytest.approx(wanted, abs=0.01)
    assert of["voice_to_voice_ms"]["median"] == pytest.approx(longer_ms, abs=0.1)


@pytest.mark.parametrize("mode", ["sequential", "overlapped", "speculative"])
def test_one_model_predicts_another(mode: str, items: list[Item], tmp_path: Path) -> None:
    # What-if knows what stages cost, not what the words do to the hold.
    settings = load(None, {"reply.mode": mode, "turns.predict": "false"})
    variants = {
        "quick": measured(items, settings, tmp_path, first_s=0.25, token_s=0.010),
        "slow": measured(items, settings, tmp_path, first_s=0.55, token_s=0.045),
    }
    header = {"variants": {name: {"reply.mode": mode} for name in variants}, "settings": {}}
    as_slow, as_quick = (
        forecast(header, run(variants), parse(f"llm.first_token={sign}300ms,llm.tokens={sign}35ms"))
        for sign in "+-"
    )
    quick, slow = as_slow["quick"], as_quick["slow"]
    was_quick, was_slow = (one["measured_ms"]["median"] for one in (quick, slow))
    # There is something to predict, though most of it may be hidden in the hold.
    assert was_slow > was_quick + 100
    assert slow["predicted_ms"]["median"] == pytest.approx(was_quick, abs=1.5 * BLOCK_MS)
    assert quick["predicted_ms"]["median"] == pytest.approx(was_slow, abs=1.5 * BLOCK_MS)


@pytest.mark.parametrize("mode", ["sequential", "overlapped", "speculative"])
def test_a_run_shows_how_good_its_predictions_are(
    mode: str, items: list[Item], tmp_path: Path
) -> None:
    settings = load(None, {"reply.mode": mode, "turns.predict": "false"})
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"stt.model": "small", "tts.voice": "plain"},
        "careful": {"stt.model": "large", "tts.voice": "plain"},
        "pretty": {"stt.model": "small", "tts.voice": "pretty"},
        "both": {"stt.model": "large", "tts.voice": "pretty"},
    }
    stt_s, tts_s = {"small": 0.3, "large": 0.6}, {"plain": 0.1, "pretty": 0.3}
    variants = {
        name: measured(
            items,
            settings,
            tmp_path,
            stt_s=stt_s[kind["stt.model"]],
            tts_s=tts_s[kind["tts.voice"]],
        )
        for name, kind in kinds.items()
    }
    header = {"variants": {n: {"reply.mode": mode, **kind} for n, kind in kinds.items()}}
    found = checks(header, run(variants))
    changes = {"careful": {"stt"}, "pretty": {"tts"}, "both": {"stt", "tts"}}
    assert {name: set(parse(one["change"])) for name, one in found.items()} == changes
    for one in found.values():
        predicted, truly = (one[side]["voice_to_voice_ms"] for side in ("predicted", "measured"))
        assert predicted is not None
        assert truly is not None
        assert truly["median"] > 100
        assert predicted["median"] == pytest.approx(truly["median"], abs=1.5 * BLOCK_MS)
