"""Synthetic comparisons: plausible conversations of three paths, with their stereo WAVs if wanted.

No engine and no server runs: everything is drawn from a seeded generator, so that two calls give
the same comparison. `cascade` and `openai:gpt-realtime-2.1` are as if measured; the third path is
one against a simulated server. What goes wrong in them is listed at `comparison`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.files import WavWriter
from pipeline.compare import selectivity
from pipeline.compare.entities import entity_checks
from pipeline.compare.fidelity import NO_TEXT, against_text
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Canned, CannedTool, Expect, Scenario, Step, Wanted
from pipeline.measure.instrument import FIGURES
from pipeline.measure.record import (
    Check,
    Fidelity,
    MeasuredCall,
    Record,
    Span,
    Status,
    Turn,
    TurnTaking,
)
from support import samples

MS = 1_000_000
RATE = 16000

CASCADE = "cascade"
DIRECT = "openai:gpt-realtime-2.1"
SIMULATED = "simulated:gpt-realtime-2.1"
PATHS = (CASCADE, DIRECT, SIMULATED)

SOURCE = "kwindla/aiewf-eval README, 2026-08: V2V median 1504 ms"
SIMULATION = {
    "name": "gpt-realtime-2.1",
    "source": SOURCE,
    "latency": "lognormal, median 1504 ms, p95 2600 ms",
    "network": "rtt 40 ms, jitter 5 ms",
    "seed": "1",
}
"""Parameters of the simulated server, as `scripts.describe` makes them."""

FACTS: Mapping[str, Mapping[str, Any]] = {
    CASCADE: {},
    DIRECT: {
        "model": "gpt-realtime-2.1",
        "host": "api.openai.com:443",
        "connect_ms": 412.0,
        "simulated": None,
        "duplex": False,
    },
    SIMULATED: {
        "model": "simulated:gpt-realtime-2.1",
        "host": "127.0.0.1:40123",
        "connect_ms": 21.0,
        "simulated": SIMULATION,
        "duplex": False,
    },
}

MEDIAN_MS = {CASCADE: 1150.0, DIRECT: 860.0, SIMULATED: 1504.0}
"""Voice to voice."""

RTT_MS = {DIRECT: (18, 30), SIMULATED: (0.1, 0.3)}
"""Of a round trip: from and to."""

CONDITIONS = ("", "cafe 10 dB", "g711u")

TOOL_TURNS = 10
LENGTHS = {"short": 300, "16k": 16_000, "64k": 64_000}


def scenarios() -> tuple[Scenario, ...]:
    """What was said: one scenario of each topic, the tools at three lengths of instructions."""
    timer = CannedTool("set_timer", "Set a timer.", responses=(Canned({"ok": True}),))
    archive = CannedTool("search_archive", responses=(Canned("found", delay_s=30.0, size=10**6),))
    tools = tuple(
        _step(
            f"Set a timer for {n} minutes, please.",
            Expect(
                contains=("timer",), tool=Wanted("set_timer", {"minutes": n}, 3.0 if n < 3 else 2.0)
            ),
        )
        for n in range(1, TOOL_TURNS + 1)
    )
    return (
        Scenario(
            "capital",
            "latency",
            "Be brief.",
            (_step("What is the capital of France?", Expect(contains=("Paris",))),),
        ),
        Scenario(
            "sums",
            "understanding",
            "Be brief.",
            (
                _step("How much is seven times eight?", Expect(number=56.0)),
                _step("And half of that?", Expect(number=28.0, lacks=("sorry",))),
            ),
        ),
        *(
            Scenario(f"timers {length}", "tools", "x" * size, tools, (timer,), length)
            for length, size in LENGTHS.items()
        ),
        Scenario(
            "pirate",
            "instructions",
            "Speak like a pirate.",
            tuple(
                _step(said, Expect(judge="Does the reply speak like a pirate?"))
                for said in ("Hello there.", "How is the sea?", "What do you eat?", "Goodbye.")
            ),
        ),
        Scenario(
            "names",
            "recall",
            "Be brief.",
            (
                _step("My dog is called Rex.", Expect()),
                _step("I live in Zürich.", Expect()),
                _step("What is my dog called?", Expect(contains=("Rex",))),
                _step("Where do I live?", Expect(contains=("Zürich|Zurich",))),
            ),
        ),
        Scenario(
            "story",
            "interruption",
            "Tell long stories.",
            (
                _step(
                    "Tell me a story about a fox.",
                    Expect(history=("fox",), history_lacks=("nothing at all",)),
                ),
                dataclasses.replace(
                    _step("Stop. What is two plus two?", Expect(number=4.0)), interrupt_s=1.5
                ),
            ),
        ),
        Scenario(
            "archive",
            "heavy tools",
            "Be brief.",
            (
                _step("Search the archive for foxes.", Expect(tool=Wanted("search_archive"))),
                dataclasses.replace(
                    _step("Meanwhile, what is two plus three?", Expect(number=5.0)),
                    after_call_s=2.0,
                ),
                _step("What did you find?", Expect(contains=("found",))),
            ),
            (archive,),
        ),
    )


REPLIES = {
    "capital": ("The capital of France is Paris.",),
    "sums": ("Seven times eight is fifty-six.", "Half of that is twenty-eight."),
    "pirate": (
        "Ahoy, matey!",
        "The sea be calm, arr.",
        "Hardtack and salted fish, arr.",
        "Farewell, ye landlubber.",
    ),
    "names": ("Nice name.", "A lovely town.", "Your dog is Rex.", "You live in Zurich."),
    "story": (
        "A fox found a key under an oak tree. It opened nothing at all.",
        "Two plus two is four.",
    ),
    "archive": ("I am looking.", "Two plus three is five.", "I found one entry about foxes."),
}


def header(paths: tuple[str, ...] = PATHS) -> dict[str, Any]:
    """What describes the run."""
    return {
        **samples.header(()),
        "variants": {
            path: {"kind": path.partition(":")[0], "model": path.partition(":")[2]}
            for path in paths
        },
        "repeat": 3,
        "figures": {name: about for name, (_, _, about) in FIGURES.items()},
        "scenarios": {one.name: _plain(one) for one in scenarios()},
        "fidelity": {"model": "base.en", "floor": {"recordings": 9, "rate": 0.021}},
        "judge": {"model": "openai:gpt-5-mini", "prompt": "Answer yes or no."},
        "simulated": any((FACTS.get(path) or {}).get("simulated") for path in paths),
    }


def _plain(scenario: Scenario) -> dict[str, Any]:
    """As the run writes it into the header."""
    plain = dataclasses.asdict(scenario)
    plain["instruction_chars"] = len(scenario.instructions)
    plain["instructions"] = scenario.instructions[:4_000]
    for step in plain["steps"]:
        step["path"] = str(step["path"])
    return plain


def comparison(
    folder: Path | None = None,
    *,
    paths: tuple[str, ...] = PATHS,
    repeats: int = 3,
    seed: int = 7,
    faults: bool = True,
) -> tuple[dict[str, Any], list[Conversation]]:
    """A comparison: a warm-up of each path, then all scenarios `repeats` times, interleaved.

    Args:
        folder: Where to write the stereo WAVs (into `wav/`); None writes none.
        paths: Which of `PATHS`; another name is a measured path that tells nothing of itself: no
            usage, no transcript, no server figures.
        repeats: How often each scenario is held.
        seed: Of all that is drawn.
        faults: Whether things go wrong. Then, in the first repeat: of `DIRECT`, the connection
            closes in turn 6 of `timers 64k`, `archive` is lost while the tool runs, and `capital`
            is refused for want of quota; of `CASCADE`, the second turn of `sums` is not understood,
            and the judge could not tell of the last turn of `pirate`; of `SIMULATED`, `capital`
            times out.

    Returns:
        The header and the conversations, in the order in which they were held.
    """
    draw = random.Random(seed)
    all_scenarios = scenarios()
    jobs = [(path, all_scenarios[0], 0) for path in paths]
    for repeat in range(1, repeats + 1):
        block = [(path, scenario, repeat) for path in paths for scenario in all_scenarios]
        draw.shuffle(block)
        jobs += block
    if folder is not None:
        (folder / "wav").mkdir(parents=True, exist_ok=True)
    held = [
        conversation(path, scenario, repeat, order, draw=draw, folder=folder, faults=faults)
        for order, (path, scenario, repeat) in enumerate(jobs)
    ]
    return header(paths), held


def in_conditions(
    header: dict[str, Any], conversations: Sequence[Conversation]
) -> tuple[dict[str, Any], list[Conversation]]:
    """The same comparison along an axis: clean, a café, a telephone.

    In the café each reply comes 200 ms later, and of each turn a word more is misheard; the
    telephone changes nothing, save that each third turn has no reply.
    """

    def changed(turn: Turn, condition: str) -> Turn:
        record = turn.record
        if condition == "g711u" and turn.number % 3 == 0:
            lost = dataclasses.replace(
                record, status="no reply", wav_voice_to_voice_ns=None, reply="", reason="unheard"
            )
            return dataclasses.replace(turn, record=lost, checks=(), calls=())
        if condition == "cafe 10 dB":
            if (ns := record.wav_voice_to_voice_ns) is not None:
                record = dataclasses.replace(record, wav_voice_to_voice_ns=ns + 200 * MS)
            errors = turn.word_errors
            wrong = None if errors is None else errors + 1
            return dataclasses.replace(turn, record=record, word_errors=wrong)
        return turn

    held = [
        dataclasses.replace(
            one,
            scenario=f"{one.scenario} {condition or 'clean'}",
            condition=condition,
            heard=f"wav/{one.order:04d}-heard.wav" if condition else "",
            order=3 * one.order + place,
            turns=tuple(changed(turn, condition) for turn in one.turns),
        )
        for one in conversations
        for place, condition in enumerate(CONDITIONS)
    ]
    scenarios = {
        f"{name} {condition or 'clean'}": {**about, "condition": condition}
        for name, about in header["scenarios"].items()
        for condition in CONDITIONS
    }
    return {**header, "scenarios": scenarios}, held


def conversation(
    path: str,
    scenario: Scenario,
    repeat: int,
    order: int,
    *,
    draw: random.Random,
    folder: Path | None = None,
    faults: bool = True,
) -> Conversation:
    """One conversation."""
    broken, status, reason = (0, "ok", "")
    if faults and repeat == 1:
        broken, status, reason = FAULTS.get((path, scenario.name), (0, "ok", ""))
    wav = f"wav/{order:04d}.wav" if folder is not None else ""
    origin = (1_000 + 90_000 * order) * MS
    turns: list[Turn] = []
    sounds: list[tuple[int, float, float]] = []
    at_ms = 400.0
    for number, step in enumerate(scenario.steps, start=1):
        gone: Status = status if number == broken else "ok"
        if broken and number > broken and status == "failed":
            gone = "failed"
        turn, end_ms, heard = _turn(
            path, scenario, step, number, repeat, order, at_ms, origin, draw, gone, reason
        )
        turn = dataclasses.replace(
            turn, record=dataclasses.replace(turn.record, wav=wav, wav_start_ns=origin)
        )
        sounds += heard
        turns.append(turn)
        at_ms = end_ms
    if folder is not None:
        _write_wav(folder / wav, at_ms, sounds)
    seconds = at_ms / 1000
    cpu_s = seconds * (draw.uniform(0.5, 0.6) if path == CASCADE else draw.uniform(0.02, 0.03))
    known = path in FACTS
    return Conversation(
        path=path,
        scenario=scenario.name,
        repeat=repeat,
        order=order,
        status="failed" if status == "failed" else "ok",
        reason=reason if status == "failed" else "",
        facts=dict(FACTS.get(path, {"model": "unheard-of", "host": "example.org:443"})),
        topic=scenario.topic,
        instruction_chars=len(scenario.instructions),
        rtt_ms=tuple(draw.uniform(*RTT_MS[path]) for _ in range(5)) if path in RTT_MS else (),
        usage=_usage(path, turns) if known else (),
        seconds=seconds,
        cpu_s=cpu_s,
        joules=cpu_s * 6.2 if path == CASCADE else None,
        wav=wav,
        reconnects=1 if path == DIRECT and scenario.name == "archive" and repeat == 2 else 0,
        started=f"2026-11-20T09:{order % 60:02d}:07+0000",
        turns=tuple(turns),
    )


def selective(one: Conversation) -> Conversation:
    """The conversation, if it did not fail, with three sounds more that were to be ignored.

    The first was answered, the second was said into a reply, which was stopped and came back, and
    of the third no notice was taken.
    """
    if one.status != "ok":
        return one

    def sound(number: int, status: Status, **taking: Any) -> Turn:
        record = dataclasses.replace(one.turns[0].record, status=status, expected="Mhm.")
        turn = dataclasses.replace(
            one.turns[0],
            record=record,
            number=number,
            outcome="ignore",
            calls=(),
            words=0,
            word_errors=None,
            entities=(),
            fidelity=None,
            taking=TurnTaking(**taking),
        )
        checked = selectivity.check(turn)
        return dataclasses.replace(turn, checks=() if checked is None else (checked,))

    last = len(one.turns)
    sounds = (
        sound(last + 1, "ok", spurious_ns=1000 * MS),
        sound(
            last + 2, "no reply",
            into_reply=True, stopped=True, ended_ns=300 * MS, back_ns=1000 * MS,
        ),
        sound(last + 3, "no reply"),
    )  # fmt: skip
    return dataclasses.replace(one, turns=(*one.turns, *sounds))


CLOSED = "the server closed the connection (1011: internal error); run again with --resume"
QUOTA = "the quota is spent (429); try again in 20 s"


FAULTS: Mapping[tuple[str, str], tuple[int, Status, str]] = {
    (DIRECT, "timers 64k"): (6, "failed", CLOSED),
    (DIRECT, "archive"): (2, "failed", "nothing came from the server for 60 s"),
    (DIRECT, "capital"): (1, "failed", QUOTA),
    (CASCADE, "sums"): (2, "no reply", "nothing was understood"),
    (SIMULATED, "capital"): (1, "timeout", "no reply within 60 s of the end of speech"),
}
"""In which turn they begin, how it ends, and why, by path and scenario; all in the first repeat."""


def _turn(
    path: str,
    scenario: Scenario,
    step: Step,
    number: int,
    repeat: int,
    order: int,
    at_ms: float,
    origin: int,
    draw: random.Random,
    status: Status,
    reason: str,
) -> tuple[Turn, float, list[tuple[int, float, float]]]:
    """A turn that begins at `at_ms` of the WAV; where it ends; who sounds when (channel, ms)."""
    spoken = 900 + 45 * len(step.said)
    end_ms = at_ms + spoken
    answered = status == "ok"
    latency = MEDIAN_MS.get(path, 1000.0) * draw.lognormvariate(0, 0.13)
    latency *= 1.5 if repeat == 0 else 1.0
    reply = _reply(scenario, number)
    filler = path == DIRECT and scenario.topic == "heavy tools" and number == 1
    length = 210.0 * len(reply.split())
    cut = scenario.topic == "interruption" and number == 1
    if cut:
        length = min(length, 1900.0)
    speech_ns = origin + round(end_ms * MS)
    marks, spans = _work(path, latency, spoken, length, answered)
    record = Record(
        variant=path,
        file=f"{scenario.name}#{number}",
        repeat=repeat,
        order=order,
        status=status,
        reason=reason if not answered else "",
        marks={name: speech_ns + round(ms * MS) for name, ms in marks.items()},
        wav_voice_to_voice_ns=round((latency + draw.gauss(0, 3)) * MS) if answered else None,
        spans=tuple(
            Span(
                lane,
                step.said if lane == "user" else reply if lane == "speaker" else name,
                speech_ns + round(first * MS),
                speech_ns + round(last * MS),
            )
            for lane, name, first, last in spans
        ),
        transcript=_heard(path, step.said, draw) if status in ("ok", "timeout") else "",
        expected=step.said,
        reply=reply if answered else "",
        cpu_ns=round(latency * (0.55 if path == CASCADE else 0.02) * MS),
    )
    told = path in FACTS and bool(record.transcript)
    heard = record.transcript if told or status == "no reply" else None
    calls, tool_checks = _tools(path, scenario, step, number, answered, draw)
    over_ms = end_ms + (latency + length if answered else 2000.0) + 500.0
    interrupts = step.interrupt_s is not None
    turn = Turn(
        record=record,
        number=number,
        answering_ns=None
        if record.wav_voice_to_voice_ns is None
        else record.wav_voice_to_voice_ns + (1800 * MS if filler else 0),
        server_ms={
            "endpointing": 520.0,
            "first_audio": latency - 30,
            "first_audio_after_stop": latency - 550,
        }
        if answered and path in (DIRECT, SIMULATED)
        else {},
        calls=calls,
        checks=(*_checks(path, scenario, step, answered, draw), *tool_checks),
        word_errors=None if heard is None else _wrong(record, step.said),
        words=len(step.said.split()),
        entities=entity_checks((), step.said, heard),
        interrupts=interrupts,
        silence_ns=round(draw.uniform(250, 420) * MS) if interrupts and answered else None,
        kept="A fox found a key under an oak" if cut and answered else None,
        start_ns=round(at_ms * MS),
        end_ns=round(over_ms * MS),
        taking=TurnTaking(
            into_reply=interrupts, stopped=interrupts, ended_ns=300 * MS if interrupts else None
        ),
        fidelity=_read(path, reply, repeat) if answered else None,
    )
    sounds = [(0, at_ms, end_ms)]
    if answered:
        sounds.append((1, end_ms + latency, end_ms + latency + length))
    return turn, over_ms, sounds


def _work(
    path: str, latency: float, spoken: float, length: float, answered: bool
) -> tuple[dict[str, float], list[tuple[str, str, float, float]]]:
    """Marks and spans of a turn, in ms after the end of speech."""
    marks = {"speech.start": -spoken, "speech.end": 0.0, "committed": 600.0}
    spans = [("user", "", -spoken, 0.0), ("endpoint", "hold", 0.0, 600.0)]
    if path != CASCADE:
        marks["committed"] = 520.0
        spans[1] = ("endpoint", "server", 0.0, 520.0)
    if not answered:
        return marks, spans
    if path == CASCADE:
        each = (latency - 640.0) / 3
        marks |= {
            "stt.start": 600.0,
            "stt.final": 600.0 + each,
            "llm.request": 601.0 + each,
            "llm.first_token": 600.0 + 2 * each,
            "clause.first": 610.0 + 2 * each,
            "tts.start": 611.0 + 2 * each,
            "tts.first_audio": 605.0 + 3 * each,
        }
        spans += [
            ("stt", "transcribe", 600.0, 600.0 + each),
            ("llm", "first token", 601.0 + each, 600.0 + 2 * each),
            ("tts", "first clause", 611.0 + 2 * each, 605.0 + 3 * each),
        ]
    else:
        audio = latency - 30.0
        marks |= {"model.start": 530.0, "model.first_text": audio - 60, "model.first_audio": audio}
        spans.append(("model", "until its first sound", 520.0, audio))
    marks |= {
        "playout.first": latency - 24.0,
        "heard.first": latency,
        "tts.last_audio": latency + length * 0.6,
        "playout.last": latency + length - 24.0,
        "heard.last": latency + length,
    }
    spans.append(("speaker", "", latency, latency + length))
    return marks, spans


def _reply(scenario: Scenario, number: int) -> str:
    if scenario.name in REPLIES:
        return REPLIES[scenario.name][number - 1]
    return f"Your timer for {number} minutes is set."


def _heard(path: str, said: str, draw: random.Random) -> str:
    """What the path understood; nothing where it gives no transcript."""
    if path not in FACTS:
        return ""
    wrong = draw.random() < (0.15 if path == CASCADE else 0.08)
    return said.replace("timer", "time").replace("dog", "dock") if wrong else said


def _read(path: str, reply: str, repeat: int) -> Fidelity:
    """What a recogniser reads in the reply's sound; in the first repeat the cascade says no 5."""
    if path not in FACTS:
        return Fidelity(reason=NO_TEXT)
    swallowed = path == CASCADE and repeat == 1
    return _compared(reply, reply.replace("5 ", "") if swallowed else reply)


