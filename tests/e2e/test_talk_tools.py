"""`cascade talk --tools`: a model that calls, and functions that are slow, fail, hang or give much.

The engines are real, the language model is the scripted server, the functions are in a file.
"""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from servers.llm_server import DONE, ROLE, Answer, Request, delta, finish, reply, tool_call
from support.cli_child import (
    HUMAN,
    Files,
    json_lines,
    needs_people,
    recording,
    require_models,
    run,
    scripted,
)
from support.sound import in_a_row

from pipeline.audio.resample import resampled
from pipeline.config import SttSettings
from pipeline.conversation.history import CANCELLED, RUNNING
from pipeline.engines.whisper import Whisper, bare
from pipeline.models.catalogue import Catalogue
from pipeline.tools.toolbox import CANCEL, RESULT_CHARS
from pipeline.turns.taker import RATE

TOOLS = '''
    import pathlib, time
    from pipeline import tool

    def weather(city: str, seconds: float = 0) -> dict:
        """Tell the weather of a city.

        Args:
            city: Its name.
        """
        with pathlib.Path("{log}").open("a") as log:
            log.write(city + "\\n")
        time.sleep(seconds)
        return {{"city": city, "sky": "sunny"}}

    def raises() -> str:
        """Raise."""
        raise LookupError("no such city")

    @tool(timeout_s=1.0)
    def hangs() -> str:
        """Hang."""
        time.sleep(3600)

    def much() -> list[str]:
        """Give a megabyte."""
        print("this is no event")
        return ["sunny " * 10] * 20_000

    async def binary() -> bytes:
        """Give what is no text."""
        return bytes(range(256))

    @tool(approved=False)
    def delete(path: str) -> str:
        """Delete a file."""
        with pathlib.Path("{log}").open("a") as log:
            log.write(path + "\\n")
        return "deleted"
'''
TOKYO, MUSEUM = "What is the weather like in Tokyo?", "What time does the museum leave?"


def calls(name: str, words: str = "", **arguments: Any) -> Answer:
    """The model calls a tool, piece by piece, perhaps after some words."""
    text = json.dumps(arguments)
    said = [delta(words)] if words else []
    first = tool_call(text[:5], index=0, id="c1", name=name)
    rest = [tool_call(text[i : i + 5], index=0) for i in range(5, len(text), 5)]
    return Answer([ROLE, *said, first, *rest, finish("tool_calls"), DONE])


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    file = tmp_path / "tools.py"
    code = textwrap.dedent(TOOLS.format(log=tmp_path / "log"))
    file.write_text(code, encoding="utf-8")
    return file


def details(files: Files, mark: str) -> list[dict[str, Any]]:
    """The lines of the trace of a kind."""
    lines = json_lines((files.folder / "trace").read_text("utf-8"))
    return [line for line in lines[1:] if line["mark"] == mark]


def heard(files: Files) -> list[str]:
    """The words on the loudspeaker, as they are recognised."""
    sound, rate = files.out
    whisper = Whisper(Catalogue.load().resolve("stt", "tiny.en").path, SttSettings())
    return bare(whisper.transcribe(resampled(sound, rate, RATE) / np.float32(32768)).text)


@pytest.mark.slow
def test_a_slow_tool_is_bridged_and_answered(tmp_path: Path, tools: Path) -> None:
    files = Files(tmp_path)
    answers = [calls("weather", city="Tokyo", seconds=2.5), reply("It is sunny in Tokyo today.")]
    with scripted(reply("ready"), *answers) as server:
        options = ("--tools", tools, "--llm", server.url, "--json", *files.options)
        outcome = run("talk", f"--input={recording(10)}", *options)
        first, last = server.requests[1].body, server.requests[2].body
    assert outcome.code == 0, outcome.err
    assert [t["function"]["name"] for t in first["tools"]] == [
        *("weather", "raises", "hangs", "much", "binary", "delete", CANCEL.name)
    ]
    assert first["tools"][0]["function"]["parameters"]["properties"]["city"] == {
        "type": "string",
        "description": "Its name.",
    }
    assert last["messages"][-1]["content"] == '{"city":"Tokyo","sky":"sunny"}'
    [call] = outcome.of("tool_call")
    assert json.loads(call["arguments"]) == {"city": "Tokyo", "seconds": 2.5}
    assert 'weather {"city": "Tokyo", "seconds": 2.5}' in outcome.err
    # While the tool works something is heard, and it is not the answer.
    [called], [given] = details(files, "tool.call"), details(files, "tool.result")
    waited = files.turns[1]["heard.first"] - called["t_ns"]
    assert 0.4e9 < waited < 2.5e9 < given["t_ns"] - called["t_ns"]
    words = heard(files)
    assert "moment" in words and "sunny" in words
    assert words.index("moment") < words.index("sunny")
    assert files.said == [
        ("user", TOKYO),
        ("assistant", ""),
        ("tool", '{"city":"Tokyo","sky":"sunny"}'),
        ("assistant", "It is sunny in Tokyo today."),
    ]


@pytest.mark.slow
def test_the_user_asks_something_else_and_hears_of_the_result_later(
    tmp_path: Path, tools: Path
) -> None:
    files = Files(tmp_path)
    spoken = in_a_row(tmp_path / "in.wav", recording(10), recording(5), pause_s=3.0)
    answers = [
        calls("weather", "Let me check.", city="Tokyo", seconds=9),
        reply("It leaves at nine."),
        reply("It is sunny in Tokyo."),
    ]
    with scripted(reply("ready"), *answers) as server:
        options = ("--tools", tools, "--llm", server.url, "--json", *files.options)
        outcome = run("talk", f"--input={spoken}", *options)
        meanwhile = [m["content"] for m in server.requests[2].body["messages"]]
    assert outcome.code == 0, outcome.err
    assert outcome.texts() == [TOKYO, MUSEUM]
    assert RUNNING in meanwhile
    assert [e["id"] for e in outcome.of("reply_started")] == ["reply-1", "reply-2", "reply-1b"]
    assert [text for _, text in files.said][-3:] == [
        *("", '{"city":"Tokyo","sky":"sunny"}', "It is sunny in Tokyo.")
    ]


