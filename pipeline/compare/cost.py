"""What a conversation costs: dollars from usage and a dated table of prices, and energy.

Nothing unknown is taken for free: a model that is not in the table has no figure, and neither has a
conversation that used something without a price, or of which no usage was told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from pipeline import toml_file
from pipeline.compare.record import Conversation
from pipeline.compare.results import Costs
from pipeline.errors import BadInput
from pipeline.measure import reference
from pipeline.measure.record import Turn
from pipeline.measure.stats import ratio_interval

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel's and AMD's RAPL (kernel: admin-guide/pm/powercap)."""

MILLION = 1e6

ASIDE = frozenset({"transcription_minute", "transcription_tokens"})
"""What is used beside the replies: a bill is worth knowing without it."""

OPEN = {"session": "session_minute", "standby": "standby_minute"}
"""Kinds of usage that are billed by how long the session is open, and the price of each."""

_VERSION = re.compile(r"(?:-(?:preview|latest|\d{2,8}))*\Z")
"""What may follow a model's name without making it another model: a date, `preview`."""


Price = Annotated[float, Field(ge=0, lt=1e6, strict=True)]


@pydantic.dataclasses.dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class Rates:
    """Prices of one model in US dollars; None: not known, or there is no such thing.

    Attributes:
        source: Where they were published.
        text_in: A million tokens of text read.
        text_cached: Of these, from the cache; None: as `text_in`.
        text_out: A million tokens of text written.
        audio_in: A million tokens of sound read.
        audio_cached: Of these, from the cache; None: as `audio_in`.
        audio_out: A million tokens of sound written.
        session_minute: A minute of open session.
        standby_minute: The same while the model is paused; None: as `session_minute`.
        transcription_minute: A minute of the user's sound, for its transcript.
    """

    source: str = ""
    text_in: Price | None = None
    text_cached: Price | None = None
    text_out: Price | None = None
    audio_in: Price | None = None
    audio_cached: Price | None = None
    audio_out: Price | None = None
    session_minute: Price | None = None
    standby_minute: Price | None = None
    transcription_minute: Price | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """A table of prices.

    Attributes:
        as_of: When they were looked up, ISO 8601.
        models: By the model's name.
    """

    as_of: str
    models: Mapping[str, Rates]

    def of(self, model: str) -> Rates | None:
        """Prices of a model, or of a dated version of it; None if it is not in the table."""
        name = _plain(model)
        fitting = [
            one
            for one in self.models
            if name.startswith(one) and _VERSION.match(name.removeprefix(one))
        ]
        return self.models[max(fitting, key=len)] if fitting else None


@dataclass(frozen=True, slots=True)
class Bill:
    """What something costs.

    Attributes:
        dollars: In all; None: not known.
        parts: By what it was spent on: names of `Rates`.
        missing: What was used and has no price.
    """

    dollars: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


class EnergyMeter:
    """Energy that the processor uses from now on, where the machine tells (Linux, powercap)."""

    def __init__(self, folder: Path = POWERCAP) -> None:
        """Read the counters of all packages, if there are any that may be read."""
        self._folder = folder
        self._before = self._read()

    def joules(self) -> float | None:
        """What everything on this machine has used since then (J); None if it is not told."""
        now = self._read()
        if not self._before or now.keys() != self._before.keys():
            return None
        total = 0
        for zone, (spent, _) in now.items():
            earlier, limit = self._before[zone]
            total += spent - earlier if spent >= earlier else spent + limit - earlier
        return total / MILLION

    def _read(self) -> dict[Path, tuple[int, int]]:
        """Each package's counter, and where it begins again from 0 (microjoules)."""
        counters: dict[Path, tuple[int, int]] = {}
        for zone in sorted(self._folder.glob("intel-rapl:[0-9]")):
            with contextlib.suppress(OSError, ValueError):
                spent = int((zone / "energy_uj").read_text())
                counters[zone] = (spent, int((zone / "max_energy_range_uj").read_text()))
        return counters


def prices(file: Path | None = None) -> Prices:
    """Read a table of prices.

    Args:
        file: None: the one that comes with Cascade.

    Raises:
        BadInput: It cannot be read, or is none.
    """
    path = file or Path(__file__).with_name("prices.toml")
    return _table(toml_file.read(path, "--prices"), str(path))


