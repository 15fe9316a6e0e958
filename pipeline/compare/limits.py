"""The figures of a comparison that a gate can be about."""

from __future__ import annotations

from pipeline.compare.selectivity import RATES
from pipeline.measure.gates import TURNS, Figure

COMPARED = {
    **TURNS,
    "answer_ms": Figure("answering.ms.median", "no turn has an answer", "answering.ms.ci95"),
    "stop_ms": Figure(
        "interruption.silence_ms.median",
        "no reply stopped for an interruption",
        "interruption.silence_ms.ci95",
    ),
    "wer": Figure("wer.rate", "no transcript of words that are known", "wer.ci95", share=True),
    "spoken": Figure(
        "spoken_words.rate", "no reply was read (--fidelity)", "spoken_words.ci95", share=True
    ),
    "entities": Figure(
        "entities.overall.share",
        "no numbers, codes or names were said, or no transcript is known",
        "entities.overall.ci95",
        True,
        True,
    ),
    "broken": Figure("conversations.failed"),
    "reconnects": Figure("conversations.reconnects"),
    "cost_per_minute": Figure("cost.per_minute_usd", "cost.note", "cost.per_minute_ci95"),
    "cost_per_turn": Figure("cost.per_turn_usd", "cost.note"),
    "cpu_s_per_minute": Figure("cost.cpu_s_per_minute", "cost.note", "cost.cpu_s_per_minute_ci95"),
    **{
        name: Figure(f"{place}.share", f"no turn expects {what}", f"{place}.ci95", True, True)
        for name, place, what in (
            ("expectations", "expectations", "anything that could be decided"),
            ("tools", "tools.overall", "anything of tools"),
            ("recall", "checks.recall", "anything to be recalled"),
            ("instructions", "checks.instructions", "instructions to be followed"),
            ("history", "interruption.history", "anything of the model's history"),
        )
    },
    **{
        name: Figure(
            f"selectivity.{name}.share",
            f"there was {rate.among}",
            f"selectivity.{name}.ci95",
            rate.good,
            True,
        )
        for name, rate in RATES.items()
    },
}
"""By their names."""
