"""How politely turns end: false cut-ins against delay. `.venv/bin/python scripts/politeness.py`.

The engines hear the turns of `pauses.py` once (`hearing.py`). The curves are then pure computation:
`pipeline.turns.TurnTaker` is given those verdicts again for each setting, with the prediction 60 ms
after the silence that it is about.

Weights (`pipeline.endpoint`) and settings come from the one half of the sentences and voices
(`--fit` prints the weights), all figures from the other half.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hearing import Belief, Heard, Noise, Pause, fit, hear, print_separation, title
from pauses import RATE, REST_S, Half

from pipeline.config import Settings, Turns, Vad
from pipeline.turns import Ended, Paused, TurnTaker

PREDICTED_MS = 60
"""From the provisional end to the prediction: words 15 ms and judge 20 ms, beside them the melody
40 ms; and the machine is busy."""

SHARE, CUT_INS, DELAY_MS = 0.5, 0.05, 600.0
"""The aims: half the cut-ins of silence alone; at most so many at this median delay."""

DELAYS_MS = (350.0, 400.0, 500.0, 600.0, 800.0, 1000.0)
HOLDS_MS = (160, 224, 288, 352, 416, 480, 544, 608, 672, 800, 928, 1056, 1184, 1312)
SHORTEST_MS = (256, 352, 448, 544)
SCALES = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5)  # of hold_ms, and of longest_ms up to LONGEST_MS
LONGEST_MS = 3000
ENDLESS_MS = 1000 * REST_S - 200
"""A setting with which a tenth of the turns last as long is none: noise keeps them open."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one turn was ended: whether too early, in how many of its pauses, how late (ms)."""

    early: bool
    pauses: int
    cut: int
    delay_ms: float


