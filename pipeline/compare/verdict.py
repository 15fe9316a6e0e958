"""A comparison in three sentences: who answers first, who does what was asked, what it costs. Pure.

They are made from the summary's figures alone, each with its interval. Nothing is called a
difference whose interval holds zero. Where a system was simulated the first sentence says so, with
the source of its latency, and every sentence carries the stamp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.compare.by_condition import worse
from pipeline.compare.record import source_of
from pipeline.compare.results import Costs, Summary, SystemResult, TurnPoint
from pipeline.compare.selectivity import RATES
from pipeline.measure.stats import UNDECIDED, Met, SharesApart, share
from pipeline.measure.terminal import count
from pipeline.speech_to_speech.brief import STAMP

FILLER_MS = 50.0
"""An answer this much later than the first sound is worth a word."""

Variants = Mapping[str, SystemResult]


def verdict(summary: Summary) -> tuple[str, str, str]:
    """The three sentences.

    Args:
        summary: What `summary.summarise` found; of its `variants` the first is compared with.
    """
    variants: Variants = summary["variants"]
    sentences = (_latency(variants), _right(variants), _cost(variants))
    notice = _notice(variants)
    first, *others = (_sentence(text) for text in sentences)
    if notice:
        first = _sentence(f"{notice}; {first}")
    if summary.get("simulated") or notice:
        first, *others = (
            text if STAMP in text else f"{STAMP}: {text}" for text in (first, *others)
        )
    return first, others[0], others[1]


def _notice(variants: Variants) -> str:
    """That something was simulated, and after what source."""
    played = {name: one for name, one in variants.items() if one.get("simulated")}
    if not played:
        return ""
    # What follows a colon or semicolon is how it was derived, which stands beside the system.
    names = [source_of(one.get("simulation") or {}) for one in played.values()]
    sources = list(dict.fromkeys(re.split(r"[:;]\s", name)[0] for name in names))
    who = _listed([*played])
    verb = "replays" if len(played) == 1 else "replay"
    quoted = _listed([f"“{source}”" for source in sources])
    return f"{STAMP}: {who} {verb} a script, with a latency after {quoted}"


def _latency(variants: Variants) -> str:
    if not variants:
        return "Nothing was compared"
    (first, base), *others = variants.items()
    if not others:
        return f"{_heard(first, base, 'is heard ')}; there is nothing to compare it with"
    told = [_faster(first, base, name, one) for name, one in others]
    alone = [_heard(name, one) for name, one in variants.items()]
    return f"{'; '.join(told)}; {', '.join(alone)}"


def _faster(first: str, base: SystemResult, name: str, other: SystemResult) -> str:
    """Who of two is heard first."""
    against = other["against_first"]
    whole = against["voice_to_voice_ms"]
    if whole is None:
        lacking = [n for n, one in ((first, base), (name, other)) if not one["n"]]
        why = (
            f"{_listed(lacking)} answered no turn that could be measured"
            if lacking
            else "no turn was answered by both"
        )
        return f"whether {name} or {first} is heard first cannot be said, for {why}"
    paired = count(against["n"], "pair")
    if whole["ci95"] is None:
        return f"between {name} and {first} no difference is shown: {paired} are too few"
    low, high = whole["ci95"]
    if whole["verdict"] == UNDECIDED:
        return (
            f"between {name} and {first} no difference is shown ({whole['median']:+.0f} ms, "
            f"95 %: {low:+.0f} to {high:+.0f}, {paired})"
        )
    size, (low, high) = abs(whole["median"]), sorted((abs(low), abs(high)))
    word = "sooner" if whole["verdict"] == "faster" else "later"
    noise = ", within the noise of the machine" if whole["within_noise"] else ""
    return (
        f"{name} is heard {size:.0f} ms {word} than {first} "
        f"(95 %: {low:.0f} to {high:.0f}, {paired}{noise})"
    )


def _heard(name: str, one: SystemResult, verb: str = "") -> str:
    """When a system is heard: its median, and where the answer comes later than the first sound."""
    whole = one["voice_to_voice_ms"]
    if whole is None:
        return f"{name} {verb}in no turn"
    told = ", told when the user had finished," if one.get("manual") else ""
    text = f"{name}{told} {verb}after {whole['median']:.0f} ms"
    answering = one["answering"]["ms"]
    if answering is not None and answering["median"] > whole["median"] + FILLER_MS:
        text += f" with its answer after {answering['median']:.0f} ms"
    inside = [f"median of {count(one['n'], 'turn')}"]
    if whole["ci95"] is not None:
        inside.append(_interval(whole["ci95"], "{:.0f} to {:.0f}"))
    if one["too_soon"]:
        inside.append(f"{one['too_soon']} of them before the user had finished")
    if one.get("unmeasurable"):
        inside.append(f"{one['unmeasurable']} more unmeasurable for noise")
    if one["failed"]:
        inside.append(f"{one['failed']} more failed")
    return f"{text} ({', '.join(inside)})"


def _right(variants: Variants) -> str:
    if not any(one["expectations"] or one["tools"] for one in variants.values()):
        heard = [
            f"{name} misheard {words}" for name, one in variants.items() if (words := _words(one))
        ]
        if heard:
            told = "; ".join([*heard, *_disturbed(variants)])
            return f"Nothing was expected of the answers, so only words can be told: {told}"
        names = f" of {_listed([*variants])}" if variants else ""
        text = f"Nothing was expected of the answers{names}, so who understands cannot be said"
        return "; ".join([text, *_disturbed(variants)])
    done = [_does(name, one) for name, one in variants.items()]
    return "; ".join([*done, *_disturbed(variants)])


def _disturbed(variants: Variants) -> Sequence[str]:
    """In which conditions a system does clearly worse than in clean sound: a clause, or none."""
    told = []
    for name, one in variants.items():
        for condition, found in (one.get("by_condition") or {}).items():
            if (found_worse := worse(found)) is not None:
                told.append(f"{name} {_worse(*found_worse)} in {condition}")
    return [f"against clean sound, {_listed(told)}"] if told else []


def _worse(figure: str, apart: Mapping[str, Any]) -> str:
    """What is worse, and by how much, such as `mishears 12 points more of the words (…)`."""
    if figure == "voice_to_voice_ms":
        inside = _interval(apart["ci95"], "{:.0f} to {:.0f}")
        return f"is heard {apart['median']:.0f} ms later ({inside})"
    points = f"{abs(100 * apart['difference']):.0f} points"
    inside = _interval(apart["ci95"], "{:+.0f} to {:+.0f}", 100)
    if rate := RATES.get(figure.removeprefix("selectivity.")):
        return f"{rate.does} {points} {'less' if rate.good else 'more'} often ({inside})"
    return {
        "answered": f"answers {points} fewer of the turns ({inside})",
        "success": f"does {points} fewer of the turns right ({inside})",
        "tools": f"calls {points} fewer of the right tools ({inside})",
        "entities": f"understands {points} fewer of the numbers, codes and names ({inside})",
        "wer": f"mishears {points} more of the words ({inside})",
    }[figure]


def _does(name: str, one: SystemResult) -> str:
    """What a system does right; the tools of all but the first as they differ from the first's."""
    expectations, tools = one["expectations"], one["tools"]
    against = one.get("against_first")
    if not expectations or not expectations["n"]:
        text = f"of {name} nothing is known to be right or wrong"
    else:
        text = f"{name} does {_share(expectations)} of what was expected"
        text += _apart(against and against["success"], " in turns done right")
    if tools:
        first, *others = tools["by_turn"]
        compared = against and against["tools_first_turn"]
        text += f" and calls the right tool in {_point(first, compared)}"
        if others:
            compared = against and against["tools_last_turn"]
            text += f" and in {_point(others[-1], compared)}"
    if words := _words(one):
        text += f", having misheard {words}"
    return text + _selective(one)


