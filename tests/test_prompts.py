"""The folder of prompts: what is read, what is filled in, and that no name leads out of it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import PACES
from pipeline.errors import BadInput
from pipeline.prompts import PromptRefused, Prompts, StoredPrompt, variables

WHOLE = """
version = 3
description = "Answers the telephone."
turns = "patient"
voice = "en_US-joe-medium"
speed = 1.1
language = "en"
tools = ["booking.py", { type = "function", name = "book" }]
instructions = '''
You answer the telephone of {{practice}}.
Today is {{ day }}; {not this}, {{nor this one}}.
'''

[variables]
practice = "Dr. Weber"
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_prompt_is_read_with_all_that_it_says(tmp_path: Path) -> None:
    (tmp_path / "booking.py").write_text("")
    prompt = Prompts.read(write(tmp_path, reception=WHOLE)).find("reception")
    assert (prompt.id, prompt.version, prompt.required) == ("reception", "3", ["day"])
    assert prompt.functions == [{"type": "function", "name": "book"}]
    assert prompt.settings({"day": "Monday"}) == {
        "llm.instructions": "You answer the telephone of Dr. Weber.\n"
        "Today is Monday; {not this}, {{nor this one}}.\n",
        "tts.voice": "en_US-joe-medium",
        "tts.speed": 1.1,
        "stt.language": "en",
        "tools.files": [str(tmp_path / "booking.py")],
        **{f"turns.{name}": ms for name, ms in PACES["patient"].items()},
    }


@given(st.text())
def test_a_value_is_put_in_as_it_is(value: str) -> None:
    prompt = StoredPrompt(id="p", instructions="<{{a}}|{{b}}|{{a}}>", variables={"b": "{{a}}"})
    assert prompt.filled({"a": value}) == f"<{value}|{{{{a}}}}|{value}>"


def test_values_are_of_its_variables_and_none_is_missing() -> None:
    prompt = StoredPrompt(id="p", instructions="{{a}} {{b}}", variables={"b": "x"})
    with pytest.raises(PromptRefused, match="needs a value for its variable 'a'") as missing:
        prompt.filled({"b": "y"})
    assert (missing.value.field, missing.value.kind) == ("variables.a", "missing")
    with pytest.raises(PromptRefused, match="no variable 'c'; its variables: a, b") as unknown:
        prompt.filled({"a": "x", "c": "y"})
    assert (unknown.value.field, unknown.value.kind) == ("variables.c", "unknown")


def test_versions_of_one_prompt_are_told_apart_and_the_newest_is_meant(tmp_path: Path) -> None:
    text = 'id = "p"\nversion = "{}"\ninstructions = "{}"\n'
    found = Prompts.read(
        write(tmp_path, **{f"v{n}": text.format(n, n) for n in ("9", "10", "10-draft", "2.1")})
    )
    assert list(found.find("p").instructions) == list("10-draft")
    assert found.find("p", "9").instructions == "9"
    assert list(found.all["p"]) == ["2.1", "9", "10", "10-draft"]
    with pytest.raises(PromptRefused, match=r"no version '11'; it has 2\.1, 9") as refused:
        found.find("p", "11")
    assert refused.value.field == "version"


def test_without_the_folder_there_are_none(tmp_path: Path) -> None:
    found = Prompts.read(tmp_path / "nowhere")
    with pytest.raises(PromptRefused, match="there is no prompt 'p'"):
        found.find("p")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "instructions: is missing"),
        ('instructions = ""', "instructions: string should have at least 1 character"),
        ('instructions = "x"\nvoise = "y"', "voise: is not known here"),
        ('instructions = "x"\nspeed = 9', "speed: "),
        ('instructions = "x"\nspeed = "fast"', "speed: "),
        ('instructions = "x"\nturns = "slow"', "turns: input should be 'eager', 'balanced' or"),
        ('instructions = "x"\nid = "../p"', "id: string should match pattern"),
        ('instructions = "x"\n[variables]\nday = "Monday"', "variables.day: the instructions have"),
        ('instructions = "{{a}}"\n[variables]\na = 1', "variables.a: "),
        ('instructions = "x"\n[variables]\n"a b" = "1"', "variables: 'a b' is no name"),
        ("instructions = x", "is no TOML: Invalid value (at line 1"),
    ],
)
def test_what_is_no_prompt_is_told_with_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput) as told:
        Prompts.read(write(tmp_path, p=text))
    assert str(told.value).startswith(f"{tmp_path / 'p.toml'}: {words}")
    assert len(str(told.value).splitlines()) == 1


def test_two_files_are_not_the_same_version(tmp_path: Path) -> None:
    same = 'id = "p"\ninstructions = "x"'
    with pytest.raises(BadInput, match=r"b\.toml: a\.toml is version 1 of prompt p too"):
        Prompts.read(write(tmp_path, a=same, b=same))


def test_no_id_leads_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path, secret='instructions = "secret"')
    (folder := tmp_path / "prompts").mkdir()
    found = Prompts.read(write(folder, p='instructions = "x"'))
    names = ["../secret", "..\\secret", str(tmp_path / "secret"), "secret", "p.toml", "./p", "P"]
    for id in [*names, "p\0", "\0", "", ".", "..", "CON", "NUL", "COM1", "p/../p", "x" * 9999]:
        with pytest.raises(PromptRefused) as refused:
            found.find(id)
        assert refused.value.field == "id"
        with pytest.raises(PromptRefused) as refused:
            found.find("p", id or "../1")
        assert refused.value.field == "version"


@pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and sockets are POSIX's")
@pytest.mark.parametrize("kind", ["link", "broken", "pipe", "socket", "folder", "large", "latin"])
def test_what_is_no_file_of_the_folder_is_refused(tmp_path: Path, kind: str) -> None:
    (folder := tmp_path / "prompts").mkdir()
    path = folder / "p.toml"
    match kind:
        case "link":
            path.symlink_to(write(tmp_path, secret='instructions = "x"') / "secret.toml")
        case "broken":
            path.symlink_to(tmp_path / "nowhere")
        case "pipe":
            os.mkfifo(path)
        case "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "folder":
            path.mkdir()
        case "large":
            path.write_bytes(b"#" * (2 << 20))
        case "latin":
            path.write_bytes(b"instructions = '\xe9'")
    with pytest.raises(BadInput, match=r"p\.toml: "):
        Prompts.read(folder)


@pytest.mark.parametrize("name", ["../out.py", "/etc/passwd", "in\\u0000.py", "gone.py", "link.py"])
def test_tools_are_files_of_the_folder(tmp_path: Path, name: str) -> None:
    (folder := tmp_path / "prompts").mkdir()
    (tmp_path / "out.py").write_text("")
    (folder / "link.py").symlink_to(tmp_path / "out.py")
    with pytest.raises(BadInput, match=r"p\.toml: tools: there is no file "):
        Prompts.read(write(folder, p=f'instructions = "x"\ntools = ["{name}"]'))


def test_values_are_given_by_name() -> None:
    assert variables(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a b=1"], ["a=1", "a=2"]):
        with pytest.raises(BadInput, match=r"--var "):
            variables(wrong)
