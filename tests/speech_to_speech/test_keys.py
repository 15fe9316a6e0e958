"""Keys are read from the environment, and shown to nobody."""

from __future__ import annotations

import pytest

from pipeline.errors import BadInput
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech.keys import key, shown

OURS = "test-0123456789-secret"


@pytest.mark.parametrize("name", [keys.OPENAI, keys.REALTIME, keys.AUDIO_LLM, *keys.GEMINI])
def test_a_key_of_ours_is_not_shown(name: str) -> None:
    assert shown(f"a {OURS}\nb", {name: f" {OURS}\n"}) == "a [key] b"


@pytest.mark.parametrize("name", ["MYBOT_KEY", "mybot_token", "BOT_SECRET", "DB_PASSWORD"])
def test_what_its_name_calls_a_secret_is_not_shown(name: str) -> None:
    assert keys.holds_key(name) and not keys.holds_key(f"{name}_FILE")
    assert shown(f"a {OURS} b", {name: OURS}) == "a [key] b"
    assert shown("a bee", {name: "bee"}) == "a bee"


@pytest.mark.parametrize("other", ["AIzaNotOurs-1", "sk-not-ours", "ek_not_ours", "auth_tokens/x"])
def test_what_looks_like_a_key_is_not_shown(other: str) -> None:
    assert shown(f"another {other}", {}) == "another [key]"


def test_what_is_shown_is_one_short_line() -> None:
    assert shown("a\x00b\n c ", {}) == "a b c"
    assert len(shown("word " * 100, {})) == keys.LONGEST


def test_the_first_variable_that_is_set_counts() -> None:
    assert key({"A": " ", "B": f" {OURS} ", "C": "other"}, "A", "B", "C") == OURS
    assert key({}, "A") == ""
    with pytest.raises(BadInput, match="A holds characters that cannot be in a key"):
        key({"A": "two\nlines"}, "A")
