"""`cascade talk` with MCP servers: real engines, real servers, and leave that is asked aloud."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from servers.llm_server import DONE, ROLE, Answer, finish, reply, tool_call
from support.cli_child import Files, recording, require_models, run, scripted
from support.mcp_servers import AWKWARD, awkward, children_of

from pipeline.audio.files import WavWriter
from pipeline.config import TtsSettings
from pipeline.engines.piper import Piper
from pipeline.engines.worker import Stop
from pipeline.models.catalogue import Catalogue

TOKYO = "What is the weather like in Tokyo?"
SERVER = " ".join([*AWKWARD, "stdio"])


def calls(name: str, **arguments: object) -> Answer:
    call = tool_call(json.dumps(arguments), index=0, id="c1", name=name)
    return Answer([ROLE, call, finish("tool_calls"), DONE])


def spoken(path: Path, words: str) -> Path:
    """A recording of the default voice that says something."""
    piper = Piper(Catalogue.load().resolve("tts", TtsSettings().voice).path, TtsSettings())
    with WavWriter(path, piper.rate) as wav:
        wav.write(np.zeros(piper.rate // 2, np.int16))
        for sound in piper.synthesize(words, Stop()):
            wav.write(sound.samples)
        wav.write(np.zeros(piper.rate, np.int16))
    return path


@pytest.mark.parametrize(
    ("answer", "result"),
    [("Yes.", "a.txt is deleted"), ("No.", "not allowed")],
)
def test_the_user_is_asked_aloud(answer: str, result: str, tmp_path: Path) -> None:
    require_models("stt", "tts")
    files = Files(tmp_path)
    log = tmp_path / "log"
    log.write_text("")
    (tmp_path / "cascade.toml").write_text(
        f"[mcp.disk]\ncommand = {AWKWARD[0]!r}\nargs = {[*AWKWARD[1:], 'stdio']}\n"
        f"env = {{ AWKWARD_LOG = {str(log)!r} }}\napproval = ['delete.file']\n"
    )
    said = spoken(tmp_path / "yes.wav", answer)
    with scripted(reply("ready"), calls("delete_file", path="a.txt"), reply("So it is.")) as server:
        outcome = run(
            *("talk", f"--config={tmp_path / 'cascade.toml'}", "--llm", server.url, "--json"),
            *(f"--input={recording(10)}", f"--input={said}", "--fast", *files.options),
            env={"CASCADE_STT__MODEL": "tiny.en"},
        )
        offered = [tool["function"]["name"] for tool in server.requests[1].body["tools"]]
    assert outcome.code == 0, outcome.err
    assert "delete_file" in offered and "add" in offered
    assert "May I use delete file with path a.txt? Say yes or no." in outcome.err
    assert log.read_text().splitlines() == (["delete a.txt"] if "is deleted" in result else [])
    [(_, told)] = [each for each in files.said if each[0] == "tool"]
    assert result in told
    assert [text for who, text in files.said if who == "user"] == [TOKYO]
    assert files.said[-1] == ("assistant", "So it is.")
    # Nothing that the server writes is on the screen, and nothing of it is left.
    assert "Starting up" not in outcome.err and "Traceback" not in outcome.err
    assert not children_of(f"mcp_server.py stdio {tmp_path}")


def test_silence_is_no(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with (
        awkward() as url,
        scripted(reply("ready"), calls("delete_file", path="a"), reply("Then not.")) as server,
    ):
        outcome = run(
            *("talk", f"--mcp={url}", "--llm", server.url, "--json", "--fast"),
            *(f"--input={recording(10)}", *files.options),
        )
    assert outcome.code == 0, outcome.err
    assert [text for who, text in files.said if who == "tool"] == [
        "Error: the user has not allowed this call"
    ]


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [
        ("no-such-program --flag", 1, "MCP server no-such-program (no-such-program): cannot be"),
        ("http://127.0.0.1:9/mcp?key=hush", 1, "cannot be reached: All connection attempts failed"),
        ("npx 'unended", 2, '--mcp "npx \'unended": give a URL or a command line'),
    ],
)
def test_a_server_that_cannot_be_had_ends_it(
    option: str, code: int, said: str, tmp_path: Path
) -> None:
    began = time.monotonic()
    with scripted(reply("ready")) as server:
        outcome = run(
            *("talk", f"--mcp={option}", "--llm", server.url, f"--input={recording(10)}"),
            *Files(tmp_path).options,
        )
    assert outcome.code == code
    assert said in outcome.err and "hush" not in outcome.err and "Traceback" not in outcome.err
    assert time.monotonic() - began < 60
