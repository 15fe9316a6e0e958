"""Where settings come from, and that whatever is wrong with them is said in a useful way."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from pipeline.config import (
    DEFAULT_FILE,
    REMOVED,
    McpSettings,
    Section,
    Settings,
    TurnSettings,
    VadSettings,
    document,
    is_secret,
    load,
)
from pipeline.errors import BadInput
from pipeline.speech_to_speech import gemini, keys

FIELDS: dict[str, FieldInfo] = {
    f"{name}.{key}": field
    for name, section in Settings.model_fields.items()
    if name != "mcp"  # tables with names of their own
    for key, field in (section.annotation or Section).model_fields.items()
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty current folder and an environment that sets nothing."""
    for variable in os.environ:
        if variable.upper().startswith("CASCADE_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = DEFAULT_FILE) -> Path:
    file = Path(name)
    file.write_text(text, encoding="utf-8")
    return file


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CASCADE_{name.replace('.', '__')}".upper()


def refusal(file: Path | None = None, flags: dict[str, Any] | None = None) -> str:
    """The message of the error, one or two lines."""
    with pytest.raises(BadInput) as error:
        load(file, flags)
    message = str(error.value)
    assert len(message.splitlines()) in (1, 2)
    return message


# --- precedence ---


SOURCES = ("file", "environment", "flag")


@pytest.mark.parametrize(
    "given", [[s for i, s in enumerate(SOURCES) if n >> i & 1] for n in range(8)]
)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"file": 0.11, "environment": 0.22, "flag": 0.33}
    if "file" in given:
        write(f"[llm]\ntemperature = {values['file']}\n")
    if "environment" in given:
        monkeypatch.setenv("CASCADE_LLM__TEMPERATURE", str(values["environment"]))
    flags = {"llm.temperature": values["flag"] if "flag" in given else None}
    expected = values[given[-1]] if given else Settings().llm.temperature
    assert load(flags=flags).llm.temperature == expected