def _selective(one: SystemResult) -> str:
    """What it does about what is to be ignored, or to stop it; empty where there is nothing."""
    found = one["selectivity"]
    told = [
        f", {does} {met['met']} of {count(met['n'], what)}{which} "
        f"({_interval(met['ci95'], '{:.0f} to {:.0f}', 100)} %)"
        for does, what, which, met, least in (
            ("answers", "sound", " that it was to ignore", found["spurious"], 0),
            ("is stopped or made quieter by", "sound", " in its reply", found["false_barge_in"], 0),
            ("does not stop in", "interruption", "", _not(found["stops"]), 1),
        )
        if met["n"] and met["met"] >= least
    ]
    return "".join(told)


def _not(found: Met) -> Met:
    """The share of which something is not so."""
    return share([True] * (found["n"] - found["met"]) + [False] * found["met"])


def _point(point: TurnPoint, compared: SharesApart | None) -> str:
    """A turn of a curve, such as `5 of 9 of turn 10 (…)`."""
    text = f"{point['met']} of {point['n']} of turn {point['turn']}"
    if compared and compared.get("turn") == point["turn"]:
        return text + _apart(compared)
    return f"{text} ({_interval(point['ci95'], '{:.0f} to {:.0f}', 100)} %)"


def _apart(found: SharesApart | None, what: str = "") -> str:
    """How a share differs from the first system's, in brackets; nothing where that is not known."""
    if found is None:
        return ""
    paired = count(found["n"], "pair")
    if found["groups"] < found["n"]:
        paired += f" of {count(found['groups'], 'conversation')}"
    if found["ci95"] is None:
        return f" (no difference shown{what}: {paired}, too few)"
    inside = f"{_interval(found['ci95'], '{:+.0f} to {:+.0f}', 100)}, {paired}"
    if found["verdict"] == UNDECIDED:
        return f" (no difference shown{what}, {inside})"
    return f" ({100 * found['difference']:+.0f} points{what}, {inside})"


