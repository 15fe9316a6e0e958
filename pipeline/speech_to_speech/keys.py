"""Keys: where they come from, and how they are kept out of messages and logs."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping

from pipeline.errors import BadInput, one_line

OPENAI = "OPENAI_API_KEY"
"""The environment's variable that holds the key for OpenAI's APIs."""

REALTIME = "CASCADE_REALTIME_KEY"
"""The variable that holds the key of a Realtime server that is not OpenAI's."""

AUDIO_LLM = "AUDIO_LLM_API_KEY"
"""The variable that holds the key of a chat model's server that is not OpenAI's."""

GEMINI = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
"""The variables that may hold the key for Gemini; the first that is set counts."""

LONGEST = 200
"""Of what a server says, so many characters are shown."""

QUIET = logging.getLogger(__name__)
"""For the WebSocket clients, which would write the key with the headers: says what is wrong, and
nothing of what is sent, also where everything is logged."""

QUIET.setLevel(logging.WARNING)

_SECRET = re.compile(r".*(?:KEY|TOKEN|SECRET|PASSWORD)", re.I)
"""Names of variables whose values nobody is shown."""

SHORTEST = 8
"""A value with fewer characters is no secret, and may be part of any word."""

_KEYS = re.compile(r"\b(?:(?:sk|ek|sess)[-_][^\s\"',]+|(?:AIza|AQ\.|auth_tokens/)[\w.\-]+)")
"""What keys of OpenAI and of Google look like, be they whole or masked."""


def key(environment: Mapping[str, str], *names: str) -> str:
    """The key in the first of these variables that is set; empty if none is.

    White space around it, which files and copying add, is left out.

    Raises:
        BadInput: It cannot be one.
    """
    for name in names:
        if text := environment.get(name, "").strip():
            if text.isascii() and text.isprintable():
                return text
            raise BadInput(f"{name} holds characters that cannot be in a key; set it again")
    return ""


def holds_key(name: str) -> bool:
    """Whether a variable's name says that nobody is to be shown its value."""
    return _SECRET.fullmatch(name) is not None


def shown(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A text from outside, fit to be shown: one line, of a readable length, without any key.

    Servers echo parts of a wrong key, and a client's errors may hold all of it.
    """
    for name, value in environment.items():
        secret = value.strip() if holds_key(name) else ""
        if len(secret) >= SHORTEST or (secret and name in (OPENAI, REALTIME, AUDIO_LLM, *GEMINI)):
            text = text.replace(secret, "[key]")
    return one_line(_KEYS.sub("[key]", text), LONGEST)