def bill(usage: Iterable[Mapping[str, Any]], rates: Rates, open_s: float = 0.0) -> Bill:
    """What this usage costs.

    Args:
        usage: `events.Usage` as dictionaries.
        rates: Of the model.
        open_s: How long the session was open, for a model that is billed by that (s).
    """
    used = [*usage]
    quantities: dict[str, float] = {}
    for one in used:
        for name, quantity in _quantities(one).items():
            quantities[name] = quantities.get(name, 0.0) + quantity
    timed = not quantities.keys().isdisjoint(OPEN.values())
    if rates.session_minute is not None and not timed and open_s > 0:
        quantities["session_minute"] = open_s / 60
    # Of a model that is sold by tokens these must be known, or the bill is not.
    replies = rates.session_minute is not None or not quantities.keys() <= ASIDE
    if not quantities or not replies:
        return Bill(None, {}, ("usage",))
    parts: dict[str, float] = {}
    missing: list[str] = []
    for name, quantity in quantities.items():
        price = _price(rates, name)
        if price is None:
            # The model's own tokens are in the price of an open minute, if that is how it is sold.
            if rates.session_minute is None or name == "transcription_minute":
                missing.append(name)
        else:
            parts[name] = quantity * price
    known = set(missing) <= ASIDE
    return Bill(sum(parts.values()) if known and parts else None, parts, tuple(missing))


def model_of(conversation: Conversation, header: Mapping[str, Any]) -> str:
    """The model that is billed for a conversation; empty where nothing of it is.

    Of a cascade that is its language model, if that runs elsewhere.
    """
    if model := conversation.facts.get("model"):
        return "" if model == reference.NAME else _plain(str(model))
    about = (header.get("variants") or {}).get(conversation.path) or {}
    if about.get("kind", conversation.path) != "cascade":
        return _plain(str(about.get("model", ""))) or f"the model of {conversation.path}"
    settings = (header.get("settings") or {}).get("llm") or {}
    named = about.get("llm.model") or about.get("llm") or settings.get("model") or ""
    return str(named).removeprefix("openai:") if str(named).startswith("openai:") else ""


def of_turn(conversation: Conversation, turn: Turn, rates: Rates | None) -> float | None:
    """Dollars of one turn: its own usage, and its share of a session that is billed by time."""
    if rates is None:
        return None
    mine = [
        one
        for one in conversation.usage
        if one.get("turn") == turn.number and one.get("kind") not in OPEN
    ]
    return bill(mine, rates, (turn.end_ns - turn.start_ns) / 1e9).dollars


def summary(
    conversations: Sequence[Conversation], header: Mapping[str, Any], table: Prices
) -> Costs:
    """What one system costs, over all conversations of it that count and have an answer."""
    counted = [one for one in conversations if one.repeat > 0 and one.seconds > 0]
    model = next(filter(None, (model_of(one, header) for one in counted)), "")
    rates = table.of(model) if model else None
    answered = [one for one in counted if any(turn.record.answered for turn in one.turns)]
    bills = [(one, bill(one.usage, rates, one.seconds)) for one in answered] if rates else []
    known = [(one, found, found.dollars) for one, found in bills if found.dollars is not None]
    dollars = [usd for _, _, usd in known]
    usd = sum(dollars) if known else None
    billed = [one for one, _, _ in known]
    timed = [(one, one.cpu_s) for one in counted if one.cpu_s is not None]
    cpu_s, timed_ones = sum(taken for _, taken in timed) if timed else None, [o for o, _ in timed]
    metered = [one for one in counted if one.joules is not None]
    joules = sum(one.joules or 0.0 for one in metered) if metered else None
    return {
        "model": model,
        "conversations": len(known),
        "usd": usd,
        "per_turn_usd": _by(usd, _answers(billed)),
        "per_minute_usd": _by(usd, sum(_minutes(billed))),
        "per_minute_ci95": ratio_interval(dollars, _minutes(billed)),
        "per_speech_minute_usd": _by(usd, sum(map(speech_s, billed)) / 60),
        "parts_usd": _parts([found for _, found, _ in known]),
        "prices_as_of": table.as_of if rates else None,
        "source": rates.source if rates else "",
        "note": _note(model, rates, [found for _, found in bills], counted, bool(known)),
        "cpu_s": cpu_s,
        "cpu_s_per_turn": _by(cpu_s, _answers(timed_ones)),
        "cpu_s_per_minute": _by(cpu_s, sum(_minutes(timed_ones))),
        "cpu_s_per_minute_ci95": ratio_interval([s for _, s in timed], _minutes(timed_ones)),
        "joules": joules,
        "joules_per_minute": _by(joules, sum(_minutes(metered))),
    }