@pytest.mark.slow
def test_the_user_cancels_what_runs(tmp_path: Path, tools: Path) -> None:
    files = Files(tmp_path)
    spoken = in_a_row(tmp_path / "in.wav", recording(10), recording(5), pause_s=3.0)
    answers = [
        calls("weather", "Let me check.", city="Tokyo", seconds=60),
        calls(CANCEL.name),
        reply("I have stopped it."),
    ]
    begun = time.monotonic()
    with scripted(reply("ready"), *answers) as server:
        options = ("--tools", tools, "--llm", server.url, "--json", *files.options)
        outcome = run("talk", f"--input={spoken}", *options)
    assert outcome.code == 0, outcome.err
    assert len(outcome.of("tool_cancelled")) == 1
    results = [text for who, text in files.said if who == "tool"]
    assert results == [CANCELLED, "Cancelled: weather."]
    assert files.said[-1] == ("assistant", "I have stopped it.")
    assert time.monotonic() - begun < 50, "the thread that sleeps keeps nothing from ending"


def test_tools_that_fail_hang_or_give_much_end_nothing(tmp_path: Path, tools: Path) -> None:
    files = Files(tmp_path)
    names = ("raises", "hangs", "much", "binary", "missing")
    turns = [each for name in names for each in (calls(name), reply(f"That was {name}."))]
    begun = time.monotonic()
    with scripted(reply("ready"), *turns) as server:
        options = ("--tools", tools, "--llm", server.url, "--json", "--fast", *files.options)
        inputs = [f"--input={recording(5)}"] * len(names)
        outcome = run("talk", *inputs, *options)
        results = [r.body["messages"][-1]["content"] for r in server.requests[2::2]]
    assert outcome.code == 0, outcome.err
    assert time.monotonic() - begun < 60
    assert results[0] == "Error: LookupError: no such city"
    assert results[1] == "Error: it took longer than 1 s and was given up"
    assert len(results[2]) <= RESULT_CHARS
    assert json.loads(results[2])[-1].endswith("more")
    assert results[3] == "(application/octet-stream, 256 bytes; it cannot be read aloud)"
    assert results[4].startswith("There is no tool missing. Call one of these, or answer in words")
    assert [text for who, text in files.said if who == "assistant" and text] == [
        f"That was {name}." for name in names
    ]
    # The whole is in the trace.
    # A tool that there is not is not called: the model is told so, and nobody hears of that.
    raised, _, much, binary = [line["output"] for line in details(files, "tool.result")]
    assert "Traceback" in raised and "in raises" in raised
    assert len(much) > 1_000_000
    assert binary.startswith("data:application/octet-stream;base64,AAECAw")
    assert len((tmp_path / "said").read_text()) < 20_000
    assert outcome.warnings == [
        "tool raises: LookupError: no such city",
        "tool hangs: it took longer than 1 s and was given up",
    ]
    assert "this is no event" in outcome.err


def test_no_tool_runs_for_what_was_not_the_end_of_the_turn(tmp_path: Path, tools: Path) -> None:
    """A question in two parts: what is begun in the pause between them calls with half of it."""

    def answer(request: Request) -> Answer:
        last = request.body["messages"][-1]
        if last["role"] == "tool":
            return reply("Sunny.")
        asked.append(last["content"])
        return calls("weather", city=last["content"])

    asked: list[str] = []
    files = Files(tmp_path)
    spoken = in_a_row(tmp_path / "in.wav", recording(10), recording(5), pause_s=0.15)
    with scripted(reply("ready"), otherwise=answer) as server:
        options = ("--tools", tools, "--llm", server.url, "--json", "--fast", *files.options)
        patient = {"CASCADE_TURNS__PREDICT": "false", "CASCADE_TURNS__HOLD_MS": "1500"}
        outcome = run("talk", f"--input={spoken}", *options, env=patient)
    assert outcome.code == 0, outcome.err
    ran = (tmp_path / "log").read_text().splitlines()
    assert ran == outcome.texts()
    assert len(asked) > len(ran), "something was begun for nothing"


@pytest.mark.slow
@needs_people
@pytest.mark.parametrize(
    ("answers", "result"),
    [
        (["yes_97f4c236_nohash_2"], "deleted"),
        (["go_988e2f9a_nohash_0", "six_8d4cdc60_nohash_1"], "Error: the user has not allowed this"),
    ],
)
def test_only_who_says_yes_lets_a_call_run(
    answers: list[str], result: str, tmp_path: Path, tools: Path
) -> None:
    """People answer: what is neither yes nor no is asked about once more, and then taken for no."""
    require_models("stt")

    def answer(request: Request) -> Answer:
        told = request.body["messages"][-1]["role"] == "tool"
        return reply("So be it.") if told else calls("delete", path="a")

    sounds = [recording(5), *(HUMAN / "speech_commands" / f"{name}.wav" for name in answers)]
    files = Files(tmp_path)
    with scripted(reply("ready"), otherwise=answer) as server:
        options = ("--tools", tools, "--llm", server.url, "--json", "--fast", *files.options)
        inputs = [f"--input={sound}" for sound in sounds]
        outcome = run("talk", *inputs, *options, env={"CASCADE_STT__MODEL": "tiny.en"})
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "log").exists() == (result == "deleted")
    (told,) = (text for who, text in files.said if who == "tool")
    assert told.startswith(result)
