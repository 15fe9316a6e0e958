"""How well people are heard: `scripts/bench hear FOLDER`.

The recogniser hears every recording of a folder at several lengths of the encoder's input, and as
the product sets it. FOLDER has a `manifest.tsv` (path, transcript, and maybe kind), or what
`cascade profile` reads. Times are processor time of one thread.

Several recordings of one folder, one after the other, make long utterances, which are heard whole
and as a session hears them, in virtual time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
import sounds
from ears import Ears, play
from figures import run_bench, show_machine
from support.real_engines import as_audio
from whisper_normalizer.english import EnglishTextNormalizer

from pipeline.config import Settings, TurnSettings, load
from pipeline.engines.vad import VoiceDetector
from pipeline.engines.whisper import (
    COMPUTE_TYPE,
    FULL_S,
    RATE,
    WINDOW_S,
    Known,
    Transcription,
    Whisper,
    said_twice,
)
from pipeline.events import Samples
from pipeline.models.catalogue import Catalogue
from pipeline.turns.taker import Ended, Suspected, TurnTaker

WINDOWS = (5.0, 10.0, 12.0, 15.0, 20.0, FULL_S)
"""Lengths of the encoder's input (s) to compare with the product's own."""

QUIET_DBFS = -70.0
"""RMS of the pauses in long utterances."""

SENTENCE_WORDS = 3
"""Fewer words are no sentence of a long utterance."""

SHORT_S = 3.6
"""Recordings up to this long count as short utterances; a quarter of them is the word itself."""

CHUNKS = ((1.5, 7.0), (3.0, 9.0))
"""Pieces of a long noise that are heard as they are: (length, distance), in seconds."""

LOUDER_DB = 15.0
"""Sounds are also played so much louder."""

LONG_S, GAPS_S, ORDERS = 28.0, (0.25, 0.9), 3
"""Long utterances have so many seconds at most, pauses between these lengths (s), which half of the
pauses in free speech have, and their sentences in so many orders."""

_NUMBER = re.compile(r"\d")

normal: Callable[[str], str] = EnglishTextNormalizer()
"""Whisper's own: words as published word error rates count them."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, or a piece of one.

    Attributes:
        name: Path in its folder; pieces of one recording share it.
        pcm: int16, mono, 16 kHz.
        said: What is said; empty where nobody says.
        noise: Whether nothing is said.
        voiced_ms: How much of it the voice detector takes for speech.
    """

    name: str
    pcm: Samples
    said: str
    noise: bool
    voiced_ms: float

    @property
    def text(self) -> str:
        """What is said, as the normaliser writes it."""
        return normal(self.said)

    @property
    def half(self) -> str:
        """The half it belongs to: the guard was fitted on one and is reported on the other."""
        return "fitted" if hashlib.sha256(self.name.encode()).digest()[0] % 2 else "held out"


@dataclass(frozen=True, slots=True)
class Heard:
    """What was made of a clip, and the processor time it took (s)."""

    clip: Clip
    found: Transcription
    took_s: float

    @property
    def text(self) -> str:
        """As the normaliser writes it."""
        return normal(self.found.text)


def clips_of(folder: Path, settings: Settings) -> list[Clip]:
    """All recordings of the folder; what cannot be read is told and left out.

    Raises:
        BadInput: There is none.
    """
    return [
        Clip(one.name, pcm, one.said, one.noise, voiced_ms(pcm, settings))
        for one, pcm in sounds.readable(sounds.listed(folder))
    ]


def voiced_ms(pcm: Samples, settings: Settings) -> float:
    """How much of a recording the voice detector takes for speech, with silence after it (ms)."""
    verdicts = VoiceDetector().push(np.concatenate([pcm, np.zeros(RATE, np.int16)]))
    voiced = [v for v in verdicts if v.probability >= settings.vad.release]
    return sum(v.end - v.start for v in voiced) * 1000 / RATE


def cuts(clip: Clip, settings: Settings, *, speaking: bool) -> list[Clip]:
    """What of a recording would reach the recogniser: turns, or looks at a voice over a reply."""
    pcm = np.concatenate([np.zeros(RATE // 2, np.int16), clip.pcm, np.zeros(2 * RATE, np.int16)])
    taker, found = TurnTaker(settings.turns, settings.vad), []
    for voice in VoiceDetector().push(pcm):
        for decision in taker.push(voice, speaking=speaking and not taker.in_speech):
            match decision:
                case Ended() if not speaking:
                    part = pcm[decision.start : decision.end]
                case Suspected():
                    part = pcm[decision.start : decision.at]
                case _:
                    continue
            found.append(Clip(clip.name, part, clip.said, clip.noise, decision.voiced_ms))
    return found


def chunks(clip: Clip, settings: Settings) -> list[Clip]:
    """The recording itself, or pieces of it where it is long."""
    if len(clip.pcm) <= 8 * RATE:
        return [clip]
    found = []
    for length, distance in CHUNKS:
        step, n = int(distance * RATE), int(length * RATE)
        for start in range(0, len(clip.pcm) - n + 1, step):
            part = clip.pcm[start : start + n]
            found.append(Clip(clip.name, part, "", True, voiced_ms(part, settings)))
    return found


def hear(whisper: Whisper, clips: Sequence[Clip]) -> list[Heard]:
    """Recognise them all, as they are."""
    found = []
    for clip in clips:
        audio = as_audio(clip.pcm)
        began = time.process_time()
        transcription = whisper.transcribe(audio, Known(clip.voiced_ms))
        found.append(Heard(clip, transcription, time.process_time() - began))
    return found


def print_windows(heard: dict[str, list[Heard]]) -> None:
    """Errors and times by length of the encoder's input."""
    print(
        f"  {'window':<12}{'word errors':>12}{'exactly right':>15}{'median time':>13}"
        f"{'of 30 s':>9}{'mean':>7}{'to 30 s':>9}{'said twice':>12}"
    )
    full = heard["30 s"]
    for title, ones in heard.items():
        ratios = [one.took_s / other.took_s for one, other in zip(ones, full, strict=True)]
        mean = sum(one.took_s for one in ones) / sum(one.took_s for one in full)
        short = [one for one in ones if len(one.clip.pcm) < (FULL_S - 1) * RATE]
        back = 0 if title == "30 s" else sum(one.found.window_s == FULL_S for one in short)
        twice = sum(bool(said_twice(one.text)) and not said_twice(one.clip.text) for one in ones)
        print(
            f"  {title:<12}{errors(ones):>10.1f} %{right(ones):>13.1f} %"
            f"{statistics.median(one.took_s for one in ones) * 1000:>10.0f} ms"
            f"{statistics.median(ratios):>9.2f}{mean:>7.2f}{back:>9}{twice:>12}"
        )


