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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pauses import NOISES, RATE, Floats, Half, Turn, recordings, sentences, turns, words
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

CUT_INS, DELAY_MS = 0.05, 600
"""The aim: at most so many paused turns cut into, at this median delay."""

HOLDS_MS = (160, 224, 288, 352, 416, 480, 576, 672, 800, 960, 1120, 1280, 1440)
SCALES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
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
class Manners:
    """How a setting treats turns.

    Attributes:
        cut_turns: Share of the turns with pauses that are ended inside one, or before the end.
        cut_pauses: Share of the pauses in which the turn is ended.
        delay_ms: Median from the end of the last word to the end of the turn.
        late_ms: The same, 90th percentile.
    """

    cut_turns: float
    cut_pauses: float
    delay_ms: float
    late_ms: float


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


def manners(
    heard: Sequence[Heard],
    settings: Turns,
    vad: Vad,
    evidence: Callable[[Pause], Evidence] | None = None,
    *,
    webrtc: bool = False,
) -> Manners:
    """Give the verdicts to the state machine and see where it ends the turns.

    Args:
        heard: Turns.
        settings: Of the state machine; it begins each turn anew.
        vad: Thresholds.
        evidence: What is known of a pause; None: silence alone decides.
        webrtc: Whether webrtcvad judges.
    """
    delays: list[float] = []
    paused = cut = pauses = cut_pauses = 0
    for one in heard:
        ends = _ends(one, settings, vad, evidence, webrtc=webrtc)
        turn = one.turn
        early = [at for at in ends if at < turn.end]
        late = [at for at in ends if at >= turn.end]
        # A turn that is never ended waits to the end of the recording at least.
        delays.append(((late[0] if late else len(turn.audio)) - turn.end) * 1000 / RATE)
        if turn.pauses:
            paused += 1
            cut += bool(early)
            pauses += len(turn.pauses)
            cut_pauses += sum(any(a < at <= b for at in early) for a, b in turn.pauses)
    return Manners(
        cut / max(1, paused),
        cut_pauses / max(1, pauses),
        statistics.median(delays),
        float(np.percentile(delays, 90)),
    )


def _ends(
    one: Heard,
    settings: Turns,
    vad: Vad,
    evidence: Callable[[Pause], Evidence] | None,
    *,
    webrtc: bool,
) -> list[int]:
    """Offsets at which the turn was ended."""
    taker = TurnTaker(settings, vad)
    ends: list[int] = []
    due: tuple[int, int, Evidence] | None = None
    for voice in one.webrtc if webrtc else one.silero:
        if due is not None and voice.start >= due[0]:
            taker.predicted(due[1], due[2])
            due = None
        for decision in taker.push(voice, speaking=False):
            match decision:
                case Paused():
                    pause = one.pauses.get(decision.speech_end)
                    if evidence is not None and pause is not None:
                        ready = decision.at + PREDICTED_MS * RATE // 1000
                        due = (ready, decision.speech_end, evidence(pause))
                case Ended():
                    ends.append(decision.at)
                    if decision.at >= one.turn.end:
                        return ends
    return ends


def auc(scores: Sequence[float], over: Sequence[bool]) -> float:
    """How often an end has the higher score than a pause; 0.5 is chance."""
    values, ends = np.asarray(scores), np.asarray(over, bool)
    above = values[ends][:, None] - values[~ends][None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def print_separation(heard: Sequence[Heard]) -> None:
    """What each kind of evidence tells pauses from ends by, at each noise."""
    print("telling pauses from ends, area under the ROC curve (0.5 is chance, 1 perfect)")
    titles = (*map(_title, NOISES), "all", "true words")
    print(f"  {'':<24}" + "".join(f"{title:>11}" for title in titles))
    kinds: tuple[tuple[Belief, ...], ...] = (
        ("melody",),
        ("rules",),
        ("judge",),
        ("rules", "judge"),
        ("melody", "rules", "judge"),
    )
    for kind in kinds:
        shares = [_auc(_pauses(heard, snr), kind) for snr in NOISES]
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


def _auc(
    pauses: Sequence[Pause], beliefs: Sequence[Belief], *, true_words: bool = False
) -> float:
    scores = []
    for pause in pauses:
        p = probability(pause.evidence(beliefs, true_words=true_words))
        scores.append(0.5 if p is None else p)
    return auc(scores, [pause.over for pause in pauses])


def _pauses(heard: Sequence[Heard], snr: float | None | str = "any") -> list[Pause]:
    return [p for h in heard if snr in ("any", h.turn.snr) for p in h.pauses.values()]


def _title(snr: float | None) -> str:
    return "clean" if snr is None else f"{snr:.0f} dB"


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
