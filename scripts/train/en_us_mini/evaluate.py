"""Measure a finished voice.

* Against the teacher, on the held-out sentences (``--data`` and ``--teacher``): mel-cepstral
  distortion (24 coefficients, dynamic time warping, speech frames), F0 error, speaking rate,
  and F0 spread; the vocoder's own floor is measured by resynthesising the teacher's features.
* Word error rate of pocketsphinx (its general US English model), and with ``--whisper`` that of
  a faster-whisper model, on teacher and voice: on the held-out sentences, and on ``--unseen``
  sentences, written apart from the corpus.
* Peaks, level, and real-time factor with 1 and 2 threads.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from faster_whisper import WhisperModel
from piper import PiperVoice, SynthesisConfig
from pocketsphinx import Decoder
from scipy.signal import resample_poly

from en_us_mini import teacher
from en_us_mini.examples import Example, load
from en_us_mini.export import SCALES
from en_us_mini.features import BANDS, SR, Array, analyse
from en_us_mini.vocoder import Vocoder
from shared.words import word_error_rate

PERIOD_MS = 8.0  # of the frames that are compared
_BANDS = np.arange(BANDS) + 0.5
# BANDS x 24: log envelope to cepstral coefficients 1 to 24
DCT = np.stack([2 / BANDS * np.cos(np.pi * m * _BANDS / BANDS) for m in range(1, 25)], 1)
RAW = SynthesisConfig(normalize_audio=False)
TEXTS = {
    "1s": "Hello, how are you?",
    "3s": "I am sorry, but I could not find the file you asked for.",
    "8s": "The quick brown fox jumps over the lazy dog, and then it sleeps for about "
    "three hundred seconds in the warm afternoon sun.",
}

Recogniser = Callable[[Array], str]


class Analysis(NamedTuple):
    """Frames of an utterance: cepstra (frames x 24), F0 in Hz, whether there is speech."""

    cepstra: Array
    f0: Array
    speech: Array


class Difference(NamedTuple):
    """How far an utterance is from the teacher's; F0 is NaN where nothing is voiced in both."""

    mcd_db: float
    f0_cents: float
    length_ratio: float


def frames(x: Array) -> Analysis:
    """Analyse an utterance; speech is what is at most 4 nepers below the loud parts."""
    env, f0 = analyse(np.ascontiguousarray(x, np.float64), PERIOD_MS)
    level = env.mean(1)
    return Analysis(env @ DCT, f0, level > np.percentile(level, 95) - 4.0)


