"""`cascade talk` and `serve` with a prompt of the folder, and with pictures that are shown."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from servers.llm_server import Answer, LlmServer, Request, reply, status
from support.cli_child import (
    Files,
    Outcome,
    cascade,
    json_lines,
    recording,
    require_models,
    run,
    run_here,
    scripted,
)
from support.pictures import drawn
from support.projector import projector_of_noise
from support.serve_child import cascade_serve

from pipeline.models.catalogue import Catalogue

ANSWER = "It is red."
RED = drawn(np.full((30, 40, 3), [255, 0, 0], np.uint8))
LARGE = drawn(np.full((1500, 3000, 3), [0, 0, 255], np.uint8))

RECEPTION = """
version = "2"
instructions = "You answer for {{practice}} on {{day}}."
turns = "patient"
speed = 1.4

[variables]
practice = "Dr. Weber"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with prompts and pictures."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "reception.toml").write_text(RECEPTION)
    (tmp_path / "prompts" / "old.toml").write_text(
        'id = "reception"\ninstructions = "Version one."'
    )
    (tmp_path / "red.png").write_bytes(RED)
    (tmp_path / "large.png").write_bytes(LARGE)
    (tmp_path / "broken.png").write_bytes(RED[:40])
    return tmp_path


def talk(here: Path, server: LlmServer, *options: str, turns: int = 1) -> Outcome:
    said = [f"--input={recording(5 + number)}" for number in range(turns)]
    files = Files(here).options
    return run("talk", "--fast", "--json", "--llm", server.url, *said, *files, *options, cwd=here)


