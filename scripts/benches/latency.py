"""How long after the user's last sound the reply begins, in each mode, heard from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from figures import Aims, median, show, show_all
from sounds import recording
from studio import Outside, Play, Studio, Talk

from pipeline.clock import NS_PER_S
from pipeline.events import Samples
from pipeline.trace import PARTS, Timeline

QUESTIONS = (11, 14, 2, 29, 8, 25)
"""Development recordings: whole sentences, five voices of three synthesisers."""

FIXED = {
    "CASCADE_TURNS__PREDICT": "false",
    "CASCADE_TURNS__HOLD_MS": "500",
}
"""The same endpoint whatever is said: a hold at least as long as the stages need."""

SHORT = {"CASCADE_LLM__MAX_TOKENS": "12"}
"""Replies of one clause or two: how they begin is measured, and nobody waits for the rest."""

MODES = {
    "speculative": (("--mode", "speculative"), FIXED),
    "overlapped": (("--mode", "overlapped"), FIXED),
    "default settings": ((), {}),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One turn.

    Attributes:
        total_ms: Voice-to-voice, from outside.
        endpoint_ms: Of it the wait for the end of the turn: until it was committed.
        timeline: What the trace says.
        end_ms: How much later the trace has the user's last sound than it was heard outside.
        begin_ms: How much later it has the reply's first sound.
    """

    total_ms: float
    endpoint_ms: float
    timeline: Timeline
    end_ms: float
    begin_ms: float

    @property
    def residual_ms(self) -> float:
        """What is left without the wait for the end of the turn."""
        return self.total_ms - self.endpoint_ms

    @property
    def hidden(self) -> float:
        """Share of the stages' work up to the first sound that nobody waited for."""
        ahead = sum(self.timeline.hidden[name] for name in self.timeline.hidden if name != "device")
        waited = sum(self.timeline.parts[name] for name in PARTS[1:-2])
        return ahead / max(1, ahead + waited)


def latency(studio: Studio, aims: Aims, rounds: int, *, quick: bool) -> None:
    """Measure and print.

    Args:
        studio: The devices.
        aims: Takes what was aimed at.
        rounds: How often each recording is asked in each mode.
        quick: Ask only the first two.
    """
    print("voice-to-voice, at the sound server: the user's last sound → the reply's first")
    numbers = QUESTIONS[:2] if quick else QUESTIONS
    questions = [(f"dev_{n:02}", recording(n)) for n in numbers]
    found: dict[str, list[Measured]] = {mode: [] for mode in MODES}
    lost = dict.fromkeys(MODES, 0)
    for number in range(rounds):
        for mode in MODES if number % 2 == 0 else reversed(MODES):
            turns = _conversation(studio, mode, questions)
            found[mode] += turns
            lost[mode] += len(questions) - len(turns)
    for mode, turns in found.items():
        _print(mode, turns, lost[mode])
    _judge(found, aims)


def _conversation(
    studio: Studio, mode: str, questions: Sequence[tuple[str, Samples]]
) -> list[Measured]:
    """Ask all questions; those that were cut into, or got no reply, are left out."""
    words, env = MODES[mode]
    with studio.recording() as outside:
        with Talk(studio, *words, env={**env, **SHORT}) as talk:
            plays = [talk.ask(name, samples) for name, samples in questions]
        turns = talk.turns()
    return [m for play in plays if (m := _measure(outside[0], play, turns)) is not None]


def _measure(outside: Outside, play: Play, turns: dict[int, dict[str, int]]) -> Measured | None:
    sound = outside.sound_of(play)
    begun = [
        marks
        for marks in turns.values()
        if play.start_ns < marks.get("speech.start", 0) < play.end_ns + NS_PER_S // 2
    ]
    # More than one turn: a pause was taken for the end, and what is last is not what is answered.
    if sound is None or len(begun) != 1:
        return None
    timeline = Timeline.from_marks(begun[0])
    reply = outside.reply_after(sound[0], play.end_ns + 20 * NS_PER_S)
    if timeline is None or reply is None or reply < sound[1]:
        return None
    return Measured(
        (reply - sound[1]) / 1e6,
        (begun[0]["committed"] - sound[1]) / 1e6,
        timeline,
        (begun[0]["speech.end"] - sound[1]) / 1e6,
        (begun[0]["heard.first"] - reply) / 1e6,
    )


def _print(mode: str, turns: Sequence[Measured], lost: int) -> None:
    print(f" {mode}{f' ({lost} turns cut into, or without a reply)' if lost else ''}")
    show_all("voice-to-voice", [t.total_ms for t in turns], "ms")
    show_all("  endpoint: until committed", [t.endpoint_ms for t in turns], "ms")
    show_all("  residual: from there", [t.residual_ms for t in turns], "ms")
    for part in PARTS[1:]:
        show(f"      {part} (the trace's)", [t.timeline.parts[part] / 1e6 for t in turns], "ms")
    show("      user's end, trace after outside", [t.end_ms for t in turns], "ms")
    show("      reply's start, trace after outside", [t.begin_ms for t in turns], "ms")
    show("  stages' work hidden in the hold", [t.hidden * 100 for t in turns], "%")


def _judge(found: dict[str, list[Measured]], aims: Aims) -> None:
    ahead = median([t.residual_ms for t in found["speculative"]])
    after = median([t.residual_ms for t in found["overlapped"]])
    aims.most("residual, speculative, median", ahead, 50, "ms")
    ratio = ahead / after if ahead is not None and after else None
    aims.most("residual, speculative ÷ overlapped", ratio, 0.3)
    total = median([t.total_ms for t in found["default settings"]])
    aims.most("voice-to-voice, default settings, median", total, 450, "ms")