def warp(a: Array, b: Array) -> list[tuple[int, int]]:
    """Dynamic time warping: the pairs of frames on the cheapest path through two utterances."""
    d = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    n, m = d.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for i in range(n):
        row = np.minimum(total[i, 1:], total[i, :-1]) + d[i]
        current, previous = total[i + 1], np.inf
        for j in range(m):
            previous = min(row[j], previous + d[i, j])
            current[j + 1] = previous
    path, i, j = [], n, m
    while i and j:
        path.append((i - 1, j - 1))
        best = np.argmin([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        i, j = [(i - 1, j - 1), (i - 1, j), (i, j - 1)][best]
    return path[::-1]


def compare(reference: Array, other: Array) -> Difference:
    """How far an utterance is from a reference."""
    a, b = frames(reference), frames(other)
    path = [(i, j) for i, j in warp(a.cepstra, b.cepstra) if a.speech[i] and b.speech[j]]
    distance = [np.sqrt(((a.cepstra[i] - b.cepstra[j]) ** 2).sum()) for i, j in path]
    cents = [1200 * abs(np.log2(a.f0[i] / b.f0[j])) for i, j in path if a.f0[i] and b.f0[j]]
    return Difference(
        mcd_db=10 * np.sqrt(2) / np.log(10) * float(np.mean(distance)),
        f0_cents=float(np.median(cents)) if cents else float("nan"),
        length_ratio=len(other) / len(reference),
    )


def f0_spread(utterances: Sequence[Array]) -> float:
    """Standard deviation of F0 in semitones, mean over utterances; NaN if nothing is voiced."""
    pitches = [frames(x).f0 for x in utterances]
    spreads = [np.std(12 * np.log2(f0[f0 > 0])) for f0 in pitches if (f0 > 0).any()]
    return float(np.mean(spreads)) if spreads else float("nan")


def sphinx() -> Recogniser:
    """Pocketsphinx with the US English model it brings."""
    decoder = Decoder(samprate=16000, loglevel="FATAL")

    def recognise(x: Array) -> str:
        x = resample_poly(np.concatenate([np.zeros(4000), x, np.zeros(4000)]), 320, 441)
        decoder.start_utt()
        decoder.process_raw((np.clip(x, -1, 1) * 32000).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        return decoder.hyp().hypstr if decoder.hyp() else ""

    return recognise


def whisper(folder: Path) -> Recogniser:
    """A faster-whisper model."""
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)

    def recognise(x: Array) -> str:
        x = resample_poly(x, 320, 441).astype(np.float32)
        segments, _ = model.transcribe(
            x, language="en", beam_size=1, condition_on_previous_text=False
        )
        return " ".join(segment.text for segment in segments)

    return recognise


def speed(path: Path, threads: int, repeats: int = 15) -> dict[str, Any]:
    """How long loading the model and synthesising three sentences takes (model only)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    report: dict[str, Any] = {"load_s": round(time.perf_counter() - start, 3)}
    voice = PiperVoice.load(path)
    for name, text in TEXTS.items():
        ids = np.array([voice.phonemes_to_ids(voice.phonemize(text)[0])])
        feed = {
            "input": ids,
            "input_lengths": np.array([ids.shape[1]]),
            "scales": np.array(list(SCALES.values()), np.float32),
        }
        times, samples = [], 0
        for _ in range(1 + repeats):
            start = time.perf_counter()
            samples = session.run(None, feed)[0].size
            times.append(time.perf_counter() - start)
        audio, median = samples / SR, float(np.median(times[1:]))
        report[name] = {
            "audio_s": round(audio, 2),
            "first_ms": round(times[0] * 1e3, 1),
            "best_ms": round(min(times[1:]) * 1e3, 1),
            "median_ms": round(median * 1e3, 1),
            "rtf_best": round(min(times[1:]) / audio, 4),
            "rtf_median": round(median / audio, 4),
        }
    return report


def say(voice: PiperVoice, text: str) -> Array:
    """An utterance of the voice at its own level, float64."""
    chunks = [chunk.audio_float_array for chunk in voice.synthesize(text, RAW)]
    return np.concatenate(chunks).astype(np.float64)


def copy(vocoder: Vocoder, item: Example) -> Array:
    """The teacher's features through the vocoder."""
    with torch.no_grad():
        audio = vocoder(
            torch.tensor(item["env"]).float(),
            torch.exp(torch.tensor(item["lf0"])),
            torch.tensor(item["voiced"]).float(),
            torch.tensor(item["mvf"]),
        )
    return audio.numpy().astype(np.float64)


def word_errors(
    recognisers: dict[str, Recogniser], texts: list[str], speakers: dict[str, list[Array]]
) -> dict[str, dict[str, float]]:
    """Word error rate of every speaker's utterances of the texts, by recogniser."""
    return {
        name: {
            speaker: round(word_error_rate(texts, [recognise(x) for x in audio]), 3)
            for speaker, audio in speakers.items()
        }
        for name, recognise in recognisers.items()
    }


def held_out_report(
    voice: PiperVoice, held_out: list[Example], folder: Path, recognisers: dict[str, Recogniser]
) -> dict[str, Any]:
    """The measurements on held-out sentences."""
    vocoder = Vocoder()
    read = [teacher.utterance(folder, item["number"]) for item in held_out]
    speakers = {
        "teacher": [said.audio for said in read if said],
        "copy": [copy(vocoder, item) for item in held_out],
        "student": [say(voice, item["text"]) for item in held_out],
    }
    report: dict[str, Any] = {"sentences": len(held_out)}
    for speaker in ("copy", "student"):
        pairs = zip(speakers["teacher"], speakers[speaker], strict=True)
        values = np.array([compare(reference, other) for reference, other in pairs])
        report[speaker] = {
            "mcd_db": round(values[:, 0].mean(), 2),
            "f0_cents_median": round(values[:, 1].mean(), 1),
            "length_ratio": round(values[:, 2].mean(), 3),
        }
    student = speakers["student"]
    peaks = [np.abs(x).max() for x in student]
    report["peak"] = {
        "min": round(min(peaks), 3),
        "mean": round(np.mean(peaks), 3),
        "max": round(max(peaks), 3),
    }
    report["rms_mean"] = round(np.mean([np.sqrt((x**2).mean()) for x in student]), 3)
    report["nan"] = bool(any(np.isnan(x).any() for x in student))
    report["f0_std_semitones"] = {
        speaker: round(f0_spread(speakers[speaker]), 2) for speaker in ("teacher", "student")
    }
    texts = [item["text"] for item in held_out]
    for name, rates in word_errors(recognisers, texts, speakers).items():
        report[f"wer_{name}"] = rates
    return report


def unseen_report(
    voice: PiperVoice, texts: list[str], recognisers: dict[str, Recogniser]
) -> dict[str, Any]:
    """The measurements on sentences written apart from the corpus."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "texts.txt"
        lines.write_text("\n".join(texts) + "\n", encoding="utf-8")
        teacher.say(lines, folder)
        speakers = {
            "teacher": [teacher.recording(folder, i) for i in range(len(texts))],
            "student": [say(voice, text) for text in texts],
        }
    rates = word_errors(recognisers, texts, speakers)
    return {f"wer_unseen_{name}": rate for name, rate in rates.items()}


def without_nan(value: Any) -> Any:
    """The same report with null for what is not a number, as JSON has no NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else float(value)
    return value


def main() -> None:
    """Measure a voice, print a report and perhaps write it."""
    ap = argparse.ArgumentParser(description="Measure a finished voice.")
    ap.add_argument("--voice", type=Path, required=True, help="the .onnx file")
    ap.add_argument("--data", type=Path, help="training examples; the first are held out")
    ap.add_argument("--teacher", type=Path, help="the teacher's recordings of them")
    ap.add_argument("--held-out", type=int, default=64)
    ap.add_argument("--unseen", type=Path, help="text file of sentences unlike the corpus")
    ap.add_argument("--limit", type=int, help="use at most this many sentences of either kind")
    ap.add_argument("--whisper", type=Path, help="folder of a faster-whisper model")
    ap.add_argument("--report", type=Path, help="write the report here, as JSON")
    args = ap.parse_args()
    if (args.data is None) != (args.teacher is None):
        ap.error("--data and --teacher go together")
    torch.set_num_threads(1)
    voice = PiperVoice.load(args.voice)
    recognisers = {"pocketsphinx": sphinx()}
    if args.whisper:
        recognisers["whisper"] = whisper(args.whisper)
    report: dict[str, Any] = {}
    if args.data:
        held_out = load(args.data)[: args.held_out][: args.limit]
        report |= held_out_report(voice, held_out, args.teacher, recognisers)
    if args.unseen:
        texts = args.unseen.read_text(encoding="utf-8").splitlines()[: args.limit]
        report |= unseen_report(voice, texts, recognisers)
    report["speed"] = {f"{n}_thread": speed(args.voice, n) for n in (1, 2)}
    text = json.dumps(without_nan(report), indent=1)
    print(text)
    if args.report:
        args.report.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
