"""What a model writes that is not for the user, through `cascade talk`: heard, shown and kept.

The engines are real; the language model is the scripted server, a dialect a turn.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.llm_server import DONE, ROLE, Answer, Request, Script, delta, finish, reply
from support.cli_child import Files, Outcome, json_lines, recording, run, scripted

ANSWER = "The ferry leaves at six."
CALL = '{"name": "timetable", "arguments": {"pier": "north"}}'
DIALECTS = (
    "<think>They want the time.</think>\n\n{}",
    "<seed:think>They want the time.</seed:think>{}",
    "[THINK]They want the time.[/THINK]{}",
    "◁think▷They want the time.◁/think▷{}",
    "<|begin_of_thought|>They want it.<|end_of_thought|><|begin_of_solution|>{}",
    "<|channel|>analysis<|message|>They ask.<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "analysisThey want the time.assistantfinal{}",
    "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
    "{}</s>",
    "{}<|im_end|>\n<|im_start|>user\nAnd back?<|im_end|>",
    "{}[/INST]",
)
LATE = f"Okay, they want the time. It is six, says the timetable.\n</think>\n\n{ANSWER}"


def written(text: str) -> Answer:
    """A reply in pieces of a few characters, as tokens are."""
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    return Answer([ROLE, *map(delta, pieces), finish(), DONE])


def talk(folder: Path, turns: int, *answers: Script, otherwise: Script) -> tuple[Outcome, Files]:
    """So many turns."""
    files = Files(folder)
    with scripted(*answers, otherwise=otherwise) as server:
        inputs = [f"--input={recording(5)}"] * turns
        options = (*files.options, *inputs, "--llm", server.url)
        return run("talk", "--fast", "--json", *options), files


def spoken(files: Files) -> list[str]:
    """What the voice was asked to say, clause by clause."""
    lines = json_lines((files.folder / "trace").read_text("utf-8"))
    return [line["text"] for line in lines if line.get("mark") == "tts.clause"]


def shown(outcome: Outcome) -> list[str]:
    """The replies, turn by turn."""
    turns: dict[int, str] = {}
    for event in outcome.of("reply_text"):
        turns[event["turn"]] = turns.get(event["turn"], "") + event["delta"]
    return [text.strip() for text in turns.values()]


def test_thoughts_and_marks(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        asked = sum(message["role"] == "user" for message in request.body["messages"])
        return written(DIALECTS[asked - 1].format(ANSWER))

    outcome, files = talk(tmp_path, len(DIALECTS), reply("ready"), otherwise=answer)
    assert outcome.code == 0
    assert outcome.errors == []
    assert shown(outcome) == [ANSWER] * len(DIALECTS)
    assert set(spoken(files)) == {ANSWER}
    assert [text for who, text in files.said if who == "assistant"] == [ANSWER] * len(DIALECTS)


@pytest.mark.parametrize("warm", [reply("ready"), written(LATE)], ids=["unknown", "known"])
def test_a_thought_without_an_opener(tmp_path: Path, warm: Answer) -> None:
    outcome, files = talk(tmp_path, 2, warm, otherwise=written(LATE))
    assert outcome.code == 0
    assert [text for who, text in files.said if who == "assistant"] == [ANSWER] * 2
    # The model is known from its first reply on.
    assert shown(outcome)[1] == spoken(files)[-1] == ANSWER
    assert LATE not in outcome.err


CALLS = (
    f"<tool_call>\n{CALL}\n</tool_call>",
    f"[TOOL_CALLS][{CALL}]",
    '<function=timetable>{"pier": "north"}</function>',
    CALL,
)


def test_a_call_that_is_written_is_told_in_a_line(tmp_path: Path) -> None:
    answers = [written(f"Let me see. {call}") for call in CALLS]
    outcome, files = talk(tmp_path, len(CALLS), reply("ready"), *answers, otherwise=reply("No."))
    assert outcome.code == 1
    lines = [line for line in outcome.errors if line.startswith("error: ")]
    assert len(lines) == len(CALLS)
    assert all("calls timetable, which is not on offer" in line for line in lines)
    said = ["Let me see."] * len(CALLS)
    assert spoken(files) == said
    assert shown(outcome) == said
    assert [text for who, text in files.said if who == "assistant"] == said
