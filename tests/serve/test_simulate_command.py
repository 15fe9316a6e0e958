from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.realtime_client import connected, silence, voice

from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.serve.command import simulate

TEXT = """
name: test
source: nobody
voice: tone
latency: {median_ms: 20}
conversations:
  a:
    - {transcript: hello, reply: Good morning., ends_s: 0.3}
"""


@contextmanager
def _running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "pipeline", "simulate", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child, json.loads(child.stdout.readline())
        finally:
            child.kill()


class _Address:
    def __init__(self, url: str) -> None:
        self.url = url


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, sign: signal.Signals) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(TEXT, encoding="utf-8")
    with _running("realtime", "--script", str(script)) as (child, said):
        assert set(said) == {"url"}
        async with connected(_Address(said["url"])) as client:  # type: ignore[arg-type]
            await client.hear(voice(0.3), silence(0.5))
            done = await client.event("response.done")
            assert done["response"]["status"] == "completed"
            child.send_signal(sign)
            assert (await client.end()).rcvd is not None
        assert await asyncio.to_thread(child.wait, 20) == 0


def test_a_preset_says_all_about_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(TEXT, encoding="utf-8")
    arguments = ("--script", str(script), "--preset", "gpt-realtime-1.5", "--json")
    with _running("realtime", *arguments) as (_, said):
        assert said["conversations"] == ["a"]
        assert said["script"]["name"] == "gpt-realtime-1.5"
        assert "1152" in said["script"]["source"] and "1152" in said["script"]["latency"]


@pytest.mark.parametrize(
    ("protocol", "script", "preset", "words"),
    [
        ("realtime", None, None, "--script FILE.yaml or --preset"),
        ("dream", None, "gpt-realtime", "write realtime"),
        ("gemini", None, "gpt-realtime", "the same scripts and presets"),
        ("realtime", None, "gpt-9", "there is none of that name"),
        ("realtime", Path("nowhere.yaml"), None, "cannot be read"),
    ],
)
async def test_what_cannot_be_served_is_said(
    protocol: str, script: Path | None, preset: str | None, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        await simulate(Settings(), protocol, script, preset)