@dataclass(frozen=True, slots=True)
class Manners:
    """How a setting treats turns.

    Attributes:
        cut_turns: Share of the turns with pauses that are ended before their last word.
        cut_pauses: Share of the pauses in which the turn is ended.
        delay_ms: Median from the end of the last word to the end of the turn, of all turns.
        late_ms: The same, 90th percentile.
    """

    cut_turns: float
    cut_pauses: float
    delay_ms: float
    late_ms: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Manners:
        """Of at least one turn with a pause."""
        paused = [outcome for outcome in outcomes if outcome.pauses]
        delays = [outcome.delay_ms for outcome in outcomes]
        return cls(
            statistics.fmean(outcome.early for outcome in paused),
            sum(outcome.cut for outcome in paused) / sum(outcome.pauses for outcome in paused),
            statistics.median(delays),
            float(np.percentile(delays, 90)),
        )


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to end turns.

    Attributes:
        name: As the tables call it.
        beliefs: What predicts; nothing: silence alone decides.
        webrtc: Whether webrtcvad judges, not Silero.
        true_words: Whether the words are those that were said, as a perfect recogniser's.
    """

    name: str
    beliefs: tuple[Belief, ...] = ()
    webrtc: bool = False
    true_words: bool = False

    def settings(self, base: Turns) -> list[Turns]:
        """Those to try: the hold, or for predictions its bounds and scale."""
        fixed = {"adapt": False, "max_turn_s": 30.0}
        if not self.beliefs:
            return [base.model_copy(update={**fixed, "hold_ms": hold}) for hold in HOLDS_MS]
        return [
            base.model_copy(
                update={
                    **fixed,
                    "shortest_ms": shortest,
                    "hold_ms": max(shortest, int(base.hold_ms * scale)),
                    "longest_ms": min(LONGEST_MS, int(base.longest_ms * scale)),
                }
            )
            for shortest in SHORTEST_MS
            for scale in SCALES
        ]

    def end(self, one: Heard, settings: Turns, vad: Vad) -> Outcome:
        """Give a turn's verdicts to the state machine and see where that ends it."""
        turn, ends = one.turn, self._ends(one, settings, vad)
        early = [at for at in ends if at < turn.end]
        # A turn that is never ended waits to the end of the recording at least.
        at = next((at for at in ends if at >= turn.end), len(turn.audio))
        cut = sum(any(first < at <= last for at in early) for first, last in turn.pauses)
        return Outcome(bool(early), len(turn.pauses), cut, (at - turn.end) * 1000 / RATE)

    def _ends(self, one: Heard, settings: Turns, vad: Vad) -> list[int]:
        """Offsets at which the turn was ended, up to the first after its last word."""
        taker = TurnTaker(settings, vad)
        ends: list[int] = []
        due: tuple[int, Pause] | None = None
        for voice in one.webrtc if self.webrtc else one.silero:
            if due is not None and voice.start >= due[0]:
                known = due[1].evidence(self.beliefs, true_words=self.true_words)
                taker.predicted(due[1].speech_end, known)
                due = None
            for decision in taker.push(voice, speaking=False):
                match decision:
                    case Paused():
                        pause = one.pauses.get(decision.speech_end)
                        if self.beliefs and pause is not None:
                            due = (decision.at + PREDICTED_MS * RATE // 1000, pause)
                    case Ended():
                        ends.append(decision.at)
                        if decision.at >= one.turn.end:
                            return ends
        return ends


SILENCE = (Variant("webrtcvad, silence alone", webrtc=True), Variant("Silero, silence alone"))
PREDICTING = (
    Variant("Silero + rules", ("rules",)),
    Variant("Silero + rules + language model", ("rules", "judge")),
    Variant("Silero + Smart Turn", ("melody",)),
    Variant("all together", ("melody", "rules", "judge")),
    Variant("rules + model, true words", ("rules", "judge"), true_words=True),
)


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting of a variant, and how it ended each turn of each half."""

    settings: Turns
    outcomes: dict[Half, list[tuple[float | None, Outcome]]]

    def manners(self, half: Half, snr: Noise = "any") -> Manners:
        """Of the turns of one half, and of one noise if that is given."""
        return Manners.of([o for noise, o in self.outcomes[half] if snr in ("any", noise)])


def sweep(heard: Sequence[Heard], variant: Variant, settings: Settings) -> list[Tried]:
    """Try all settings of a variant."""
    tried = []
    for one in variant.settings(settings.turns):
        outcomes: dict[Half, list[tuple[float | None, Outcome]]] = {"fit": [], "report": []}
        for turn in heard:
            ended = variant.end(turn, one, settings.vad)
            outcomes[turn.turn.spoken.half].append((turn.turn.snr, ended))
        tried.append(Tried(one, outcomes))
    return tried


def best(tried: Sequence[Tried], delay_ms: float, snr: Noise) -> Manners | None:
    """What a setting does to the one half that on the other cuts in least; so late on neither."""
    found = [
        (manners.cut_turns, manners.delay_ms, i)
        for i, one in enumerate(tried)
        if (manners := one.manners("fit", snr)).delay_ms <= delay_ms
        and one.manners("report", snr).delay_ms <= delay_ms
        and manners.late_ms < ENDLESS_MS
    ]
    return tried[min(found)[2]].manners("report", snr) if found else None


def print_curves(curves: dict[Variant, list[Tried]], snr: Noise) -> None:
    """Cut-ins by median delay, for each variant, at one noise."""
    print(f"turns with a pause that are cut into (median delay, ms): {title(snr)}")
    limits = "".join(f"  up to {delay:4.0f} ms" for delay in DELAYS_MS)
    print(f"  {'':<34}{limits}")
    for variant, tried in curves.items():
        cells = []
        for delay in DELAYS_MS:
            found = best(tried, delay, snr)
            cell = f"{found.cut_turns:6.1%} ({found.delay_ms:4.0f})" if found else "-"
            cells.append(f"{cell:>15}")
        print(f"  {variant.name:<34}{''.join(cells)}")


def print_aims(curves: dict[Variant, list[Tried]]) -> None:
    """Whether the two aims are met, at each noise."""
    print(f"aims: at most {SHARE:.0%} of the cut-ins of silence alone at an equal median delay")
    print(f"      ({DELAY_MS:.0f} ms), and at most {CUT_INS:.0%} cut-ins at that delay")
    silent = [curves[variant] for variant in SILENCE]
    for variant in PREDICTING:
        for snr in (*_noises(curves), "any"):
            found = best(curves[variant], DELAY_MS, snr)
            others = [m for tried in silent if (m := best(tried, DELAY_MS, snr))]
            if found is None or not others:
                continue
            least = min(m.cut_turns for m in others)
            first = "met" if found.cut_turns <= SHARE * least else "missed"
            second = "met" if found.cut_turns <= CUT_INS else "missed"
            print(
                f"  {variant.name:<34}{title(snr):>7}: {found.cut_turns:6.1%} against {least:6.1%}"
                f" ({first}); {CUT_INS:.0%} {second}; 90th percentile {found.late_ms:.0f} ms"
            )


def print_defaults(heard: Sequence[Heard], settings: Settings) -> None:
    """What the settings as they are do to the half that is reported, each turn a new speaker's."""
    print("the settings as they are: turns cut into, pauses, median delay, 90th percentile")
    fixed = Variant("Silero, silence alone")
    for variant in (fixed, *PREDICTING):
        for snr in (*dict.fromkeys(h.turn.snr for h in heard), "any"):
            mine = [
                h for h in heard if h.turn.spoken.half == "report" and snr in ("any", h.turn.snr)
            ]
            found = Manners.of([variant.end(one, settings.turns, settings.vad) for one in mine])
            print(
                f"  {variant.name:<34}{title(snr):>7}: {found.cut_turns:6.1%}"
                f" {found.cut_pauses:6.1%} {found.delay_ms:5.0f} ms {found.late_ms:5.0f} ms"
            )


def _noises(curves: dict[Variant, list[Tried]]) -> list[float | None]:
    tried = next(iter(curves.values()))[0]
    return list(dict.fromkeys(noise for noise, _ in tried.outcomes["report"]))


def politeness(settings: Settings, *, quick: bool = False) -> None:
    """Measure and print everything; needs no running event loop."""
    print("politeness: turns with pauses, ended too early or late")
    heard = hear(settings, quick=quick)
    half = [one for one in heard if one.turn.spoken.half == "report"]
    pauses = sum(len(one.turn.pauses) for one in half)
    print(f"  {len(heard)} turns; of {len(half)}, with {pauses} pauses, are all figures here")
    print_separation(half)
    curves = {variant: sweep(heard, variant, settings) for variant in (*SILENCE, *PREDICTING)}
    for snr in (*_noises(curves), "any"):
        print_curves(curves, snr)
    print_aims(curves)
    print_defaults(heard, settings)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a third of the sentences, two noises")
    parser.add_argument("--fit", action="store_true", help="print the weights and nothing else")
    options = parser.parse_args()
    if options.fit:
        heard = hear(Settings(), quick=options.quick)
        fit([one for one in heard if one.turn.spoken.half == "fit"])
    else:
        politeness(Settings(), quick=options.quick)


if __name__ == "__main__":
    main()
