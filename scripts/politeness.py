"""How politely turns end: false cut-ins against delay. `.venv/bin/python scripts/politeness.py`.

The real engines hear every turn of `pauses.py` once: the voice detectors each window, at each short
silence the recogniser the words, the rules and the language model what those are worth, Smart Turn
the melody. The curves are then pure computation: `pipeline.turns.TurnTaker` is given those verdicts
again for each setting, with the prediction 60 ms after the silence that it is about.

Weights (`pipeline.endpoint`) and settings come from the one half of the sentences and voices
(`--fit` prints the weights), all figures from the other half.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pauses import NOISES, RATE, Floats, Half, Turn, recordings, sentences, turns
from piper import PiperVoice

from pipeline.catalogue import Catalogue
from pipeline.completeness import completeness
from pipeline.config import Settings, Turns, Vad
from pipeline.endpoint import Evidence, log_odds, probability
from pipeline.errors import BadInput
from pipeline.stages.endpoint import SmartTurn
from pipeline.stages.llm_judge import TextJudge
from pipeline.stages.llm_local import LocalServer
from pipeline.stages.stt import Whisper
from pipeline.stages.vad import Voice, VoiceDetector
from pipeline.turns import Began, Ended, Paused, TurnTaker

PREDICTED_MS = 60
"""From the provisional end to the prediction: words 15 ms, judge 20, melody 35 in another thread,
and a busy machine."""

HALF, CUT_INS, DELAY_MS = 0.5, 0.05, 600.0
"""The aims: half the cut-ins of silence alone; at most so many at this median delay."""

DELAYS_MS = (350.0, 400.0, 500.0, 600.0, 800.0, 1000.0)
HOLDS_MS = (160, 224, 288, 352, 416, 480, 544, 608, 672, 800, 928, 1056, 1184, 1312)
SHORTEST_MS = (256, 352, 448, 544)
SCALES = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5)  # of hold_ms, and of longest_ms up to LONGEST_MS
LONGEST_MS = 3000
Belief = Literal["melody", "rules", "judge"]


@dataclass(slots=True)
class Pause:
    """A short silence that the detector found.

    Attributes:
        speech_end: Offset of the end of the voice before it; it names the pause.
        over: Whether it is the end of the turn.
        heard: What the recogniser made of the turn so far.
        log_prob: How sure it is of that, per token.
        said: The words so far as they are, where that is known.
        melody: Smart Turn's opinion.
        judged: The language model's, by text.
    """

    speech_end: int
    over: bool
    heard: str
    log_prob: float
    said: str | None
    melody: float | None
    judged: dict[str, float | None] = field(default_factory=dict)

    def evidence(self, beliefs: Sequence[Belief], *, true_words: bool = False) -> Evidence:
        """What is known of it, if only so much is looked at."""
        text = (self.said or "") if true_words else self.heard
        return Evidence(
            melody=self.melody if "melody" in beliefs else None,
            words=completeness(text) if "rules" in beliefs else None,
            judged=self.judged.get(text) if "judge" in beliefs else None,
            sure=1.0 if true_words else math.exp(self.log_prob),
        )


@dataclass(slots=True)
class Heard:
    """A turn as the engines heard it."""

    turn: Turn
    silero: list[Voice]
    webrtc: list[Voice]
    pauses: dict[int, Pause]


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


def listen(
    made: Sequence[Turn], whisper: Whisper, melody: SmartTurn | None, settings: Settings
) -> list[Heard]:
    """Let the engines hear the turns; only the judge of the words is left to `judge`."""
    return [_listen(turn, whisper, melody, settings) for turn in made]


def _listen(turn: Turn, whisper: Whisper, melody: SmartTurn | None, settings: Settings) -> Heard:
    silero = VoiceDetector(settings.vad).push(turn.audio)
    by_gate = settings.vad.model_copy(update={"judge": "webrtc"})
    webrtc = VoiceDetector(by_gate).push(turn.audio)
    patient = settings.turns.model_copy(update={"hold_ms": 3000, "adapt": False})
    taker, start = TurnTaker(patient, settings.vad), 0
    audio = turn.audio.astype(np.float32) / np.float32(32768)
    found: dict[int, Pause] = {}
    for voice in silero:
        for decision in taker.push(voice, speaking=False):
            match decision:
                case Began():
                    start = decision.start
                case Paused() if decision.speech_end not in found:
                    heard = audio[start : decision.at]
                    found[decision.speech_end] = _pause(turn, decision, heard, whisper, melody)
    return Heard(turn, silero, webrtc, found)


def _pause(
    turn: Turn, paused: Paused, heard: Floats, whisper: Whisper, melody: SmartTurn | None
) -> Pause:
    transcription = whisper.transcribe(heard)
    return Pause(
        paused.speech_end,
        _is_end(turn, paused.speech_end),
        transcription.text,
        transcription.log_prob,
        _said(turn, paused.speech_end),
        melody.probability(heard) if melody else None,
    )


SLACK = RATE // 5
"""So much before the true end the detector may lose the last sound."""


def _is_end(turn: Turn, speech_end: int) -> bool:
    return speech_end > turn.end - SLACK


def _said(turn: Turn, speech_end: int) -> str | None:
    """The words before a silence, as far as it is one of those that were put in, or the end."""
    every = turn.spoken.text.split()
    n = 0
    if _is_end(turn, speech_end):
        n = len(every)
    for (first, last), before in zip(turn.pauses, turn.words_before, strict=True):
        if first - SLACK < speech_end < last:
            n = before
    # With a full stop after all of them, as the recogniser writes it.
    return " ".join(every[:n]).rstrip(".,?!") + "." if n else None


async def judge(heard: Sequence[Heard], settings: Settings, catalogue: Catalogue) -> None:
    """Let the embedded language model judge all texts."""
    texts = {p.heard for h in heard for p in h.pauses.values()}
    texts |= {p.said for h in heard for p in h.pauses.values() if p.said}
    path = catalogue.resolve("llm", "embedded").path
    found: dict[str, float | None] = {}
    async with LocalServer(path, settings.llm) as server:
        judge = TextJudge(server.endpoint, settings.llm)
        system = {"role": "system", "content": settings.llm.instructions}
        for text in sorted(texts):
            found[text] = await judge.probability([system, {"role": "user", "content": text}])
        await judge.close()
    for one in heard:
        for pause in one.pauses.values():
            pause.judged = {t: found[t] for t in (pause.heard, pause.said) if t}


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

    def manners(self, half: Half, snr: float | None | str = "any") -> Manners:
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


def best(tried: Sequence[Tried], delay_ms: float, snr: float | None | str) -> Manners | None:
    """What a setting does to one half which on the other half cuts in least, at such a delay."""
    found = [
        (manners.cut_turns, manners.delay_ms, i)
        for i, one in enumerate(tried)
        if (manners := one.manners("fit", snr)).delay_ms <= delay_ms
    ]
    return tried[min(found)[2]].manners("report", snr) if found else None


def print_curves(curves: dict[Variant, list[Tried]], snr: float | None | str) -> None:
    """Cut-ins by median delay, for each variant, at one noise."""
    print(f"turns with a pause that are cut into (median delay, ms): {_title(snr)}")
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
    print(f"aims: at most {HALF:.0%} of the cut-ins of silence alone at an equal median delay")
    print(f"      ({DELAY_MS:.0f} ms), and at most {CUT_INS:.0%} cut-ins at that delay")
    silent = [curves[variant] for variant in SILENCE]
    for variant in PREDICTING:
        for snr in (*_noises(curves), "any"):
            found = best(curves[variant], DELAY_MS, snr)
            others = [m for tried in silent if (m := best(tried, DELAY_MS, snr))]
            if found is None or not others:
                continue
            least = min(m.cut_turns for m in others)
            first = "met" if found.cut_turns <= HALF * least else "missed"
            second = "met" if found.cut_turns <= CUT_INS else "missed"
            print(
                f"  {variant.name:<34}{_title(snr):>7}: {found.cut_turns:6.1%} against {least:6.1%}"
                f" ({first}); {CUT_INS:.0%} {second}"
            )


def print_defaults(heard: Sequence[Heard], settings: Settings) -> None:
    """What the settings as they are do to the half that is reported, with adapting as it is set."""
    print("the settings as they are: turns cut into, pauses, median delay, 90th percentile")
    fixed = Variant("Silero, silence alone")
    for variant in (fixed, *PREDICTING):
        for snr in (*sorted({h.turn.snr for h in heard}, key=str, reverse=True), "any"):
            mine = [
                h for h in heard if h.turn.spoken.half == "report" and snr in ("any", h.turn.snr)
            ]
            found = Manners.of([variant.end(one, settings.turns, settings.vad) for one in mine])
            print(
                f"  {variant.name:<34}{_title(snr):>7}: {found.cut_turns:6.1%} {found.cut_pauses:6.1%}"
                f" {found.delay_ms:5.0f} ms {found.late_ms:5.0f} ms"
            )


def _noises(curves: dict[Variant, list[Tried]]) -> list[float | None]:
    tried = next(iter(curves.values()))[0]
    return list(dict.fromkeys(noise for noise, _ in tried.outcomes["report"]))


def auc(scores: Sequence[float], over: Sequence[bool]) -> float:
    """How often an end has the higher score than a pause; 0.5 is chance."""
    values, ends = np.asarray(scores), np.asarray(over, bool)
    above = values[ends][:, None] - values[~ends][None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def print_separation(heard: Sequence[Heard]) -> None:
    """What each kind of evidence tells pauses from ends by, at each noise."""
    print("telling pauses from ends, area under the ROC curve (0.5 is chance, 1 perfect)")
    noises = list(dict.fromkeys(one.turn.snr for one in heard))
    titles = (*map(_title, noises), "all", "true words")
    print(f"  {'':<24}" + "".join(f"{title:>11}" for title in titles))
    kinds: tuple[tuple[Belief, ...], ...] = (
        ("melody",),
        ("rules",),
        ("judge",),
        ("rules", "judge"),
        ("melody", "rules", "judge"),
    )
    for kind in kinds:
        shares = [_auc(_pauses(heard, snr), kind) for snr in noises]
        shares.append(_auc(_pauses(heard), kind))
        known = [pause for pause in _pauses(heard) if pause.said]
        shares.append(_auc(known, kind, true_words=True))
        print(f"  {' + '.join(kind):<24}" + "".join(f"{share:11.3f}" for share in shares))
    marks = [
        (pause.over, pause.heard[-1:] in (".", "?", "!")) for pause in _pauses(heard) if pause.heard
    ]
    for over, what in ((True, "ends"), (False, "pauses")):
        share = statistics.fmean(marked for is_end, marked in marks if is_end is over)
        print(f"  {share:.0%} of the {what} have a full stop or question mark in the transcript")


def _auc(pauses: Sequence[Pause], beliefs: Sequence[Belief], *, true_words: bool = False) -> float:
    scores = []
    for pause in pauses:
        p = probability(pause.evidence(beliefs, true_words=true_words))
        scores.append(0.5 if p is None else p)
    return auc(scores, [pause.over for pause in pauses])


def _pauses(heard: Sequence[Heard], snr: float | None | str = "any") -> list[Pause]:
    return [p for h in heard if snr in ("any", h.turn.snr) for p in h.pauses.values()]


def _title(snr: float | None | str) -> str:
    if snr is None:
        return "clean"
    return "all" if isinstance(snr, str) else f"{snr:.0f} dB"


def fit(heard: Sequence[Heard]) -> None:
    """Print the weights of `pipeline.endpoint`, from these turns.

    Logistic regression with no negative weights. Half of the cases have the words as the embedded
    recogniser heard them, weighted by how sure it was, half as they are: other recognisers are
    better.
    """
    cases = []
    for pause in _pauses(heard):
        cases.append((pause.evidence(("melody", "rules", "judge")), pause.over))
        if pause.said:
            known = pause.evidence(("melody", "rules", "judge"), true_words=True)
            cases.append((known, pause.over))
    over = np.array([end for _, end in cases], np.float64)
    sure = np.array([evidence.sure**2 for evidence, _ in cases])
    melody = _centred([evidence.melody for evidence, _ in cases], np.ones(len(cases)))
    rules = _centred([evidence.words for evidence, _ in cases], sure)
    judged = _centred([evidence.judged for evidence, _ in cases], sure)
    kinds = {
        "judged, words, melody": (judged, rules, melody),
        "words alone": (rules,),
        "melody alone": (melody,),
    }
    for name, columns in kinds.items():
        matrix = np.stack([column for column, _ in columns], axis=1)
        weights, prior = _regression(matrix, over)
        middles = [round(middle, 2) for _, middle in columns]
        print(f"  {name}: weights {np.round(weights, 2)}, middles {middles}, prior {prior:.2f}")


def _centred(values: Sequence[float | None], sure: npt.NDArray[Any]) -> tuple[Any, float]:
    """Log-odds less their middle, 0 where there are none, by how sure they are; and the middle."""
    odds = np.array([np.nan if p is None else log_odds(p) for p in values])
    middle = float(np.nanmean(odds))
    return np.nan_to_num(odds - middle) * sure, middle


def _regression(matrix: Any, over: Any) -> tuple[Any, float]:
    """Weights, none below 0, and offset of a logistic regression, by gradient descent."""
    weights, offset = np.zeros(matrix.shape[1]), 0.0
    for _ in range(5000):
        wrong = 1 / (1 + np.exp(-(matrix @ weights + offset))) - over
        weights = np.maximum(0.0, weights - 0.05 * matrix.T @ wrong / len(over))
        offset -= 0.05 * float(wrong.mean())
    return weights, offset


def hear(settings: Settings, *, quick: bool = False) -> list[Heard]:
    """Make the turns and let all engines hear them; 4 minutes on one core, a quick run 40 s.

    Without Smart Turn on the disk there is no melody.

    Raises:
        BadInput: An embedded model is missing.
    """
    catalogue = Catalogue.load()
    found = catalogue.resolve("stt", "embedded")
    whisper = Whisper(found.path, settings.stt, short_windows=True)
    voice = PiperVoice.load(catalogue.resolve("tts", "embedded").path)
    try:
        melody = SmartTurn(catalogue.resolve("endpoint", "embedded").path)
    except BadInput as error:
        print(f"  without Smart Turn: {error}")
        melody = None
    spoken = [*recordings(whisper), *sentences(voice)]
    noises = (None, 10.0) if quick else NOISES
    heard = listen(turns(spoken[:: 3 if quick else 1], noises), whisper, melody, settings)
    asyncio.run(judge(heard, settings, catalogue))
    return heard


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
