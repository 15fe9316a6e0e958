"""`cascade compare` with systems that others wrote, each by a map: nothing of theirs is changed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from support.cli_child import Outcome, part_of_corpus, run, run_here
from support.serve_child import free_port

from pipeline.clock import NS_PER_MS
from pipeline.compare.record import CONVERSATIONS, Conversation

BOT = Path(servers.__file__).parent / "pipecat_bot.py"
READY_S = 60.0

EXOTEL = """
rate: 8000
chunk_ms: 100
send:
  start:
    - {event: connected}
    - event: start
      stream_sid: "{call}"
      start: {stream_sid: "{call}", call_sid: "{call}", account_sid: x, from: "1", to: "2"}
  audio: {event: media, stream_sid: "{call}", media: {chunk: "{chunk}", payload: "{audio}"}}
  end: [{event: stop, stream_sid: "{call}"}]
receive:
  audio: {when: {event: media}, at: media.payload}
  clear: {when: {event: clear}}
"""

VONAGE = """
rate: 16000
send: {start: [{event: "websocket:connected", content-type: audio/l16;rate=16000}]}
receive: {clear: {when: {action: clear}}}
"""


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[str]:
    """A server of somebody else's, which takes the port as its last argument; gives host:port."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, *map(str, command), str(port)], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + READY_S
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        else:
            server.kill()
            pytest.fail(f"{command}: {server.communicate()[1]}")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip where a foreign server was not installed; in CI it was."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    wanted = absent and os.environ.get("CI") != "true"
    return pytest.mark.skipif(bool(wanted), reason=f"{absent}: scripts/setup dev installs it")


def held(folder: Path) -> dict[str, list[Conversation]]:
    found: dict[str, list[Conversation]] = {}
    for one in CONVERSATIONS.read(folder / CONVERSATIONS.name)[1]:
        found.setdefault(one.path, []).append(one)
    return found


def latencies_ms(conversations: list[Conversation]) -> list[float]:
    turns = [turn.record for one in conversations for turn in one.turns]
    assert [record.status for record in turns] == ["ok"] * len(turns), turns
    return [record.wav_voice_to_voice_ns / NS_PER_MS for record in turns]  # type: ignore[operator]


def compare(
    folder: Path, *paths: str, recordings: tuple[int, ...] = (1,)
) -> tuple[Outcome, dict[str, list[Conversation]]]:
    corpus = part_of_corpus(folder / "corpus", *recordings)
    flags = ("--repeat", "1", "--reply-seconds", "0.5", "--timeout", "6", "--out", folder / "out")
    made = run("compare", corpus, *[arg for path in paths for arg in ("--path", path)], *flags)
    return made, held(folder / "out")


@needs("voicebench")
def test_voicebench_and_a_map_that_never_yields_sound(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("receive: {audio: {when: {type: audio}, at: audio}}")
    options = ("-o", "transcripts=[one, two]", "--port")
    with running("-m", "voicebench", "mock-server", *options) as host:
        mute = f"mute=map:{tmp_path}/wrong.yaml,url=ws://{host}"
        mock = f"mock=map:pcm,url=ws://{host}"
        outcome, found = compare(tmp_path, mock, mute, recordings=(1, 2))
    # It answers 400 ms after 300 ms of silence; what it takes for silence is its own affair.
    assert all(500 < ms < 1200 for ms in latencies_ms(found["mock"]))
    assert [turn.record.transcript for one in found["mock"] for turn in one.turns] == ["one"] * 2
    assert outcome.code == 2  # the map is at fault: its server was reached
    for one in found["mute"]:
        assert one.status == "failed"
        assert one.reason.startswith(f"{host}: no sound came that the map wrong finds; what came: ")
        assert (
            "transcript (1), binary messages (" in one.reason or "binary messages (" in one.reason
        )
    assert f"mute, {found['mute'][0].scenario}: failed: {host}: no sound came" in outcome.err
    assert (tmp_path / "out" / "report.html").is_file()


@needs("pipecat", "fastapi", "loguru")
@pytest.mark.parametrize("kind", ["twilio", "exotel", "vonage"])
def test_a_bot_of_pipecat(tmp_path: Path, kind: str) -> None:
    (tmp_path / "exotel.yaml").write_text(EXOTEL)
    (tmp_path / "vonage.yaml").write_text(VONAGE)
    which = kind if kind == "twilio" else f"{tmp_path}/{kind}.yaml"
    with running(BOT, kind) as host:
        outcome, found = compare(tmp_path, f"bot=map:{which},url=ws://{host}/")
    assert outcome.code == 0, outcome.err
    # It answers 400 ms after its detector has heard 300 ms of silence.
    assert all(600 < ms < 1500 for ms in latencies_ms(found["bot"]))
    assert not any(one.facts["calls"] for one in found["bot"])


@pytest.mark.parametrize(
    ("map_", "why"),
    [
        ("receive: {audio: {at: media..payload}}", "receive.audio.at: is no path"),
        ("encoding: opus", "encoding: input should be 'pcm16', 'mulaw' or 'alaw'"),
        ("headers: {Authorization: '${MYBOT_KEY}'}", "the map bot needs MYBOT_KEY; set it"),
    ],
)
def test_a_map_that_cannot_be_is_told_before_anything_begins(
    tmp_path: Path, map_: str, why: str
) -> None:
    (tmp_path / "bot.yaml").write_text(map_)
    path = "mine=map:bot.yaml,url=ws://127.0.0.1:1"
    outcome = run_here("compare", "recall", "--path", path, cwd=tmp_path)
    assert outcome.code == 2
    assert why in " ".join(outcome.errors) and len(outcome.errors) <= 3
    assert not (tmp_path / "runs").exists()