def pictures(request: Request) -> list[bytes]:
    """What a request shows."""
    return [
        base64.b64decode(part["image_url"]["url"].partition(",")[2])
        for message in request.body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


def test_talk_does_as_its_prompt_says(here: Path) -> None:
    with scripted(otherwise=reply(ANSWER)) as server:
        outcome = talk(here, server, "--prompt=reception", "--var=day={{Monday}}")
        assert (outcome.code, outcome.errors) == (0, [])
        system = [request.body["messages"][0]["content"] for request in server.requests]
        assert set(system) == {"You answer for Dr. Weber on {{Monday}}."}
        head = json_lines((here / "trace").read_text())[0]
        assert head["settings"]["tts"]["speed"] == 1.4
        assert head["settings"]["turns"]["hold_ms"] == 900
        # A flag wins over the prompt, and the prompt over the file.
        (here / "cascade.toml").write_text('[llm]\ninstructions = "x"\n[tts]\nspeed = 0.9\n')
        options = ("--prompt=reception@1", "--instructions=Be brief.")
        assert talk(here, server, *options).code == 0
        assert server.requests[-1].body["messages"][0]["content"] == "Be brief."
        head = json_lines((here / "trace").read_text())[0]
        assert head["settings"]["tts"]["speed"] == 0.9


def test_a_prompt_brings_its_tools(here: Path) -> None:
    code = 'def book(day: str) -> str:\n    """Book a day."""\n    return "done"\n'
    (here / "prompts" / "booking.py").write_text(code)
    told = 'version = "2"\ninstructions = "x"\ntools = ["booking.py", { type = "function" }]\n'
    (here / "prompts" / "reception.toml").write_text(told)
    with scripted(otherwise=reply(ANSWER)) as server:
        outcome = talk(here, server, "--prompt=reception")
        assert outcome.code == 0
        assert "its definitions are for Realtime clients" in outcome.err
        names = [tool["function"]["name"] for tool in server.requests[-1].body["tools"]]
        assert "book" in names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prompt=nobody"], "there is no prompt 'nobody'; prompts has reception"),
        (["--prompt=../reception"], "--prompt ../reception: there is no prompt"),
        (["--prompt=reception@7"], "prompt reception has no version '7'; it has 1, 2"),
        (["--prompt=reception"], "needs a value for its variable 'day'"),
        (["--prompt=reception", "--var=day"], "--var day: write it as NAME=VALUE"),
        (["--prompt=reception", "--var=dya=x"], "no variable 'dya'; its variables: day, practice"),
        (["--var=day=x"], "--var: goes with --prompt"),
        (["--image=nowhere.png"], "nowhere.png: there is no such file"),
        (["--image=broken.png"], "broken.png: is damaged"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_anything_begins(
    here: Path, options: list[str], words: str
) -> None:
    outcome = run_here("talk", f"--input={recording(5)}", "--output=o.wav", *options, cwd=here)
    assert outcome.code == 2 and len(outcome.errors) == 1
    assert words in outcome.errors[0]


def test_a_value_that_cannot_be_is_told_with_its_file(here: Path) -> None:
    (here / "prompts" / "reception.toml").write_text('instructions = "x"\nspeed = 9\n')
    outcome = run_here("prompts", cwd=here)
    assert outcome.code == 2 and "prompts/reception.toml: speed: " in outcome.errors[0]
    other = 'version = "2"\ninstructions = "x"\nvoice = "nobody"\n'
    (here / "prompts" / "reception.toml").write_text(other)
    outcome = run_here("talk", "--prompt=reception", f"--input={recording(5)}", cwd=here)
    assert outcome.code == 2 and "nobody" in outcome.errors[0]


def test_the_prompts_are_listed(here: Path) -> None:
    listed = json_lines(run_here("prompts", "--json", cwd=here).out)
    assert [(each["version"], each["required"]) for each in listed] == [("1", []), ("2", ["day"])]
    shown = run_here("prompts", cwd=here).out
    assert "practice=Dr. Weber" in shown and "You answer for {{practice}}" in shown
    assert "holds no prompts" in run_here("prompts", cwd=here / "prompts").err


def test_serve_begins_with_its_prompt_and_has_the_others(here: Path) -> None:
    from websockets.sync.client import connect

    with scripted(otherwise=reply(ANSWER)) as server:
        options = ("--llm", server.url, "--prompt=reception", "--var=day=Monday")
        env = {"CASCADE_PROMPTS__DIR": str(here / "prompts")}
        with cascade_serve(*options, env=env) as there, connect(there.realtime) as socket:
            created: Any = json.loads(socket.recv())
            assert created["session"]["instructions"] == "You answer for Dr. Weber on Monday."
            assert created["session"]["audio"]["output"]["speed"] == 1.0  # of the voice's own 1.4
            secrets = f"{there.http}/v1/realtime/client_secrets"
            wanted = {"type": "realtime", "prompt": {"id": "reception", "version": "1"}}
            made = httpx2.post(secrets, json={"session": wanted}).json()
            assert made["session"]["instructions"] == "Version one."
            offered = ["realtime", f"openai-insecure-api-key.{made['value']}"]
            with connect(there.realtime, subprotocols=offered) as other:  # type: ignore[arg-type]
                begun = json.loads(other.recv())["session"]
                assert begun["prompt"] == {"id": "reception", "version": "1", "variables": None}
                assert begun["instructions"] == "Version one."
            wanted["prompt"] = {"id": "nobody"}
            refused = httpx2.post(secrets, json={"session": wanted})
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == "session.prompt.id"


def test_pictures_are_shown_with_the_first_words_and_kept(here: Path) -> None:
    with scripted(otherwise=reply(ANSWER)) as server:
        shown = ("--image=red.png", "--image=large.png")
        outcome = talk(here, server, *shown, turns=2)
        assert (outcome.code, outcome.errors) == (0, [])
        asked = [request for request in server.requests if len(request.body["messages"]) == 2]
        red, large = pictures(asked[-1])
        assert red == RED and large.startswith(b"\xff\xd8\xff")
        assert asked[-1].body["messages"][1]["content"][0]["type"] == "text"
        assert "(shows red.png, 40 × 30)" in outcome.err
        assert "(shows large.png, 1024 × 512)" in outcome.err
        # The second turn has them too, and so has who goes on with it.
        assert pictures(server.requests[-1]) == [red, large]
        assert talk(here, server, f"--resume={here / 'said'}").code == 0
        assert pictures(server.requests[-1]) == [red, large]


def test_a_model_that_does_not_see_says_so_and_the_conversation_goes_on(here: Path) -> None:
    def answer(request: Request) -> Answer:
        hint = "image input is not supported - hint: provide the mmproj"
        return status(500, hint) if pictures(request) else reply(ANSWER)

    with scripted(otherwise=answer) as server:
        outcome = talk(here, server, "--image=red.png", turns=2)
    assert outcome.code == 0 and len(outcome.of("reply_done")) == 2
    assert {event["status"] for event in outcome.of("reply_done")} == {"completed"}
    assert len(outcome.of("pictures_unseen")) == 1
    assert outcome.errors[0].startswith("error: the language model does not see pictures")


def test_the_embedded_model_says_so_at_once(here: Path) -> None:
    require_models("llm")
    said = (f"--input={recording(5)}", "--image=red.png", *Files(here).options)
    outcome = run("talk", "--fast", "--json", *said, cwd=here)
    assert outcome.code == 0
    assert outcome.events[0]["type"] == "pictures_unseen"
    assert [event["status"] for event in outcome.of("reply_done")] == ["completed"]


def test_a_model_with_its_projector_beside_it_is_shown_the_picture(here: Path) -> None:
    require_models("llm")
    (here / "m.gguf").symlink_to(Catalogue.load().resolve("llm", "embedded").path.resolve())
    projector_of_noise(here / "mmproj-m.gguf", width=576)
    said = (f"--input={recording(5)}", "--llm=m.gguf", *Files(here).options)
    used = []
    for shown in ((), ("--image=red.png",)):
        outcome = run("talk", "--fast", "--json", *said, *shown, cwd=here)
        assert outcome.code == 0 and outcome.of("pictures_unseen") == []
        used.append(outcome.of("usage")[0]["input_tokens"])
    assert used[1] - used[0] >= 16


@pytest.mark.skipif(sys.platform != "linux", reason="the tool here is Linux's")
def test_a_key_shows_the_screen_and_a_file_that_is_dropped(here: Path) -> None:
    from support.terminal_child import in_terminal

    grim = here / "grim"
    grim.write_text(f'#!/bin/sh\nexec /bin/cp {here}/large.png "$1"\n')
    grim.chmod(0o755)
    env = {"WAYLAND_DISPLAY": "wayland-1", "PATH": f"{here}:/usr/bin:/bin"}
    said = [f"--input={recording(number)}" for number in (5, 2, 10)]
    with scripted(otherwise=reply(ANSWER)) as server:
        words = ("talk", "--llm", server.url, *said, *Files(here).options)
        with in_terminal(cascade(*words), env, here) as terminal:
            terminal.wait_for("s: show the screen")
            terminal.press("s")
            terminal.wait_for("(shows screen, 1024 × 512)")
            terminal.press("v")
            terminal.wait_for("install wl-clipboard")
            terminal.press(f"'{here / 'red.png'}' ")
            terminal.wait_for("(shows red.png, 40 × 30)")
            assert terminal.finish() == 0
        large, red = pictures(server.requests[-1])
    assert red == RED and large.startswith(b"\xff\xd8\xff")