def digits(text: str) -> str:
    """The digits of a text, spaced; words for numbers are numbers, but a mere "oh" is no zero."""
    return " ".join(_NUMBER.findall(normal(re.sub(r"(?i)\boh\b", " ", text))))


def errors(heard: Sequence[Heard]) -> float:
    """Word errors (%)."""
    return 100 * float(jiwer.wer([one.clip.text for one in heard], [one.text for one in heard]))


def right(heard: Sequence[Heard]) -> float:
    """Recordings without an error (%)."""
    return 100 * sum(one.text == one.clip.text for one in heard) / len(heard)


def print_numbers(heard: dict[str, list[Heard]]) -> None:
    """How spoken numbers fare: digits of the transcripts that were heard, in order."""
    print("  numbers: recordings with digits in the transcript")
    for title, ones in heard.items():
        some = [one for one in ones if digits(one.clip.said)]
        if not some:
            print("    none")
            return
        said = [digits(one.clip.said) for one in some]
        got = [digits(one.found.text) for one in some]
        found = jiwer.process_words(said, got)
        print(
            f"    {title:<12}{sum(a == b for a, b in zip(said, got, strict=True)):>4} of "
            f"{len(some)} have all their digits; of {sum(len(t.split()) for t in said)} digits "
            f"{found.deletions} lost, {found.substitutions} wrong, {found.insertions} too many"
        )


def print_guard(whisper: Whisper, clips: Sequence[Clip], settings: Settings) -> None:
    """What share of sounds gives words, and of short utterances none, by half."""
    noises = [clip for clip in clips if clip.noise]
    # As recorded, few pass the detector.
    loud = [replace(one, pcm=sounds.amplified(one.pcm, LOUDER_DB)) for one in noises]
    short = [c for c in clips if c.text and len(c.pcm) <= SHORT_S * RATE]
    turns, over = (
        [part for one in [*noises, *loud] for part in cuts(one, settings, speaking=speaking)]
        for speaking in (False, True)
    )
    kinds = {
        "sounds, as they are": [part for clip in noises for part in chunks(clip, settings)],
        "sounds, cut as turns": turns,
        "sounds, over a reply": over,
        "short utterances, as they are": short,
        "short utterances, cut as turns": [
            part for one in short for part in cuts(one, settings, speaking=False)
        ],
    }
    print("  guard: sounds that give words (at most 5 %), short utterances lost (at most 2 %)")
    for title, some in kinds.items():
        heard = hear(whisper, some)
        cells = []
        for half in ("fitted", "held out"):
            ones = [one for one in heard if one.clip.half == half]
            bad = sum((one.found.text == "") != one.clip.noise for one in ones)
            share = f"{100 * bad / len(ones):.1f} %" if ones else "-"
            cells.append(f"{half} {bad:>3} of {len(ones):<4}{share:>7}")
        print(f"    {title:<32}{'   '.join(cells)}")


