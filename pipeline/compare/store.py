"""The file of a comparison: `conversations.jsonl`, written as it goes, and read again."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.compare.record import VERSION, Call, Check, Conversation, Turn
from pipeline.measure.record import Record, Span
from pipeline.measure.run import Form
from pipeline.speech_to_speech.brief import STAMP


def _plain(conversation: Conversation) -> dict[str, Any]:
    stamp = {"simulated": STAMP} if conversation.simulated else {}
    return {**stamp, **dataclasses.asdict(conversation)}


def _conversation(fields: dict[str, Any]) -> Conversation:
    fields.pop("simulated", None)
    turns = tuple(_turn(turn) for turn in fields.pop("turns"))
    for name in ("rtt_ms", "usage"):
        fields[name] = tuple(fields[name])
    return Conversation(**fields, turns=turns)


def _turn(fields: dict[str, Any]) -> Turn:
    record = fields.pop("record")
    spans = tuple(Span(**span) for span in record.pop("spans"))
    calls = tuple(Call(**call) for call in fields.pop("calls"))
    checks = tuple(Check(**check) for check in fields.pop("checks"))
    return Turn(Record(**record, spans=spans), **fields, calls=calls, checks=checks)


def _stamp(conversation: Conversation) -> dict[str, Any]:
    """What the lines of its trace say of it."""
    stamp = {"simulated": True} if conversation.simulated else {}
    return {"order": conversation.order, "path": conversation.path, **stamp}


CONVERSATIONS = Form[Conversation](
    "conversations.jsonl",
    "comparison",
    VERSION,
    made_by="compare",
    plain=_plain,
    parse=_conversation,
    stamp=_stamp,
)
"""All conversations of a comparison, in its folder."""