def test_sources_are_merged_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag in a section does not hide what the file says of other keys there."""
    write('[stt]\nmodel = "from-file"\nlanguage = "fr"\nthreads = 3\n[tts]\nspeed = 2\n')
    monkeypatch.setenv("CASCADE_STT__LANGUAGE", "de")
    monkeypatch.setenv("CASCADE_TURNS__PREDICT", "false")
    settings = load(flags={"stt.threads": 5})
    assert (settings.stt.model, settings.stt.language, settings.stt.threads) == (
        "from-file",
        "de",
        5,
    )
    assert (settings.tts.speed, settings.turns.predict) == (2.0, False)


def test_a_named_file_is_read_instead_of_the_one_in_the_folder() -> None:
    write("[llm]\nmax_tokens = 11\n")
    other = write("[llm]\ntemperature = 1\n", "other.toml")
    settings = load(other)
    assert settings.llm.temperature == 1.0
    assert settings.llm.max_tokens == Settings().llm.max_tokens


def test_variables_of_other_programs_and_in_other_cases_are_understood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CASCADES", "elsewhere")
    monkeypatch.setenv("cascade_stt__model", "lower")
    assert load().stt.model == "lower"


@pytest.mark.parametrize("text", ["123", "true", "[1]", '{"a": 1}', ""])
def test_text_in_the_environment_stays_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADE_LLM__INSTRUCTIONS", text)
    assert load().llm.instructions == text


def test_a_byte_order_mark_as_windows_editors_write_it_is_no_error() -> None:
    Path(DEFAULT_FILE).write_bytes(b"\xef\xbb\xbf[llm]\r\nmax_tokens = 11\r\n")
    assert load().llm.max_tokens == 11


# --- what is wrong, and where ---


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, ["there is no such file", "`cascade config` prints one"]),
        (b'[stt]\nmodel = "\xff\xfe"\n', ["is no text in UTF-8"]),
        (b"[stt", ["is no TOML: ", "end of document"]),
        (b"[stt]\na = 1\na = 2\n", ["is no TOML: ", "line"]),
        (b"\0", ["is no TOML: ", "line"]),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    content: bytes | None, says: list[str]
) -> None:
    if content is not None:
        Path("my.toml").write_bytes(content)
    message = refusal(Path("my.toml"))
    assert message.startswith("my.toml: ")
    assert all(words in message for words in says)


def test_a_folder_is_no_file(bare: Path) -> None:
    assert refusal(bare).startswith(f"{bare}: cannot be read")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[sst]\nmodel = 'x'\n", "unknown key sst; did you mean stt?"),
        ("[stt]\nmodle = 'x'\n", "unknown key stt.modle; did you mean model?"),
        ("[zzz]\n", "unknown key zzz; allowed: audio, vad, turns, stt, llm, tts,"),
        ("[models]\nzzz = 1\n", "unknown key models.zzz; allowed: dir"),
        ("model = 'x'\n", "unknown key model; did you mean models?"),
        ("stt = 'whisper'\n", "stt is a table, [stt]; allowed in it: model, language,"),
        ("[[stt]]\nmodel = 'x'\n", "stt is a table, [stt]; allowed in it: model, language,"),
        ("[stt.model]\nname = 'x'\n", "stt.model is {'name': 'x'}; allowed: text"),
        ("[stt]\nmodel = 3\n", "stt.model is 3; allowed: text"),
        ("[stt]\nmodel = ['a']\n", "stt.model is ['a']; allowed: text"),
        *[
            (f"[stt]\nthreads = {value}\n", "allowed: a whole number at least 1 and at most 64")
            for value in ("0", "2.0", "'2'", "true")
        ],
        ("[vad]\nthreshold = 1\n", "vad.threshold is 1; allowed: a number above 0.0 and below 1.0"),
        (
            "[tts]\nspeed = nan\n",
            "tts.speed is nan; allowed: a number at least 0.25 and at most 4.0",
        ),
        ("[tts]\nspeed = inf\n", "tts.speed is inf; allowed: "),
        ("[turns]\npredict = 'yes'\n", "turns.predict is 'yes'; allowed: true | false"),
        ("[turns]\npredict = 1\n", "turns.predict is 1; allowed: true | false"),
        ("[stt]\nwindow = 'Own'\n", "stt.window is 'Own'; allowed: auto | own | padded | full"),
        ("[stt]\nwindow = 1979-05-27\n", "allowed: auto | own | padded | full"),
    ],
)
def test_a_wrong_key_or_value_in_a_file_is_named_with_what_is_allowed(text: str, says: str) -> None:
    file = write(text, "my.toml")
    message = refusal(file)
    assert message.startswith("my.toml: ")
    assert says.replace(".0", "") in message.replace(".0", "")


BAD = [
    ("stt.threads", "many", "allowed: a whole number at least 1 and at most 64"),
    ("stt.threads", "", "allowed: a whole number at least 1 and at most 64"),
    ("llm.temperature", "9", "allowed: a number at least 0 and at most 2"),
    ("turns.predict", "perhaps", "allowed: true | false"),
    ("reply.mode", "parallel", "allowed: speculative | overlapped | sequential"),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_a_wrong_value_elsewhere_is_named_with_what_is_allowed(
    name: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = refusal(flags={name: value})
    monkeypatch.setenv(variable(name), value)
    for where, message in (("command line", told), (variable(name), refusal())):
        assert message.startswith(f"{where}: {name} is {value!r}; ")
        assert says in message.replace(".0", "")


def test_a_wrong_value_is_an_error_even_where_another_source_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would come to light on the day the flag is left out."""
    write("[stt]\nthreads = 0\n")
    monkeypatch.setenv("CASCADE_STT__THREADS", "2")
    assert refusal(flags={"stt.threads": 3}).startswith("cascade.toml: stt.threads is 0")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("CASCADE_STT__MODLE", "did you mean CASCADE_STT__MODEL?"),
        ("CASCADE_STT_MODEL", "did you mean CASCADE_STT__MODEL?"),
        ("CASCADE_MODEL", "did you mean CASCADE_"),
        ("CASCADE_XYZZY_PLUGH_42", "`cascade config` lists them"),
        ("CASCADE_STT", ""),
    ],
)
def test_a_variable_that_names_no_setting_is_an_error_that_names_a_near_one(
    name: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    message = refusal()
    assert message.startswith(f"environment: {name} names no setting; ")
    assert says in message


def test_an_unknown_key_on_the_command_line_is_an_error() -> None:
    assert refusal(flags={"stt.modle": "x"}) == (
        "command line: unknown key stt.modle; did you mean model?"
    )


SHORT = "turns.hold_ms is 64, shorter than turns.provisional_ms (128); allowed: at least that"
LONG = "turns.shortest_ms is 256, longer than turns.hold_ms (128); allowed: at most that"


def test_what_does_not_go_together_is_an_error_once_all_sources_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names where the values were set that count."""
    write("[turns]\nhold_ms = 64\nprovisional_ms = 128\n")
    assert refusal() == f"cascade.toml: {SHORT}"
    monkeypatch.setenv("CASCADE_TURNS__PROVISIONAL_MS", "128")
    assert refusal() == f"cascade.toml, CASCADE_TURNS__PROVISIONAL_MS: {SHORT}"
    monkeypatch.setenv("CASCADE_TURNS__HOLD_MS", "128")
    assert refusal() == f"CASCADE_TURNS__HOLD_MS: {LONG}"
    assert load(flags={"turns.shortest_ms": 128}).turns.shortest_ms == 128
    assert refusal(flags={"turns.shortest_ms": 256}) == (
        f"command line, CASCADE_TURNS__HOLD_MS: {LONG}"
    )
    # Where nothing is foreseen, silence of `hold_ms` alone ends a turn.
    assert load(flags={"turns.predict": "no"}).turns.hold_ms == 128
    with pytest.raises(ValueError, match="shorter than turns"):
        TurnSettings(hold_ms=64, provisional_ms=128)


@given(st.floats(0.001, 0.999))
def test_speech_ends_below_the_probability_that_begins_it(threshold: float) -> None:
    assert 0 < VadSettings(threshold=threshold).release < threshold


# --- what was a setting once ---


@pytest.mark.parametrize("name", REMOVED)
def test_a_setting_that_is_gone_says_what_to_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name not in FIELDS
    told = "" if REMOVED[name].startswith("write ") else "; leave it out"
    says = f"{name} is no setting any more: {REMOVED[name]}{told}"
    assert refusal(flags={name: 1}) == f"command line: {says}"
    section, key = name.split(".")
    assert refusal(write(f"[{section}]\n{key} = 1\n")) == f"cascade.toml: {says}"
    Path(DEFAULT_FILE).unlink()
    monkeypatch.setenv(variable(name), "1")
    assert refusal() == f"{variable(name)}: {says}"


def test_all_settings_that_are_gone_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ["turns.adapt", "turns.tail_ms", "llm.name"]
    why = [f"{name} ({REMOVED[name]}; leave it out)" for name in gone[:-1]]
    told = ", ".join([*why, f"llm.name ({REMOVED['llm.name']})"])
    says = f"3 keys are no settings any more: {told}"
    path = write('[turns]\nhold_ms = "wrong too"\nadapt = true\ntail_ms = 1\n[llm]\nname = 1\n')
    assert refusal(path) == f"cascade.toml: {says}"
    Path(DEFAULT_FILE).unlink()
    for name in gone:
        monkeypatch.setenv(variable(name), "1")
    assert refusal() == f"{', '.join(map(variable, gone))}: {says}"


def test_keys_and_addresses_of_other_servers_are_no_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (keys.REALTIME, gemini.URL, gemini.CERTIFICATE):
        monkeypatch.setenv(name, "wss://127.0.0.1:1")
    assert load() == Settings()


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("ab1-. \n\0é", max_size=10)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text("ab", max_size=3), st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, max_size=3))
def test_any_values_are_taken_or_refused_in_words(flags: dict[str, Any]) -> None:
    """Never a traceback from a library, and what is taken keeps to its type and bounds."""
    try:
        settings = load(flags=flags)
    except BadInput as error:
        assert str(error).startswith("command line: ")
        assert "allowed: " in str(error)
    else:
        Settings.model_validate(settings.model_dump(), strict=True)


# --- the document ---


def test_the_document_is_toml_and_loads_back_to_the_defaults() -> None:
    text = document()
    parsed = tomllib.loads(text)
    assert parsed == Settings().model_dump(exclude={"mcp"})
    named = text[text.index("# [mcp.NAME]") :].replace("# [", "[")
    lines = [line.removeprefix("# ") for line in named.splitlines() if " = " in line or "[" in line]
    [shown] = tomllib.loads("\n".join(lines))["mcp"].values()
    assert shown == McpSettings(command="x").model_dump() | {"command": ""}
    write(text)
    assert load().model_dump() == Settings().model_dump()


def test_the_document_names_every_setting_after_its_description_and_what_is_allowed() -> None:
    lines = document().splitlines()
    for name, field in FIELDS.items():
        section, key = name.split(".")
        at = lines.index(f"[{section}]")
        assert re.fullmatch(r"# .+\.", lines[at - 1]), "a section has a description of one line"
        within = lines[at + 1 :]
        comment = within[
            next(i for i, line in enumerate(within) if line.startswith(f"{key} =")) - 1
        ]
        assert re.fullmatch(r"# .{10,}[^.] \(.+\)", comment)
        assert comment.startswith(f"# {field.description} (")
        if get_origin(field.annotation) is Literal:
            assert comment.endswith(f"({' | '.join(get_args(field.annotation))})")


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_be_set_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To its default here, as text; the value that comes out is the same, with its type."""
    section, key = name.split(".")
    default = FIELDS[name].default
    text = ", ".join(default) if isinstance(default, list) else str(default)
    monkeypatch.setenv(variable(name), text)
    value = getattr(getattr(load(), section), key)
    assert value == default
    assert type(value) is type(default)


def test_no_secret_is_in_what_settings_look_like() -> None:
    settings = Settings()
    secrets = [
        (name, key)
        for name, section in settings
        if name != "mcp"
        for key in type(section).model_fields
        if is_secret(f"{name}.{key}")
    ]
    assert len(secrets) == 4
    for name, key in secrets:
        section = getattr(settings, name).model_copy(update={key: "hush-hush"})
        assert getattr(section, key) == "hush-hush"
        assert "hush" not in repr(settings.model_copy(update={name: section}))


def test_a_list_is_written_in_toml_as_such_and_in_a_variable_with_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write('[tools]\nfiles = ["a.py", "b.py"]')
    assert load().tools.files == ["a.py", "b.py"]
    monkeypatch.setenv("CASCADE_TOOLS__FILES", "c.py, d.py")
    assert load().tools.files == ["c.py", "d.py"]
    assert load(flags={"tools.files": ["e.py"]}).tools.files == ["e.py"]
    write("[tools]\nfiles = 3")
    with pytest.raises(BadInput, match="allowed: a list of texts"):
        load()


# --- tables with names of their own ---


def test_mcp_servers_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    write("""
[mcp.files]
command = "npx"
args = ["-y", "some-server"]
env = { ROOT = "${HOME}/x" }
approval = ["delete"]
[mcp.web]
url = "https://example.org/mcp"
headers = { Authorization = "Bearer ${WEB_TOKEN}" }
approval = "never"
""")
    monkeypatch.setenv("WEB_TOKEN", "hush")
    monkeypatch.setenv("HOME", "/me")
    files, web = load(flags={"mcp.more": {"command": "x"}}).mcp["files"], load().mcp["web"]
    assert files.expanded(files.env) == {"ROOT": "/me/x"}
    assert (files.approval, files.timeout_s) == (["delete"], 30.0)
    assert web.expanded(web.headers) == {"Authorization": "Bearer hush"}
    assert list(load(flags={"mcp.more": {"command": "x"}}).mcp) == ["files", "web", "more"]
    monkeypatch.delenv("WEB_TOKEN")
    with pytest.raises(BadInput, match="the variable WEB_TOKEN"):
        web.expanded(web.headers)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[mcp.f]\ncommand = "x"\nurl = "http://a"', "mcp.f needs either url or command"),
        ("[mcp.f]\ntimeout_s = 3", "mcp.f needs either url or command"),
        ('[mcp.f]\nurl = "ftp://a"', "mcp.f has a url that begins neither http:// nor https://"),
        ("[mcp]\nf = 3", "mcp.f is a table, [mcp.f]; allowed in it: url, command, "),
        ("mcp = 3", "mcp is a table, [mcp.NAME]; allowed in it: url, command, "),
        ('[mcp."a b"]\ncommand = "x"', "mcp.a b: a name has letters, digits, _ and -"),
        ('[mcp.f]\ncomand = "x"', "unknown key mcp.f.comand; did you mean command?"),
        (
            '[mcp.f]\ncommand = "x"\napproval = "sometimes"',
            "mcp.f.approval is 'sometimes'; allowed: always | never | a list of texts",
        ),
        (
            '[mcp.f]\nurl = "http://a"\nheaders = { a = 1 }',
            "mcp.f.headers is hidden; allowed: a table of texts",
        ),
        (
            '[mcp.f]\ncommand = "x"\ntimeout_s = 0',
            "mcp.f.timeout_s is 0; allowed: a number above 0 and at most 3600",
        ),
    ],
)
def test_what_is_wrong_with_an_mcp_server_is_said(text: str, said: str) -> None:
    write(text)
    assert refusal().startswith(f"{DEFAULT_FILE}: {said}")
