"""Prices, bills, and what a path costs: nothing unknown is free."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import comparison_samples as made

from pipeline.compare.cost import (
    EnergyMeter,
    Prices,
    Rates,
    bill,
    model_of,
    of_turn,
    prices,
    speech_s,
    summary,
)
from pipeline.compare.record import Conversation
from pipeline.errors import BadInput
from pipeline.measure import reference as reference_system

RATES = Rates("a page", 4.0, 0.4, 24.0, 32.0, 0.4, 64.0, transcription_minute=0.06)
TABLE = Prices("2026-11-20", {"gpt-realtime-2.1": RATES, "gpt-live-1": Rates(session_minute=0.05)})


def used(**tokens: Any) -> dict[str, Any]:
    return {"turn": 1, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0, **tokens}


REPLY = used(
    input_tokens=1_000_000,
    cached_tokens=500_000,
    output_tokens=300_000,
    input_audio_tokens=600_000,
    cached_audio_tokens=400_000,
    output_audio_tokens=200_000,
)


def held(
    path: str = made.DIRECT, name: str = "capital", repeat: int = 2, **changes: Any
) -> Conversation:
    (scenario,) = (one for one in made.scenarios() if one.name == name)
    conversation = made.conversation(path, scenario, repeat, 0, draw=random.Random(1))
    return dataclasses.replace(conversation, **changes)


def test_a_bill_adds_up() -> None:
    found = bill([REPLY, used(kind="transcription", seconds=30.0)], RATES)
    assert found.parts == pytest.approx(
        {
            "text_in": 0.3 * 4,
            "text_cached": 0.1 * 0.4,
            "audio_in": 0.2 * 32,
            "audio_cached": 0.4 * 0.4,
            "text_out": 0.1 * 24,
            "audio_out": 0.2 * 64,
            "transcription_minute": 0.03,
        }
    )
    assert found.dollars == pytest.approx(sum(found.parts.values()))
    assert found.missing == ()


def test_a_missing_price_is_not_free() -> None:
    without = dataclasses.replace(RATES, audio_out=None)
    found = bill([REPLY], without)
    assert (found.dollars, found.missing) == (None, ("audio_out",))
    # The cache may have no price of its own: then it costs what it costs to read.
    dear = bill([REPLY], dataclasses.replace(RATES, audio_cached=None, text_cached=None))
    assert dear.parts["audio_cached"] == pytest.approx(0.4 * 32)
    assert dear.parts["text_cached"] == pytest.approx(0.1 * 4)


def test_a_bill_without_the_transcripts_is_told_as_such() -> None:
    by_tokens = used(kind="transcription", input_tokens=10, output_tokens=5)
    found = bill([REPLY, by_tokens], RATES)
    assert found.dollars == bill([REPLY], RATES).dollars
    assert found.missing == ("transcription_tokens",)
    assert bill([by_tokens], RATES).dollars is None


@pytest.mark.parametrize("usage", [[], [used()], [used(kind="transcription", seconds=60.0)]])
def test_without_usage_there_is_no_bill(usage: list[dict[str, Any]]) -> None:
    found = bill(usage, RATES, open_s=100.0)
    assert (found.dollars, found.missing) == (None, ("usage",))


def test_an_open_session_is_billed_by_time() -> None:
    rates = TABLE.models["gpt-live-1"]
    assert bill([], rates, open_s=120.0).dollars == pytest.approx(0.10)
    told = [used(kind="session", seconds=15.0), used(kind="session", seconds=45.0)]
    assert bill(told, rates, open_s=120.0).dollars == pytest.approx(0.05)


def test_standby_has_a_price_of_its_own_or_that_of_the_session() -> None:
    told = [used(kind="session", seconds=30.0), used(kind="standby", seconds=60.0)]
    apart = prices().models["gpt-live-1.1"]
    assert bill(told, apart).parts == pytest.approx(
        {"session_minute": 0.025, "standby_minute": 0.02}
    )
    assert bill(told, TABLE.models["gpt-live-1"]).dollars == pytest.approx(0.075)
    # Of a session that was paused all the time nothing is added for being open.
    assert bill(told[1:], apart, open_s=120.0).dollars == pytest.approx(0.02)


TOKENS = st.integers(0, 10**7)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "input_tokens": TOKENS,
                "cached_tokens": TOKENS,
                "output_tokens": TOKENS,
                "input_audio_tokens": TOKENS,
                "cached_audio_tokens": TOKENS,
                "output_audio_tokens": TOKENS,
            }
        ),
        max_size=5,
    )
)
def test_every_token_is_billed_once(usage: list[dict[str, int]]) -> None:
    """Also where a server tells more of a kind than in all."""
    flat = Rates("", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    found = bill(usage, flat)
    every = sum(one["input_tokens"] + one["output_tokens"] for one in usage) / 1e6
    assert (found.dollars or 0.0) == pytest.approx(every)
    assert (found.dollars is None) == (every == 0)
    assert all(amount >= 0 for amount in found.parts.values())


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-realtime-2.1", True),
        ("gpt-realtime-2.1-2026-05-01", True),
        ("gpt-realtime-2.1-mini", True),
        ("gpt-realtime-2.1-maxi", False),
        ("gpt-realtime-2", False),
        ("models/gemini-3.1-flash-live-preview", True),
        ("gemini-3.8-live-extended-thinking", False),
        ("simulated:gpt-realtime-2.1", True),
        ("", False),
    ],
)
def test_the_table_that_comes_along(model: str, known: bool) -> None:
    assert (prices().of(model) is not None) == known


def test_every_price_has_a_source_and_the_table_a_date() -> None:
    table = prices()
    assert table.as_of.startswith("20")
    assert all(rates.source for rates in table.models.values())
    assert table.of("gpt-realtime-2.1-mini-2026-05-01") == table.models["gpt-realtime-2.1-mini"]


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('as_of = "2027-01-01"\n[models.mine]\naudio_in = 3\n', encoding="utf-8")
    assert prices(file) == Prices("2027-01-01", {"mine": Rates(audio_in=3)})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "as_of"),
        ('as_of = "x"', "models.NAME"),
        ("as_of = 1\n[models.a]", "as_of"),
        ("[", "is no TOML"),
        ('as_of = "x"\nmodels.a = 1', "models.a is 1"),
        ('as_of = "x"\n[models.a]\naudio = 1', r"models.a.audio: allowed are audio_cached"),
        ('as_of = "x"\n[models.a]\naudio_in = "1"', "models.a.audio_in is '1'"),
        ('as_of = "x"\n[models.a]\naudio_in = -1', "models.a.audio_in is -1"),
        ('as_of = "x"\n[models.a]\naudio_in = true', "models.a.audio_in is True"),
        ('as_of = "x"\n[models.a]\naudio_in = nan', "models.a.audio_in is nan"),
    ],
)
def test_a_damaged_table(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=words):
        prices(file)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        prices(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="is no text in UTF-8"):
        prices(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("about", "model"),
    [
        ({"kind": "cascade"}, ""),
        ({"kind": "cascade", "llm.model": "openai:gpt-5-mini"}, "gpt-5-mini"),
        ({"kind": "cascade", "llm.model": "embedded"}, ""),
        ({"kind": "realtime", "model": "some"}, "some"),
    ],
)
def test_what_is_billed(about: dict[str, str], model: str) -> None:
    assert model_of(held(made.CASCADE), {"variants": {made.CASCADE: about}}) == model


def test_what_a_path_costs() -> None:
    conversations = [held(name="sums", repeat=n) for n in (2, 3)]
    found = summary([*conversations, held(repeat=0)], made.header(), TABLE)
    bills = [bill(one.usage, RATES).dollars or 0.0 for one in conversations]
    minutes = sum(one.seconds for one in conversations) / 60
    assert found["conversations"] == 2
    assert found["usd"] == pytest.approx(sum(bills))
    assert found["per_turn_usd"] == pytest.approx(sum(bills) / 4)
    assert found["per_minute_usd"] == pytest.approx(sum(bills) / minutes)
    spoken = sum(map(speech_s, conversations)) / 60
    assert 0 < spoken < minutes
    assert found["per_speech_minute_usd"] == pytest.approx(sum(bills) / spoken)
    assert sum(found["parts_usd"].values()) == pytest.approx(sum(bills))
    assert (found["note"], found["prices_as_of"]) == ("", "2026-11-20")
    turns = [of_turn(one, turn, RATES) or 0.0 for one in conversations for turn in one.turns]
    assert sum(turns) == pytest.approx(sum(bills))


def test_the_cascade_costs_processor_time() -> None:
    conversations = [held(made.CASCADE), held(made.CASCADE, "sums")]
    found = summary(conversations, made.header(), TABLE)
    minutes = sum(one.seconds for one in conversations) / 60
    assert found["usd"] is None
    assert found["note"] == "runs on this machine: nothing is billed"
    assert found["cpu_s_per_minute"] == pytest.approx(
        sum(one.cpu_s for one in conversations) / minutes
    )
    assert found["joules_per_minute"] == pytest.approx(6.2 * found["cpu_s_per_minute"])
    unmetered = summary([held(made.CASCADE, joules=None)], made.header(), TABLE)
    assert unmetered["joules"] is unmetered["joules_per_minute"] is None


ONLY_TEXT = Prices("x", {"gpt-realtime-2.1": Rates(text_in=1.0, text_out=1.0)})


@pytest.mark.parametrize(
    ("one", "table", "note"),
    [
        (held(facts={"model": "unheard-of"}), TABLE, "no price is known for unheard-of"),
        (held(usage=()), TABLE, "what was used is not known"),
        (held(), ONLY_TEXT, "no price is known for audio in, audio out"),
        (
            held(facts={"model": reference_system.NAME}, usage=()),
            TABLE,
            "runs on this machine: nothing is billed",
        ),
        (held(repeat=0), TABLE, "no conversation was held"),
        (held(turns=()), TABLE, "no turn was answered"),
    ],
)
def test_what_is_not_known_or_not_billed_has_no_figure(
    one: Conversation, table: Prices, note: str
) -> None:
    found = summary([one], {**made.header(), "variants": {}}, table)
    assert found["usd"] is found["per_minute_usd"] is found["per_turn_usd"] is None
    assert (found["cpu_s"] is None) == (one.repeat == 0)
    assert note in found["note"]
    assert of_turn(held(), held().turns[0], None) is None


def test_a_turn_of_an_open_session_pays_its_share() -> None:
    one = held(name="sums", usage=(used(kind="session", seconds=15.0),))
    rates = TABLE.models["gpt-live-1"]
    turn = one.turns[0]
    assert of_turn(one, turn, rates) == pytest.approx((turn.end_ns - turn.start_ns) / 60e9 * 0.05)


def counter(folder: Path, package: int, spent: int, limit: int = 1_000_000) -> None:
    """A package's counter of energy, as Linux shows it."""
    zone = folder / f"intel-rapl:{package}"
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{spent}\n")
    (zone / "max_energy_range_uj").write_text(f"{limit}\n")


def test_the_energy_of_all_packages_counts(tmp_path: Path) -> None:
    counter(tmp_path, 0, 100)
    counter(tmp_path, 1, 900_000)
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of package 0
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, 0, 500_100)
    counter(tmp_path, 1, 100_000)  # it began again
    assert meter.joules() == 0.7


def test_energy_that_is_not_told_is_not_known(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path / "nowhere").joules() is None
    meter = EnergyMeter(tmp_path)
    counter(tmp_path, 0, 1)
    assert meter.joules() is None
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("denied")
    assert EnergyMeter(tmp_path).joules() is None
