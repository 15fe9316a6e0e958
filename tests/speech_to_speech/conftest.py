"""No proxy stands between a session and its server, and no key or address is anybody's."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def hermetic(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().endswith(("_PROXY", "_API_KEY")) or name in (
            *("OPENAI_BASE_URL", "CASCADE_REALTIME_KEY"),
            *("CASCADE_GEMINI_URL", "CASCADE_GEMINI_CERTIFICATE"),
        ):
            monkeypatch.delenv(name)
