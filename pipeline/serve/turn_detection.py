"""How a session takes turns, from what its client says of turn detection. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.config import PACES, Settings, TurnSettings
from pipeline.conversation.cascade import Manner
from pipeline.conversation.reply import Synthesiser
from pipeline.serve.session_object import EAGERNESS, JsonObject
from pipeline.text.language_names import code_of

LONGEST_MS = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}
"""Silence that ends an unfinished turn, by eagerness, as OpenAI's guide has it."""

_PACES = {eagerness: pace for pace, eagerness in EAGERNESS.items()}
"""Which of our paces an eagerness is; with `auto` it is the server's own."""

MOST_PADDING_MS = 1000
"""More sound from before an utterance than this is in its item, but is not recognised."""


def manner(session: JsonObject, settings: Settings, voice: Synthesiser | None) -> Manner:
    """How a session takes turns and answers, as its client asks for. Pure.

    Args:
        session: The session object.
        settings: The server's.
        voice: Speaks its replies; None: nothing does.
    """
    detection = session["audio"]["input"]["turn_detection"]
    heard = session["audio"]["input"]["transcription"] or {}
    hints = [heard.get("prompt"), ", ".join(heard.get("keywords") or ())]
    found = Manner(
        settings.turns,
        settings.vad,
        voice,
        language=code_of(heard.get("language") or ""),
        about=" ".join(filter(None, hints)),
    )
    if detection is None:
        return replace(found, listens=False, answers=False)
    answers = detection["create_response"] and session["type"] == "realtime"
    found = replace(found, answers=answers, interrupts=detection["interrupt_response"])
    # What is set here need not be what a user may set.
    if detection["type"] == "semantic_vad":
        eagerness = detection["eagerness"]
        pace = PACES.get(_PACES.get(eagerness, ""), {})
        waits = {**pace, "longest_ms": LONGEST_MS[eagerness], "predict": True}
        return replace(found, turns=_turns(settings.turns, **waits))
    idle_ms = detection["idle_timeout_ms"] or 0
    return replace(
        found,
        turns=_turns(
            settings.turns,
            predict=False,
            shortest_ms=0,
            hold_ms=detection["silence_duration_ms"],
            idle_s=idle_ms / 1000,
        ),
        vad=settings.vad.model_copy(
            update={"threshold": min(max(detection["threshold"], 0.01), 0.99)}
        ),
        preroll_ms=min(detection["prefix_padding_ms"], MOST_PADDING_MS),
    )


def _turns(turns: TurnSettings, **changed: Any) -> TurnSettings:
    return turns.model_copy(update={"idle_text": "", "idle_s": 0.0, **changed})
