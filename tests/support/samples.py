"""Synthetic profiles: plausible turns of three variants, with their stereo WAVs if wanted.

No engine runs: times are drawn from a seeded generator, so that two calls give the same profile.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.files import WavWriter
from pipeline.measure.record import Record, Span
from pipeline.trace import Timeline

MS = 1_000_000
RATE = 16000
LEAD_MS = 400
TAIL_MS = 300

SAID = {
    "capital-of-france.wav": ("What is the capital of France?", "Paris. It lies on the Seine."),
    "timer-ten-minutes.wav": ("Set a timer for ten minutes.", "Ten minutes, starting now."),
    "weather-tomorrow.wav": (
        "Will it rain tomorrow?",
        "I cannot see the weather from here, sorry.",
    ),
    "seven-times-eight.wav": ("How much is seven times eight?", "Seven times eight is fifty-six."),
    "spell-necessary.wav": ("How do you spell necessary?", "One c, then two s: necessary."),
    "tell-a-story.wav": ("Tell me a short story.", "A fox found a key. It opened nothing at all."),
    "noisy-kitchen.wav": ("Turn the oven to low.", "I have no hands, but low sounds right."),
    "zürich-train.wav": ("When does the train to Zürich leave?", "I do not know; ask the station."),
}
VARIANTS = ("sequential", "overlapped", "speculative")


def header(variants: tuple[str, ...] = VARIANTS) -> dict[str, Any]:
    """What describes the run, as `cascade profile` writes it."""
    return {
        "started": "2026-11-20T09:41:07+0000",
        "machine": {
            "system": "Linux-6.1.0-x86_64-with-glibc2.36",
            "processor": "AMD EPYC 9B45",
            "cores": 2,
            "python": "3.11.2",
        },
        "versions": {"voice-cascade": "0.1.0", "faster-whisper": "1.2.1", "piper-tts": "1.8.0"},
        "models": {"stt": "whisper-mini-en", "llm": "smollm2-135m-instruct", "tts": "en_US-mini"},
        "settings": {
            "turns": {"hold_ms": 600, "longest_ms": 1500},
            "stt": {"model": "whisper-mini-en", "threads": 1},
            "llm": {"model": "smollm2-135m-instruct", "url": ""},
            "tts": {"voice": "en_US-mini"},
        },
        "variants": {name: {"mode": name} for name in variants},
        "seed": 7,
        "noise": {
            "readings": 7,
            "loop_ms": {"before": 9.41, "after": 9.52, "max": 9.71, "min": 9.38, "median": 9.47},
            "relative": 0.0132,
            "drift": 0.0117,
            "load": {"before": 0.31, "after": 0.88, "max": 0.93, "min": 0.31},
            "mhz": None,
        },
        "interrupted": False,
    }


def profile(
    folder: Path | None = None,
    *,
    variants: tuple[str, ...] = VARIANTS,
    files: tuple[str, ...] = tuple(SAID),
    repeats: int = 3,
    seed: int = 7,
) -> tuple[dict[str, Any], list[Record]]:
    """A profile: a warm-up of each variant, then all files `repeats` times, interleaved.

    Args:
        folder: Where to write the stereo WAVs (into `wav/`); None writes none.
        variants: Which; others than the three modes behave as `overlapped`.
        files: Names of recordings, of `SAID`.
        repeats: How often each is played.
        seed: Of all that is drawn.

    Returns:
        The header and the records. One in some forty turns failed, timed out or got no reply.
    """
    draw = random.Random(seed)
    jobs = [(variant, files[0], 0) for variant in variants]
    for repeat in range(1, repeats + 1):
        block = [(variant, file, repeat) for variant in variants for file in files]
        draw.shuffle(block)
        jobs += block
    if folder is not None:
        (folder / "wav").mkdir(parents=True, exist_ok=True)
    records = [turn(order, *job, draw=draw, folder=folder) for order, job in enumerate(jobs)]
    return header(variants), records


def turn(
    order: int, variant: str, file: str, repeat: int, *, draw: random.Random, folder: Path | None
) -> Record:
    """One turn. The ninth fails, the 20th times out, the 31st is not understood."""
    said, answer = SAID[file]
    origin = (1_000 + 9_000 * order) * MS
    spoken = 900 + 45 * len(said)
    slow = draw.uniform(1.6, 1.9) if repeat == 0 else draw.lognormvariate(0, 0.12)
    times, spans = _work(variant, answer, slow, draw)
    times |= {"speech.start": -spoken, "speech.end": 0.0, "vad.stop": 190.0}
    spans += [("user", said, -spoken, 0.0), ("endpoint", "hold", 0.0, times["committed"])]
    wasteful = variant == "speculative" and order % 7 == 0
    if wasteful:
        spans += [("stt", "dropped: transcribe", -420, -371), ("llm", "dropped: I", -370, -240)]
    end = origin + (LEAD_MS + spoken) * MS
    common: dict[str, Any] = {
        "variant": variant,
        "file": file,
        "repeat": repeat,
        "order": order,
        "end_of_speech": "label" if order % 4 else "detector",
        "wav": f"wav/{order:04d}.wav" if folder else "",
        "wav_start_ns": origin,
        "expected": said,
        "cpu_ns": int(slow * 640 * MS),
    }
    outcome = {9: "failed", 20: "timeout", 31: "no reply"}.get(order, "ok")
    if outcome != "ok":
        reached = {"failed": 300.0, "timeout": 950.0, "no reply": 800.0}[outcome]
        times = {name: at for name, at in times.items() if at <= reached}
        spans = [span for span in spans if span[2] <= reached]
    marks = {name: end + round(at * MS) for name, at in times.items()}
    kept = tuple(
        Span(lane, name, end + round(a * MS), end + round(b * MS)) for lane, name, a, b in spans
    )
    if folder is not None:
        sounds = [(a, b) for lane, _, a, b in spans if lane == "speaker"]
        _write_wav(folder / common["wav"], spoken, sounds, draw)
    if outcome != "ok":
        reason = {
            "failed": "llm: the server closed the connection before the first token",
            "timeout": "no reply within 15 s of the end of speech",
            "no reply": "nothing was understood",
        }[outcome]
        return Record(**common, status=outcome, reason=reason, marks=marks, spans=kept)
    gap = sum(b - a for lane, _, a, b in spans if lane == "gap")
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    return Record(
        **common,
        status="ok",
        marks=marks,
        spans=kept,
        wav_voice_to_voice_ns=timeline.total_ns + round(draw.gauss(3, 4) * MS),
        transcript=said.replace("oven", "often") if "noisy" in file else said,
        reply=answer,
        underrun_ns=round(gap * MS),
        wasted={"attempts": 1, "tokens": 6} if wasteful else {},
    )


def _work(
    variant: str, answer: str, slow: float, draw: random.Random
) -> tuple[dict[str, float], list[tuple[str, str, float, float]]]:
    """Marks and spans of the work on a reply, in ms after the end of speech."""
    hold = 600 + draw.uniform(0, 32)
    begin = 232 + draw.uniform(0, 20) if variant == "speculative" else hold + draw.uniform(0.2, 1)
    words = answer.split()
    stt = begin + slow * draw.uniform(38, 70)
    request = stt + draw.uniform(0.3, 1.2)
    token = slow * draw.uniform(11, 15)
    first = request + slow * draw.uniform(85, 140)
    tokens = [first + token * index for index in range(len(words))]
    done = tokens[-1] + token
    clause = done if variant == "sequential" else tokens[min(3, len(tokens) - 1)] + 0.4
    cost = slow * draw.uniform(15, 19)
    clauses = [words] if variant == "sequential" else [words[:4], words[4:]]
    spans = [("stt", "transcribe", begin, stt), ("llm", "first token", request, first)]
    spans += [("llm", word, at, at + token * 0.8) for word, at in zip(words, tokens, strict=True)]
    ready: list[tuple[float, float]] = []
    at = clause + draw.uniform(0.2, 0.8)
    start = at
    for part in filter(None, clauses):
        at = max(at, start if not ready else done)
        spans.append(("tts", " ".join(part), at, at + cost * len(part)))
        ready.append((at + cost * min(3, len(part)), 210.0 * len(part)))
        at += cost * len(part)
    committed = hold
    played = max(ready[0][0], committed) + draw.uniform(0.3, 1.5)
    heard = played + draw.uniform(20, 29)
    cursor = heard
    for index, (there, length) in enumerate(ready):
        there += draw.choice([0, 0, 0, 0, 0, 1400]) if index else 0
        if there + 20 > cursor:
            if index:
                spans.append(("gap", "next clause late", cursor, there + 20))
            cursor = max(cursor, there + 20) if index else cursor
        spans.append(
            ("speaker", " ".join(list(filter(None, clauses))[index]), cursor, cursor + length)
        )
        cursor += length
    times = {
        "provisional": begin if variant == "speculative" else 232.0,
        "stt.start": begin,
        "stt.final": stt,
        "llm.request": request,
        "llm.first_token": first,
        "clause.first": clause,
        "tts.start": start,
        "tts.first_audio": ready[0][0],
        "committed": committed,
        "playout.first": played,
        "heard.first": heard,
        "llm.last_token": done,
        "tts.last_audio": at,
        "playout.last": cursor - 25,
        "heard.last": cursor,
    }
    return times, spans


def _write_wav(
    path: Path, spoken: float, sounds: Sequence[tuple[float, float]], draw: random.Random
) -> None:
    """User left, reply right: syllable-like bursts of a hum, each where its edges say."""
    length = LEAD_MS + spoken + max((last for _, last in sounds), default=1500) + TAIL_MS
    stereo = np.zeros((int(length * RATE / 1000), 2), np.float32)
    _speak(stereo[:, 0], LEAD_MS, LEAD_MS + spoken, 110 + draw.uniform(0, 60))
    for first, last in sounds:
        _speak(stereo[:, 1], LEAD_MS + spoken + first, LEAD_MS + spoken + last, 200.0)
    writer = WavWriter(path, RATE, 2)
    writer.write(np.round(stereo * 32767).astype(np.int16))
    writer.close()


def _speak(channel: np.ndarray[Any, Any], from_ms: float, to_ms: float, pitch: float) -> None:
    first, last = int(from_ms * RATE / 1000), int(to_ms * RATE / 1000)
    t = np.arange(last - first) / RATE
    syllables = 0.25 + 0.75 * np.abs(np.sin(2 * np.pi * 2.1 * t)) ** 0.7
    hum = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in (1, 2, 3, 5))
    channel[first:last] = 0.18 * hum * syllables