def speech_s(conversation: Conversation) -> float:
    """How long the user spoke in a conversation (s)."""
    spans = (
        span for turn in conversation.turns for span in turn.record.spans if span.lane == "user"
    )
    return sum(span.end_ns - span.start_ns for span in spans) / 1e9


def _answers(conversations: Iterable[Conversation]) -> int:
    return sum(turn.record.answered for one in conversations for turn in one.turns)


def _minutes(conversations: Iterable[Conversation]) -> list[float]:
    return [one.seconds / 60 for one in conversations]


def _note(
    model: str,
    rates: Rates | None,
    bills: Sequence[Bill],
    counted: Sequence[Conversation],
    known: bool,
) -> str:
    if not counted:
        return "no conversation was held"
    if not model:
        if all(one.cpu_s is None for one in counted):
            return "runs on this machine; what it takes there cannot be told apart: --together"
        return "runs on this machine: nothing is billed"
    if rates is None:
        return f"no price is known for {model}; add one with --prices FILE"
    if not bills:
        return "no turn was answered"
    missing = list(dict.fromkeys(name for one in bills for name in one.missing))
    unpriced = [name for name in missing if name != "usage"]
    told = []
    if unpriced:
        names = ", ".join(name.replace("_", " ") for name in unpriced)
        told.append(f"no price is known for {names} of {model}; add it with --prices FILE")
    if "usage" in missing:
        some = "some conversations" if known else "it"
        told.append(f"what was used is not known of {some}")
    return "; ".join(told)


def _quantities(one: Mapping[str, Any]) -> dict[str, float]:
    """How much of what `Rates` name was used: millions of tokens, or minutes; no zeros."""

    def count(name: str) -> float:
        return float(one.get(name) or 0.0)

    kind = one.get("kind", "reply")
    minutes = count("seconds") / 60
    if kind in OPEN:
        return {OPEN[kind]: minutes} if minutes else {}
    if kind == "transcription":
        if minutes:
            return {"transcription_minute": minutes}
        tokens = count("input_tokens") + count("output_tokens")
        return {"transcription_tokens": tokens / MILLION} if tokens else {}
    heard = min(count("input_audio_tokens"), count("input_tokens"))
    again = min(count("cached_tokens"), count("input_tokens"))
    heard_again = min(count("cached_audio_tokens"), heard, again)
    read = count("input_tokens") - heard
    read_again = min(again - heard_again, read)
    spoken = min(count("output_audio_tokens"), count("output_tokens"))
    found = {
        "text_in": read - read_again,
        "text_cached": read_again,
        "audio_in": heard - heard_again,
        "audio_cached": heard_again,
        "text_out": count("output_tokens") - spoken,
        "audio_out": spoken,
    }
    return {name: tokens / MILLION for name, tokens in found.items() if tokens > 0}


def _price(rates: Rates, name: str) -> float | None:
    price: float | None = getattr(rates, name, None)
    if price is None and name.endswith("_cached"):
        price = getattr(rates, name.replace("_cached", "_in"))
    if price is None and name == "standby_minute":
        price = rates.session_minute
    return price


def _parts(bills: Sequence[Bill]) -> dict[str, float]:
    names = dict.fromkeys(name for one in bills for name in one.parts)
    return {name: sum(one.parts.get(name, 0.0) for one in bills) for name in names}


def _by(amount: float | None, count: float) -> float | None:
    return None if amount is None or count <= 0 else amount / count


def _plain(model: str) -> str:
    """A model's name as the table has it."""
    return model.removeprefix("simulated:").removeprefix("models/").partition("#")[0]


def _table(plain: Mapping[str, Any], name: str) -> Prices:
    models = plain.get("models")
    if not isinstance(models, dict) or not isinstance(plain.get("as_of"), str):
        raise BadInput(f"--prices {name}: needs `as_of` (a date as text) and tables `models.NAME`")
    try:
        return Prices(plain["as_of"], _RATES.validate_python(models))
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "unexpected_keyword_argument":
            allowed = ", ".join(sorted(field.name for field in dataclasses.fields(Rates)))
            raise BadInput(f"--prices {name}: models.{place}: allowed are {allowed}") from None
        raise BadInput(
            f"--prices {name}: models.{place} is {first['input']!r}: {first['msg'].lower()}"
        ) from None


_RATES = pydantic.TypeAdapter(dict[str, Rates])
