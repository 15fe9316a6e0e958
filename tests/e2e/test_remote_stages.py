"""`cascade talk` and `cascade profile` with the recogniser and the voice of a `cascade serve`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import pytest
from servers.llm_server import reply
from support.cli_child import Files, part_of_corpus, recording, run, run_here, scripted
from support.serve_child import cascade_serve

from pipeline.measure.record import RECORDS

TOKEN = "0123456789abcdefghij"
KEYS = {"CASCADE_STT__API_KEY": TOKEN, "CASCADE_TTS__API_KEY": TOKEN}
ANSWER = "It leaves on foot, at nine in the morning."


@dataclass(frozen=True)
class There:
    """A `cascade serve` with a token."""

    url: str

    @property
    def options(self) -> list[str]:
        return ["--stt-url", f"{self.url}/v1", "--tts-url", f"{self.url}/v1"]

    def served(self, route: str) -> float:
        """How many requests to a route were answered well."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        told = httpx2.get(f"{self.url}/metrics", headers=headers, trust_env=False).text
        line = f'cascade_requests_total{{route="{route}",status="200"}} '
        return sum(float(each.removeprefix(line)) for each in told.splitlines() if line in each)


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    with (
        scripted(otherwise=reply("Not this one.")) as llm,
        cascade_serve("--llm", llm.url, env={"CASCADE_SERVE__TOKEN": TOKEN}) as there,
    ):
        yield There(there.http)


def test_a_conversation_with_stages_that_are_elsewhere(there: There, tmp_path: Path) -> None:
    files = Files(tmp_path)
    with scripted(otherwise=reply(ANSWER)) as llm:
        outcome = run(
            *("talk", "--input", recording(5), "--json", "--llm", llm.url),
            *there.options,
            *files.options,
            env=KEYS,
        )
    assert outcome.code == 0
    assert outcome.errors == []
    assert outcome.texts() == ["What time does the museum leave?"]
    assert files.said[-1] == ("assistant", ANSWER)
    samples, rate = files.out
    assert np.count_nonzero(np.abs(samples) > 500) > rate, "a second and more is spoken"
    assert there.served("/v1/audio/transcriptions") > 0
    assert there.served("/v1/audio/speech") > 0
    written = outcome.out + outcome.err + (tmp_path / "trace").read_text("utf-8")
    assert TOKEN not in written
    assert there.url in written


def test_a_profile_of_stages_that_are_elsewhere(there: There, tmp_path: Path) -> None:
    corpus = part_of_corpus(tmp_path / "corpus", 5)
    before = there.served("/v1/audio/speech")
    with scripted(otherwise=reply(ANSWER)) as llm:
        outcome = run(
            *("profile", corpus, "--repeat", "1", "--out", tmp_path / "out", "--llm", llm.url),
            *there.options,
            env=KEYS,
        )
    assert outcome.code == 0, outcome.err
    records = RECORDS.read(tmp_path / "out" / RECORDS.name)[1]
    assert {record.status for record in records if record.repeat} == {"ok"}
    assert there.served("/v1/audio/speech") > before
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes()


def test_a_wrong_key_is_told_before_anybody_talks(there: There, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    args = ("talk", "--input", recording(5), "--output", out, *there.options)
    outcome = run(*args, env={**KEYS, "CASCADE_STT__API_KEY": "none-of-these"})
    assert outcome.code == 1
    assert outcome.errors == [f"error: {there.url}/v1 refuses the key (401); set stt.api_key"]


@pytest.mark.parametrize("flag", ["--stt-url", "--tts-url"])
@pytest.mark.parametrize("command", ["talk", "serve", "profile"])
def test_what_is_no_url_is_told(command: str, flag: str, tmp_path: Path) -> None:
    corpus = [part_of_corpus(tmp_path / "corpus", 5)] if command == "profile" else []
    more = ["--input", recording(5), "--output", tmp_path / "a.wav"] if command == "talk" else []
    more = ["--port", "0"] if command == "serve" else more
    outcome = run_here(command, *corpus, *more, flag, "box:8000", cwd=tmp_path)
    assert outcome.code == 2
    assert outcome.errors == [f"error: {flag} box:8000: not a URL; write it as http://HOST:PORT/v1"]
