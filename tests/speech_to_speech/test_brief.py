"""What tells a simulated server from a real one."""

from __future__ import annotations

import base64
import json

from pipeline.speech_to_speech.brief import parameters, stamp


def test_the_id_of_a_session_tells() -> None:
    about = {"name": "m", "source": "somebody"}
    data = base64.urlsafe_b64encode(json.dumps(about).encode()).decode()
    assert stamp(f"SIMULATED.{data}") == stamp(f"SIMULATED.{data.rstrip('=')}") == about
    assert stamp(None) is None
    assert stamp("abc.def") is None


def test_what_is_stamped_is_never_taken_for_real() -> None:
    empty = base64.urlsafe_b64encode(b"{}").decode()
    for session_id in ("SIMULATED", "SIMULATED.%%%", f"SIMULATED.{empty}"):
        assert stamp(session_id) == {"name": "unknown"}
    for told in (None, {}, [], "text"):
        assert parameters(told) == {"name": "unknown"}