_compared = functools.cache(against_text)
"""There are few replies, said again and again in each of many comparisons."""


def _wrong(record: Record, said: str) -> int:
    if record.transcript == said:
        return 0
    return 1 if record.transcript else len(said.split())


def _tools(
    path: str, scenario: Scenario, step: Step, number: int, answered: bool, draw: random.Random
) -> tuple[tuple[MeasuredCall, ...], tuple[Check, ...]]:
    """Calls and what they are worth: the direct paths' tools decay by turn and by length."""
    wanted = step.expect.tool
    if wanted is None:
        return (), ()
    long = {"short": 0.0, "": 0.0, "16k": 0.15, "64k": 0.3}[scenario.length]
    chance = 0.94 if path == CASCADE else 1.0 - long - 0.05 * (number - 1)
    right = answered and draw.random() < chance
    asked = round(draw.uniform(400, 900) * MS)
    heavy = scenario.topic == "heavy tools"
    took = (30_000 if heavy else 40) * MS
    arguments = dict(wanted.arguments) if right else {"minutes": 99}
    calls = (
        (
            MeasuredCall(
                wanted.name,
                json.dumps(arguments),
                asked,
                asked + took,
                result_bytes=10**6 if heavy else 12,
            ),
        )
        if answered
        else ()
    )
    found = f"{wanted.name}({json.dumps(arguments)})" if answered else "no call"
    checks = [Check("tool", f"calls {wanted.name}", right, "" if right else found, "tools")]
    if wanted.within_s is not None:
        timely = right and asked <= wanted.within_s * 1e9
        checks.append(Check("on time", f"within {wanted.within_s:g} s", timely, "", "tools"))
    return calls, tuple(checks)


