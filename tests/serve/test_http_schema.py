"""Schemathesis on the HTTP routes: whatever is sent, an answer is one that is described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from support.background import in_background
from support.http_engines import Scripted, serving

from pipeline.serve.http_api import MOST_CHARS, SOUND_TYPES, SpeechRequest, TranscriptionRequest
from pipeline.serve.transcripts import MEDIA_TYPES

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "minLength": 1},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
MODEL = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
}
MODELS = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": MODEL}},
}
KEY_WANTED = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "expires_after": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "anchor": {"const": "created_at"},
                "seconds": {"type": "integer", "minimum": 10, "maximum": 7200},
            },
        },
        "session": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"enum": ["realtime", "transcription"]},
                "model": {"type": "string", "maxLength": 100},
                "instructions": {"type": "string", "maxLength": 1000},
                "audio": {"type": "object"},
            },
        },
    },
}
KEY = {
    "type": "object",
    "required": ["value", "expires_at", "session"],
    "properties": {
        "value": {"type": "string", "pattern": "^ek_"},
        "expires_at": {"type": "integer"},
        "session": {"type": "object", "required": ["type", "audio", "expires_at"]},
    },
}
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string"}, "event": {"enum": ["message", "error"]}},
}
EVENTS = {"text/event-stream": {"schema": EVENT}}


def of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "it", "content": {"application/json": {"schema": schema}}}


def refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): of(ERROR) for status in statuses}


def body(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema}}}


def sounds() -> dict[str, Any]:
    kinds = {kind.partition(";")[0] for kind in SOUND_TYPES.values()}
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}


def transcripts() -> dict[str, Any]:
    texts = {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()}
    made = {
        "type": "object",
        "required": ["text", "usage"],
        "properties": {"text": {"type": "string"}, "usage": {"type": "object"}},
    }
    return {**texts, "application/json": {"schema": made}, **EVENTS}


def description() -> dict[str, Any]:
    """The HTTP API in OpenAPI; what a request has is what the server's own models say."""
    speech = SpeechRequest.model_json_schema()
    speech["properties"]["input"]["maxLength"] = MOST_CHARS
    asked = TranscriptionRequest.model_json_schema()
    asked["properties"]["file"] = {"type": "string", "format": "binary"}
    asked["required"] = ["file"]
    listed = of({"type": "object"})
    named = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cascade", "version": "1"},
        "paths": {
            "/v1/realtime": {"get": {"responses": refusals(426)}},
            "/v1/realtime/client_secrets": {
                "post": {
                    "requestBody": body("application/json", KEY_WANTED),
                    "responses": {"200": of(KEY), **refusals(400, 413)},
                }
            },
            "/v1/models": {"get": {"responses": {"200": of(MODELS)}}},
            "/v1/models/{id}": {
                "get": {"parameters": [named], "responses": {"200": of(MODEL), **refusals(404)}}
            },
            "/v1/audio/models": {"get": {"responses": {"200": listed}}},
            "/v1/audio/voices": {"get": {"responses": {"200": listed}}},
            "/v1/audio/speech": {
                "post": {
                    "requestBody": body("application/json", speech),
                    "responses": {
                        "200": {"description": "sound", "content": {**sounds(), **EVENTS}},
                        **refusals(400, 404, 413),
                    },
                }
            },
            "/v1/audio/transcriptions": {
                "post": {
                    "requestBody": body("multipart/form-data", asked),
                    "responses": {
                        "200": {"description": "text", "content": transcripts()},
                        **refusals(400, 404, 413),
                    },
                }
            },
        },
    }


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_background(serving(Scripted())) as server:
        yield server.http


OTHERS = [negative_data_rejection, positive_data_acceptance]
"""Random bytes are no sound; and a null, or a number written as text, is let pass."""

schema = schemathesis.openapi.from_dict(description())


@schema.parametrize()
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_is_described(case: Case, url: str) -> None:
    case.call_and_validate(base_url=url, excluded_checks=OTHERS)