def long_clips(clips: Sequence[Clip], settings: Settings) -> Iterator[Clip]:
    """Utterances of several sentences of one folder, with quiet around them."""
    folders: dict[Path, list[Clip]] = {}
    for clip in clips:
        if len(clip.text.split()) >= SENTENCE_WORDS:
            folders.setdefault(Path(clip.name).parent, []).append(clip)
    for folder, sentences in folders.items():
        if sum(len(clip.pcm) for clip in sentences) < LONG_S / 2 * RATE:
            continue
        for seed in range(ORDERS):
            draw = np.random.default_rng(seed)
            parts, said, length = [sounds.quiet(0.5, QUIET_DBFS, draw)], [], 0
            for i in draw.permutation(len(sentences)):
                pcm = trimmed(sentences[i].pcm, settings)
                if length + len(pcm) > LONG_S * RATE:
                    continue
                parts += [pcm, sounds.quiet(draw.uniform(*GAPS_S), QUIET_DBFS, draw)]
                length += sum(map(len, parts[-2:]))
                said.append(sentences[i].said)
            pcm = np.concatenate([*parts, sounds.quiet(3.0, QUIET_DBFS, draw)])
            yield Clip(
                f"{folder}, order {seed}", pcm, " ".join(said), False, voiced_ms(pcm, settings)
            )


def trimmed(pcm: Samples, settings: Settings) -> Samples:
    """A recording from its first voice to its last, and 0.1 s around, all of them as loud."""
    verdicts = VoiceDetector().push(np.concatenate([pcm, np.zeros(RATE, np.int16)]))
    voice = [v for v in verdicts if v.probability >= settings.vad.threshold]
    around = RATE // 10
    return sounds.to_level(pcm[max(0, voice[0].start - around) : voice[-1].end + around])


def print_long(whisper: Whisper, clips: Sequence[Clip], settings: Settings) -> None:
    """Errors and times of long utterances, whole and as a session hears them.

    The session takes no pause in them for the end.
    """
    long = [*long_clips(clips, settings)]
    if not long:
        return
    whole, parts, ears = hear(whisper, long), [], Ears(settings)
    patient = Settings(turns=TurnSettings(predict=False, hold_ms=2500))
    for clip in long:
        turns = play(ears, clip.pcm, patient).turns
        last_s, window_s = ears.took[-1]
        text = " ".join(turn.text for turn in turns)
        parts.append(Heard(clip, Transcription(text, "en", 0.0, 0.0, window_s), last_s))
    print(f"  {len(long)} long utterances; the last recognition of each")
    for title, ones in (("whole", whole), ("as it is said", parts)):
        windows = [one.found.window_s for one in ones]
        print(
            f"    {title:<15}{errors(ones):>6.1f} % word errors, median "
            f"{statistics.median(one.took_s for one in ones) * 1000:.0f} ms, window "
            f"{statistics.median(windows):.0f} s, at most {max(windows):.0f} s"
        )


def bench(name: str, clips: Sequence[Clip], settings: Settings) -> None:
    """Print everything about one model."""
    stt = settings.stt.model_copy(update={"model": name, "threads": 1})
    settings = settings.model_copy(update={"stt": stt})
    model = Catalogue.load().resolve("stt", name)
    print(f"{name}, {COMPUTE_TYPE}, one thread")
    people = [clip for clip in clips if clip.text]
    whispers = {}
    for title, window, window_s in (
        *((f"{window_s:g} s", "padded", window_s) for window_s in WINDOWS),
        ("default", stt.window, WINDOW_S),
    ):
        whispers[title] = Whisper(
            model.path,
            stt.model_copy(update={"window": window}),
            short_windows=model.short_windows,
            window_s=window_s,
        )
        whispers[title].warm()
    # They take turns, so that a machine whose speed drifts does the same to all.
    heard: dict[str, list[Heard]] = {title: [] for title in whispers}
    for clip in people:
        for title, whisper in whispers.items():
            heard[title] += hear(whisper, [clip])
    if people:
        print(f"  {len(people)} recordings of people with a transcript")
        print_windows(heard)
        print_numbers(heard)
        print_long(whispers["default"], people, settings)
    print_guard(whispers["default"], clips, settings)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench hear", description=__doc__)
    parser.add_argument("folder", type=Path, help="recordings")
    parser.add_argument(
        "--model", action="append", help="a name or folder (default: the settings')"
    )
    options = parser.parse_args()
    show_machine()
    settings = load()
    clips = clips_of(options.folder, settings)
    for name in options.model or [settings.stt.model]:
        bench(name, clips, settings)


run_bench(main)
