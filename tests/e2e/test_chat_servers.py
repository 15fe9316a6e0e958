"""What chat servers send, odd as it may be, and what becomes of it in `cascade`, turn by turn.

The engines are real; the language model is the scripted server, which answers each turn in another
way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers.llm_server import (
    DONE,
    PING,
    ROLE,
    Answer,
    Step,
    choice,
    chunk,
    delta,
    event,
    finish,
    hang,
    pause,
    reply,
    tool_call,
)
from support.cli_child import Files, Outcome, part_of_corpus, recording, run, scripted

from pipeline.measure.record import RECORDS, WAITING

TEXT = "The ferry sails at noon, and again in the evening."
WORDS = [f"{word} " for word in TEXT.split()]
DELTAS = [delta(word) for word in WORDS]
CUT = " ".join(TEXT.split()[:5])
CUT_DELTAS = DELTAS[:5]
NUMBER = 5
"""A recording in which nobody pauses: the model is asked once a turn."""


@dataclass(frozen=True)
class Case:
    """An answer, and what becomes of it.

    Attributes:
        steps: Of the server.
        said: What is spoken, and told as the reply.
        status: How the turn ends.
        told: Words of the one line about it; empty: there is none.
        kept: What the history has; None: what was said.
        kind: The content type.
    """

    steps: list[Step]
    said: str = TEXT
    status: str = "completed"
    told: str = ""
    kept: str | None = None
    kind: str = "text/event-stream"


def between(step: bytes) -> list[Step]:
    """A good answer with a step between all of its events."""
    return [each for good in (ROLE, *DELTAS, finish(), DONE) for each in (step, good)]


def cut(*end: Step, status: str = "incomplete", told: str) -> Case:
    return Case([*CUT_DELTAS, *end], CUT, status, told, f"{CUT} …")


CASES: dict[str, Case] = {
    "done without a reason": Case([ROLE, *DELTAS, DONE]),
    "an empty reason": Case([*(chunk({"content": w}, finish="") for w in WORDS), DONE]),
    "a reason without done": Case([*DELTAS, finish()]),
    "another's word for stop": Case([*DELTAS, finish("eos_token"), DONE]),
    "silence after the reason": Case([*DELTAS, finish(), hang]),
    "text after the reason": Case([*DELTAS, finish(), delta("Extra."), DONE]),
    "neither": cut(status="failed", told="broke off in the middle of the reply"),
    "a last event without its end": Case([*DELTAS, b"data: [DONE]"]),
    "retry": Case(between(b"retry: 3000\n\n")),
    "empty data": Case(between(b"data:\n\n")),
    "a bare event": Case(between(b"event: ping\n\n")),
    "an id and pings": Case(between(b"id: 7\n\n" + PING)),
    "words that keep the connection": Case(between(b"event: ping\ndata: ping\n\n")),
    "a comment": Case(between(b": still here\r\n\r\n")),
    "an event of another kind": Case(between(b'event: ping\ndata: {"type": "ping"}\n\n')),
    "a byte order mark": Case([b"\xef\xbb\xbf" + DELTAS[0], *DELTAS[1:], DONE]),
    "carriage returns": Case([e.replace(b"\n", b"\r") for e in (*DELTAS, DONE)]),
    "no stream": Case(
        [json.dumps({"choices": [{"message": {"content": TEXT}}]}, indent=1).encode()],
        kind="application/json",
    ),
    "length": cut(finish("length"), DONE, told="spent all 200 tokens in the middle"),
    "content_filter": cut(finish("content_filter"), DONE, told="stopped by its content filter"),
    "an unknown reason": cut(finish("bad_weather"), DONE, told="finish_reason: bad_weather"),
    "error": cut(finish("error"), DONE, status="failed", told="failed in the middle of the reply"),
    "an error's words": cut(
        event({"error": {"message": "the tank is empty"}}),
        DONE,
        status="failed",
        told="failed: the tank is empty",
    ),
    "content_filter at once": Case(
        [ROLE, finish("content_filter"), DONE], "", "failed", "content filter before it said a word"
    ),
    "nothing": Case([ROLE, finish(), DONE], "", "failed", "nothing to say"),
    "parts": Case(
        [
            chunk({"content": [{"type": "thinking", "thinking": [{"text": "Hm."}]}]}),
            *(chunk({"content": [{"type": "text", "text": w}]}) for w in WORDS),
            *(finish(), DONE),
        ]
    ),
    "a message": Case([choice(message={"content": TEXT}, finish_reason="stop"), DONE]),
    "a message at the end": Case([*DELTAS, choice(message={"content": TEXT}), DONE]),
    "all of it each time": Case(
        [*(delta("".join(WORDS[: n + 1])) for n in range(len(WORDS))), finish(), DONE]
    ),
    "a refusal": Case([*(chunk({"refusal": w}) for w in WORDS), finish(), DONE]),
    "two choices": Case(
        [
            *(
                event(
                    {
                        "choices": [
                            {"index": 1, "delta": {"content": "No. "}},
                            {"delta": {"content": w}},
                        ]
                    }
                )
                for w in WORDS
            ),
            finish(),
            DONE,
        ]
    ),
    "white space first": Case([delta("\n\n"), *DELTAS, finish(), DONE]),
    "a call that nobody offered": Case(
        [*DELTAS, tool_call("{}", index=0, id="a", name="boats"), finish("tool_calls"), DONE]
    ),
}


@dataclass(frozen=True)
class Talked:
    outcome: Outcome
    files: Files

    def of(self, number: int, kind: str) -> list[dict[str, Any]]:
        """The events of a kind in the turn of a case, counted from 1."""
        return [event for event in self.outcome.of(kind) if event["turn"] == number]


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> Talked:
    """A conversation with all of them, one turn each."""
    files = Files(tmp_path_factory.mktemp("servers"))
    answers = [Answer(case.steps, content_type=case.kind) for case in CASES.values()]
    with scripted(reply("ready"), *answers) as server:
        inputs = [f"--input={recording(NUMBER)}"] * len(answers)
        options = ("--fast", "--json", "--llm", server.url)
        talked = Talked(run("talk", *options, *files.options, *inputs), files)
        assert len(server.requests) == len(answers) + 1, "the model is asked once a turn"
    return talked


@pytest.mark.parametrize("name", CASES)
def test_each_turn(talked: Talked, name: str) -> None:
    case, turn = CASES[name], [*CASES].index(name) + 1
    assert "".join(one["delta"] for one in talked.of(turn, "reply_text")).strip() == case.said
    (done,) = talked.of(turn, "reply_done")
    assert done["status"] == case.status
    failures = [failure["message"] for failure in talked.of(turn, "failure")]
    told = [line for line in (done["reason"], *failures) if line]
    assert len(told) == bool(case.told)
    assert all(case.told in line for line in told)
    shown = [line for line in talked.outcome.err.splitlines() if f"turn {turn}: " in line]
    assert [line.partition("llm: ")[2] for line in shown] == told


def test_the_conversation_that_is_saved(talked: Talked) -> None:
    said = [case.said if case.kept is None else case.kept for case in CASES.values()]
    assert [text for who, text in talked.files.said if who == "assistant"] == [*filter(None, said)]
    assert talked.outcome.code == 1, "some turns failed"
    assert "Traceback" not in talked.outcome.err


def test_what_was_cut_off_is_shown_as_such(talked: Talked) -> None:
    cut_off = [case for case in CASES.values() if case.status == "incomplete"]
    assert talked.outcome.err.count(f"{CUT} — (cut off)") == len(cut_off) == 3


def test_a_reply_that_was_cut_off_is_no_failure(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with scripted(otherwise=Answer([*CUT_DELTAS, finish("length"), DONE])) as server:
        inputs = f"--input={recording(NUMBER)}"
        outcome = run("talk", "--fast", "--llm", server.url, *files.options, inputs)
    assert outcome.code == 0
    assert [text for _, text in files.said][1:] == [f"{CUT} …"]


def test_a_profile_measures_what_is_heard_and_its_first_token_is_a_word(tmp_path: Path) -> None:
    """Without a reason at the end, cut off at the limit, and after white space."""
    slow = [delta("\n"), pause(0.3), delta(" \n"), pause(0.3), *DELTAS, DONE]
    corpus = part_of_corpus(tmp_path / "corpus", NUMBER, 2)
    answers = [Answer(slow), Answer(slow), Answer([*CUT_DELTAS, finish("length"), DONE])]
    with scripted(reply("ready"), *answers) as server:
        options = ("--llm", server.url, "--mode", "overlapped", "--reply-seconds", "0.3")
        out = ("--repeat", "1", "--out", tmp_path / "out")
        outcome = run("profile", corpus, *options, *out)
    assert outcome.code == 0, outcome.err
    _, records = RECORDS.read(tmp_path / "out" / RECORDS.name)
    assert [record.status for record in records] == ["ok"] * len(records)
    after_white_space = [r for r in records if not r.reason]
    assert len(after_white_space) == 2 and len(records) == 3
    assert "spent all 200 tokens" in next(r.reason for r in records if r.reason)
    for record in after_white_space:
        marks = record.marks
        assert marks["llm.first_token"] - marks["llm.request"] >= 600_000_000
        tokens = [span for span in record.spans if span.lane == "llm" and span.name != WAITING]
        assert tokens[0].name == WORDS[0]
        assert 0 <= tokens[0].end_ns - marks["llm.first_token"] < 1_000_000