def _checks(
    path: str, scenario: Scenario, step: Step, answered: bool, draw: random.Random
) -> tuple[Check, ...]:
    expect = step.expect
    topic = scenario.topic if scenario.topic in ("instructions", "recall") else "answer"
    right = answered and draw.random() < (0.9 if path == CASCADE else 0.96)
    found = "" if right else "something else" if answered else "no reply"
    made = [Check("contains", text, right, found, topic) for text in expect.contains]
    made += [Check("lacks", text, answered, "", topic) for text in expect.lacks]
    if expect.number is not None:
        made.append(Check("number", f"{expect.number:g}", right, found, topic))
    for kind, texts in (("history", expect.history), ("history lacks", expect.history_lacks)):
        made += [Check(kind, text, answered or None, "", "interruption") for text in texts]
    if expect.judge:
        # A judge that could not tell, once in a while.
        told = None if path == CASCADE and step.said == "Goodbye." else right
        made.append(Check("judge", expect.judge, told, found, topic))
    return tuple(made)


def _usage(path: str, turns: list[Turn]) -> tuple[dict[str, Any], ...]:
    """What was billed, the whole conversation read anew on every reply."""
    billed: list[dict[str, Any]] = []
    read = 0
    for turn in turns:
        if turn.record.status != "ok":
            continue
        cached, read = read, read + 60
        audio = 0 if path == CASCADE else read
        reply = {
            "turn": turn.number,
            "input_tokens": read + 120,
            "cached_tokens": cached,
            "output_tokens": 60,
            "input_audio_tokens": audio,
            "cached_audio_tokens": min(cached, audio),
            "output_audio_tokens": 0 if path == CASCADE else 45,
            "seconds": 0.0,
            "kind": "reply",
        }
        billed.append(reply)
    return tuple(billed)


def _step(said: str, expect: Expect) -> Step:
    return Step(said, Path("spoken.wav"), seconds=2.0, expect=expect)


def _write_wav(path: Path, length_ms: float, sounds: list[tuple[int, float, float]]) -> None:
    stereo = np.zeros((int((length_ms + 300) * RATE / 1000), 2), np.float32)
    for channel, first, last in sounds:
        samples._speak(stereo[:, channel], first, last, 140.0 if channel == 0 else 200.0)
    writer = WavWriter(path, RATE, 2)
    writer.write(np.round(stereo * 32767).astype(np.int16))
    writer.close()
