"""What listening and speculation cost: CPU time of the whole process, and work thrown away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from figures import Aims, show
from latency import SHORT, recording
from studio import Studio, Talk

from pipeline.audio.audible import ending, onset
from pipeline.clock import NS_PER_S
from pipeline.events import Samples

PAIRS = ((17, 15), (26, 3), (6, 28))
"""Development recordings that are joined to one turn, with a pause in between."""

SHORTEST_S, LONGEST_S = 0.25, 0.6
"""Of the pauses: each is long enough for a provisional end."""

PATIENT = {
    "CASCADE_TURNS__PREDICT": "false",
    "CASCADE_TURNS__HOLD_MS": "900",
}
"""A hold that survives all of the pauses, so that each costs what was begun in it."""

WARM_S = 2.0
"""After the start, until nothing of it is left to do."""


@dataclass
class Cost:
    """What the turns of one mode cost.

    Attributes:
        speech: CPU seconds for a minute of the user's speech, one for each turn.
        turns: CPU seconds for a turn, from its first sound to the end of its reply.
        attempts: How many answers were begun, by turn.
        discarded: The trace's lines of those that were thrown away.
    """

    speech: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    discarded: list[dict[str, Any]] = field(default_factory=list)


def cost(studio: Studio, aims: Aims, rounds: int, *, quick: bool) -> None:
    """Measure and print; nothing is aimed at.

    Args:
        studio: The devices.
        aims: Left as they are.
        rounds: How often everything is done.
        quick: Do less of it.
    """
    print("CPU time of the whole process, start-up left out")
    with Talk(studio, env=SHORT) as talk:
        time.sleep(WARM_S)
        values = [_silence(talk, 3.0 if quick else 6.0) for _ in range(3 * rounds)]
    show("a minute of silence", values, "s")
    turns = [_turn(first, second) for first, second in (PAIRS[:1] if quick else PAIRS)]
    found = {mode: Cost() for mode in ("speculative", "overlapped")}
    for number in range(rounds):
        for mode in found if number % 2 == 0 else reversed(found):
            _speak(studio, mode, turns, found[mode])
    for mode, measured in found.items():
        print(f" {mode}; turns with a pause inside, one survived provisional end or more each")
        show("a minute of the user's speech", measured.speech, "s")
        show("a turn with its reply", measured.turns, "s")
        _show_waste(measured)


def _silence(talk: Talk, seconds: float) -> float:
    """CPU seconds for a minute in which nobody speaks."""
    cpu, began = talk.cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (talk.cpu_s() - cpu) / (time.monotonic() - began) * 60


def _turn(first: int, second: int) -> tuple[str, Samples]:
    """Two recordings in one breath, nearly."""
    pause = Random(first).uniform(SHORTEST_S, LONGEST_S)
    silence = np.zeros(int(pause * 16_000), np.int16)
    name = f"dev_{first:02} {pause * 1000:.0f} ms dev_{second:02}"
    return name, np.concatenate([_sound(first), silence, _sound(second)])


def _sound(number: int) -> Samples:
    samples = recording(number)
    return samples[onset(samples, 16_000) : ending(samples, 16_000)]


def _speak(studio: Studio, mode: str, turns: Sequence[tuple[str, Samples]], measured: Cost) -> None:
    """Hold a conversation of these turns, and add what it cost."""
    with Talk(studio, "--mode", mode, env={**PATIENT, **SHORT}) as talk:
        time.sleep(WARM_S)
        for name, samples in turns:
            cpu = talk.cpu_s()
            play = talk.play(name, samples)
            spent = talk.cpu_s() - cpu
            measured.speech.append(spent / ((play.end_ns - play.start_ns) / NS_PER_S) * 60)
            talk.wait(lambda since=play.start_ns: talk.answered(since), f"answered {name}")
            measured.turns.append(talk.cpu_s() - cpu)
    lines = talk.trace()
    # Without speculation an answer is begun only once, after the commit.
    for turn in sorted({line["turn"] for line in lines}):
        measured.attempts.append(
            sum(line["turn"] == turn and line["mark"] == "stt.start" for line in lines)
        )
    measured.discarded += [line for line in lines if line["mark"] == "discarded"]


def _show_waste(measured: Cost) -> None:
    show("answers begun, a turn", measured.attempts, "")
    waste = measured.discarded
    print(f"  thrown away: {len(waste)} answers in {len(measured.attempts)} turns")
    if waste:
        share = sum(line["transcribed"] for line in waste) / len(waste)
        print(f"    of which transcribed: {share:.0%}")
        show("    characters written by the model", [w["characters"] for w in waste], "")
        show("    speech made", [w["speech_ms"] for w in waste], "ms")