def _cost(variants: Variants) -> str:
    told = [_costs(name, one["cost"], one.get("simulated")) for name, one in variants.items()]
    dates = dict.fromkeys(
        str(one["cost"]["prices_as_of"])
        for one in variants.values()
        if one["cost"]["per_minute_usd"] is not None
    )
    text = "; ".join(told) or "What it costs cannot be said, for nothing was held"
    return f"{text} (prices of {_listed([*dates])})" if dates else text


def _costs(name: str, cost: Costs, simulated: object) -> str:
    if cost["per_minute_usd"] is not None:
        interval = _interval(cost["per_minute_ci95"], "${:.3g} to ${:.3g}")
        text = f"{name} costs ${cost['per_minute_usd']:.3g} a minute of conversation"
        if interval:
            text += f" ({interval})"
        if cost["per_turn_usd"] is not None:
            text += f" and ${cost['per_turn_usd']:.3g} a turn"
        return f"{text}, for usage that was made up" if simulated else text
    if cost["model"] or cost["cpu_s_per_minute"] is None:
        return f"what {name} costs is not known ({cost['note']})"
    interval = _interval(cost["cpu_s_per_minute_ci95"], "{:.3g} to {:.3g}")
    text = f"{name} is not billed and takes {cost['cpu_s_per_minute']:.3g} CPU-seconds"
    if interval:
        text += f" ({interval})"
    if cost["joules_per_minute"] is not None:
        text += f" and {cost['joules_per_minute']:.3g} joules"
    return f"{text} a minute of conversation"


def _words(one: SystemResult) -> str:
    """How much of the words was misheard; empty where that is not known."""
    words = one["wer"]
    if words is None or words["rate"] is None:
        return ""
    interval = _interval(words["ci95"], "{:.1f} to {:.1f}", 100)
    text = f"{100 * words['rate']:.1f} % of the words" + (f" ({interval})" if interval else "")
    if (found := one["entities"]) and (every := found["overall"])["met"] < every["n"]:
        text += f" and {every['n'] - every['met']} of {every['n']} numbers, codes and names"
    return text


def _share(found: Met) -> str:
    interval = _interval(found["ci95"], "{:.0f} to {:.0f}", 100)
    return f"{100 * (found['share'] or 0):.0f} % ({interval}, {found['met']} of {found['n']})"


def _interval(ends: Sequence[float] | None, form: str, factor: float = 1) -> str:
    if ends is None:
        return ""
    return "95 %: " + form.format(*(factor * end for end in ends))


def _listed(texts: Sequence[str]) -> str:
    """Such as `a`, `a and b`, `a, b and c`."""
    *most, last = map(str, texts)
    return f"{', '.join(most)} and {last}" if most else last


def _sentence(text: str) -> str:
    """One sentence: what names and sources bring along cannot end it early."""
    plain = re.sub(r"[.!?]+(\s|$)", r"\1", " ".join(text.split()))
    return f"{plain.rstrip(' ;,')}."
