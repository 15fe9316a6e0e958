"""A thousand turns of one session, in virtual time."""

from __future__ import annotations

import time

from figures import Aims
from support import endurance


def stability(aims: Aims, rounds: int, *, quick: bool) -> None:
    """Hold the conversation and print what it left.

    Args:
        aims: Takes what was aimed at.
        rounds: How many conversations, each with other chances.
        quick: A fifth of the turns.
    """
    print("one session for a thousand turns, in virtual time: pauses, interruptions, failures")
    for seed in range(1, rounds + 1):
        began = time.monotonic()
        report = endurance.hold(200 if quick else 1000, seed)
        events = ", ".join(f"{name} {n}" for name, n in sorted(report.counts.items()))
        failures = ", ".join(f"{stage} {n}" for stage, n in sorted(report.failures.items()))
        print(f"  {report.turns} turns in {time.monotonic() - began:.0f} s; events: {events}")
        print(f"  failures made: {failures}")
        print(
            f"  most tasks at once {report.most_tasks}; left: tasks {report.tasks}, threads "
            f"{report.threads}, streams of engines {report.open}; memory {report.grown:+,} bytes"
        )
        aims.most("tasks and threads left after a long session", report.tasks + report.threads, 0)
        aims.most("turns without an end", len(report.unanswered), 0)
        aims.most("stuck states", len(report.stuck), 0)
        aims.most("memory grown", report.grown / 1000, 500, "kB")
        for line in report.stuck[:5]:
            print(f"    {line}")
