"""What the engines make of turns with pauses: the words, what they are worth, the melody.

The real engines hear every turn of `pauses.py` once: the voice detectors each window, at each short
silence the recogniser the words, the rules and the language model what those are worth, Smart Turn
the melody. Here is also how well each tells pauses from ends, and how much it shall count.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pauses import NOISES, RATE, Floats, Turn, recordings, sentences, turns
from piper import PiperVoice

from pipeline.catalogue import Catalogue
from pipeline.completeness import completeness
from pipeline.config import Settings
from pipeline.endpoint import Evidence, log_odds, probability
from pipeline.errors import BadInput
from pipeline.stages.endpoint import SmartTurn
from pipeline.stages.llm_judge import TextJudge
from pipeline.stages.llm_local import LocalServer
from pipeline.stages.stt import Whisper
from pipeline.stages.vad import Voice, VoiceDetector
from pipeline.turns import Began, Paused, TurnTaker

Belief = Literal["melody", "rules", "judge"]

Noise = float | str | None
"""A signal-to-noise ratio (dB); None: the room alone; "any": all of them."""

SLACK = RATE // 5
"""So much before the true end the detector may lose the last sound."""


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


def auc(scores: Sequence[float], over: Sequence[bool]) -> float:
    """How often an end has the higher score than a pause; 0.5 is chance."""
    values, ends = np.asarray(scores), np.asarray(over, bool)
    above = values[ends][:, None] - values[~ends][None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


def print_separation(heard: Sequence[Heard]) -> None:
    """What each kind of evidence tells pauses from ends by, at each noise."""
    print("telling pauses from ends, area under the ROC curve (0.5 is chance, 1 perfect)")
    noises = list(dict.fromkeys(one.turn.snr for one in heard))
    titles = (*map(title, noises), "all", "true words")
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


def _pauses(heard: Sequence[Heard], snr: Noise = "any") -> list[Pause]:
    return [p for h in heard if snr in ("any", h.turn.snr) for p in h.pauses.values()]


def title(snr: Noise) -> str:
    """A noise as the tables call it."""
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
