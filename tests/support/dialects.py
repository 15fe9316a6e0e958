"""What servers of the three protocols say, in words that they share.

A dialect makes messages, as JSON. Tests of a core feed it with them, in made-up time; tests of a
session have a server send them (`servers.api_server`).
"""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from openai.types.live import SessionConfigParam
from pydantic import TypeAdapter

from pipeline.events import Samples
from pipeline.speech_to_speech.brief import SystemSpec

Message = dict[str, Any]

RATE = 24_000
"""Of the model's sound (Hz)."""

USED = {"input_tokens": 100, "cached": 60, "output_tokens": 50}
USED_AUDIO = {"input": 30, "cached": 20, "output": 40}
"""What a reply is billed in every dialect."""


def pcm(seconds: float, level: int = 5000) -> str:
    """Sound; level 0 is silence."""
    samples = np.resize(np.array([level, -level], "<i2"), round(seconds * RATE))
    return base64.b64encode(samples.tobytes()).decode()


class Dialect(ABC):
    """One server's side of a conversation; it knows what it has said so far."""

    kind: str
    opening: str
    """The kind of message that configures a session."""
    closing = ""
    """The kind of message that takes leave; empty: there is none."""
    key: str
    """The variable that holds the key."""
    heard_rate: int
    """Of the sound that the server gets (Hz)."""
    tls = False

    @abstractmethod
    def spec(self, host: str, certificate: str, options: Mapping[str, str]) -> SystemSpec:
        """How the command line describes a server at this host and port."""

    def environment(self, host: str) -> dict[str, str]:
        """Where else the server is named."""
        return {}

    def hello(self) -> list[Message]:
        """What comes as soon as there is a connection."""
        return []

    @abstractmethod
    def greeting(self, opening: Message) -> list[Message]:
        """The session is as the client wants it."""

    def goodbye(self) -> list[Message]:
        """The answer to a client that takes leave."""
        return []

    def kind_of(self, message: Message) -> str:
        """Which kind of message of the client's this is."""
        return str(message["type"])

    @abstractmethod
    def sound_of(self, message: Message) -> Samples | None:
        """The sound in a message of the client's; None: it is another."""

    @abstractmethod
    def result_of(self, message: Message) -> tuple[str, str] | None:
        """The call and its result in a message of the client's; None: it is another."""

    def began(self) -> list[Message]:
        """The user begins to speak, if the server says so."""
        return []

    def ended(self) -> list[Message]:
        """The user's turn is over, if the server says so."""
        return []

    @abstractmethod
    def understood(self, words: str) -> list[Message]:
        """What the user said."""

    @abstractmethod
    def says(self, words: str, seconds: float = 0.2) -> list[Message]:
        """The model says something; it begins to speak of results once they are there."""

    @abstractmethod
    def calls(self, *ids: str) -> list[Message]:
        """The model calls the tool `weather` so often, and waits."""

    @abstractmethod
    def completed(self) -> list[Message]:
        """The model has said all."""

    @abstractmethod
    def cut(self) -> list[Message]:
        """The model stops because the user speaks."""

    @abstractmethod
    def billed(self) -> list[Message]:
        """A reply's usage: `USED`, of which `USED_AUDIO` is sound."""

    @abstractmethod
    def error(self, said: str) -> list[Message]:
        """Something went wrong that ends nothing."""

    @abstractmethod
    def expires(self) -> list[Message]:
        """The session has lasted as long as it may."""


def answered(item: Message) -> tuple[str, str] | None:
    """The call and its result in an item of a conversation of OpenAI's."""
    if item.get("type") != "function_call_output":
        return None
    return item["call_id"], item["output"]


class Realtime(Dialect):
    """OpenAI's Realtime protocol."""

    kind = "realtime"
    opening = "session.update"
    key = "CASCADE_REALTIME_KEY"
    heard_rate = 24_000

    def __init__(self) -> None:
        self._turns = self._responses = self._items = 0
        self._active = False

    def spec(self, host: str, certificate: str, options: Mapping[str, str]) -> SystemSpec:
        return SystemSpec("it", "realtime", "m", f"ws://{host}/v1/realtime", options)

    def hello(self) -> list[Message]:
        return [{"type": "session.created", "session": {"model": "m"}}]

    def greeting(self, opening: Message) -> list[Message]:
        return [{"type": "session.updated", "session": opening["session"]}]

    def sound_of(self, message: Message) -> Samples | None:
        if message["type"] != "input_audio_buffer.append":
            return None
        return np.frombuffer(base64.b64decode(message["audio"], validate=True), "<i2")

    def result_of(self, message: Message) -> tuple[str, str] | None:
        return answered(message.get("item", {}))

    def began(self) -> list[Message]:
        self._turns += 1
        return [{"type": "input_audio_buffer.speech_started", "item_id": f"u{self._turns}"}]

    def ended(self) -> list[Message]:
        item = {"item_id": f"u{self._turns}"}
        return [
            {"type": "input_audio_buffer.speech_stopped", **item},
            {"type": "input_audio_buffer.committed", **item},
        ]

    def understood(self, words: str) -> list[Message]:
        kind = "conversation.item.input_audio_transcription"
        item = {"item_id": f"u{self._turns}", "content_index": 0}
        return [
            {"type": f"{kind}.delta", **item, "delta": words},
            {"type": f"{kind}.completed", **item, "transcript": words},
        ]

    def begin(self) -> list[Message]:
        """A response begins, unless one is under way."""
        if self._active:
            return []
        self._responses, self._active = self._responses + 1, True
        return [{"type": "response.created", "response": {"id": f"r{self._responses}"}}]

    def says(self, words: str, seconds: float = 0.2) -> list[Message]:
        begin = self.begin()
        self._items += 1
        item = {"id": f"a{self._items}", "type": "message", "role": "assistant"}
        at = {"response_id": f"r{self._responses}", "item_id": item["id"], "content_index": 0}
        response = {"response_id": f"r{self._responses}"}
        return [
            *begin,
            {"type": "response.output_item.added", **response, "item": item},
            {"type": "response.output_audio_transcript.delta", **at, "delta": words},
            {"type": "response.output_audio.delta", **at, "delta": pcm(seconds)},
            {"type": "response.output_audio.done", **at},
        ]

    def calls(self, *ids: str) -> list[Message]:
        begin = self.begin()
        done = {"type": "response.output_item.done", "response_id": f"r{self._responses}"}
        call = {"type": "function_call", "status": "completed", "name": "weather"}
        items = [{**call, "id": f"i-{name}", "call_id": name, "arguments": "{}"} for name in ids]
        return [*begin, *({**done, "item": item} for item in items), *self._done("completed")]

    def completed(self) -> list[Message]:
        return self._done("completed")

    def cut(self) -> list[Message]:
        return self._done("cancelled")

    def billed(self) -> list[Message]:
        cached = {"audio_tokens": USED_AUDIO["cached"]}
        read = {
            "cached_tokens": USED["cached"],
            "audio_tokens": USED_AUDIO["input"],
            "cached_tokens_details": cached,
        }
        usage = {
            "input_tokens": USED["input_tokens"],
            "output_tokens": USED["output_tokens"],
            "input_token_details": read,
            "output_token_details": {"audio_tokens": USED_AUDIO["output"]},
        }
        return self._done("completed", usage=usage)

    def error(self, said: str) -> list[Message]:
        return [{"type": "error", "error": {"type": "server_error", "message": said}}]

    def expires(self) -> list[Message]:
        return [{"type": "error", "error": {"code": "session_expired", "message": "60 minutes"}}]

    def _done(self, status: str, **more: Any) -> list[Message]:
        self._active = False
        response = {"id": f"r{self._responses}", "status": status, **more}
        return [{"type": "response.done", "response": response}]


class Live(Dialect):
    """OpenAI's Live protocol: nothing is told of turns, and silence is sent too."""

    kind = "openai-live"
    opening = "session.start"
    closing = "session.close"
    key = "OPENAI_API_KEY"
    heard_rate = 24_000

    def __init__(self) -> None:
        self._tasks = 0
        self._working = False

    def spec(self, host: str, certificate: str, options: Mapping[str, str]) -> SystemSpec:
        return SystemSpec("it", "openai-live", "m", options=options)

    def environment(self, host: str) -> dict[str, str]:
        return {"OPENAI_BASE_URL": f"http://{host}/v1"}

    def greeting(self, opening: Message) -> list[Message]:
        config = opening["session"]
        unknown = set(config) - set(SessionConfigParam.__annotations__)
        assert not unknown, f"the API refuses fields that it does not know: {unknown}"
        TypeAdapter(SessionConfigParam).validate_python(config)
        session = {"id": "live_1", "expires_at": 1, "status": "active", **config}
        return [{"type": "session.started", "session": session}]

    def goodbye(self) -> list[Message]:
        return [{"type": "session.closed", "reason": "close_requested", "usage": {"seconds": 31}}]

    def sound_of(self, message: Message) -> Samples | None:
        if message["type"] != "session.input_audio.append":
            return None
        return np.frombuffer(base64.b64decode(message["audio"], validate=True), "<i2")

    def result_of(self, message: Message) -> tuple[str, str] | None:
        return answered(message.get("item", {}))

    def understood(self, words: str) -> list[Message]:
        return [{"type": "session.input_transcript.delta", "delta": words}]

    def says(self, words: str, seconds: float = 0.2) -> list[Message]:
        text = {"type": "session.output_transcript.delta", "delta": words}
        first, *rest = self.sound(seconds)
        return [*self._settled(), first, text, *rest]

    def sound(self, seconds: float, level: int = 5000) -> list[Message]:
        """Sound in pieces of 100 ms, which have neither an id nor a time."""
        piece = {"type": "session.output_audio.delta", "delta": pcm(0.1, level)}
        return [piece] * round(seconds * 10)

    def calls(self, *ids: str) -> list[Message]:
        self._tasks, self._working = self._tasks + 1, True
        task = {"id": f"d{self._tasks}", "target": "responses", "type": "delegation"}
        call = {"type": "function_call", "status": "completed", "name": "weather"}
        items = [{**call, "call_id": name, "arguments": "{}"} for name in ids]
        return [
            {"type": "session.delegation.created", "delegation": task},
            self.backend("response.created"),
            *(self.backend("response.output_item.done", item=item) for item in items),
            self.backend("response.completed", response={}),
            *self.sound(1.1, level=0),
        ]

    def backend(self, kind: str, **fields: Any) -> Message:
        """The text model does something."""
        event = {"type": kind, **fields}
        return {"type": "response.event", "delegation_id": f"d{self._tasks}", "event": event}

    def completed(self) -> list[Message]:
        return [*self._settled(), *self.sound(1.3, level=0)]

    def cut(self) -> list[Message]:
        return self.sound(0.5, level=0)

    def billed(self) -> list[Message]:
        self._tasks += 1
        task = {"id": f"d{self._tasks}", "target": "responses", "type": "delegation"}
        usage = {
            "input_tokens": USED["input_tokens"],
            "output_tokens": USED["output_tokens"],
            "input_tokens_details": {"cached_tokens": USED["cached"]},
        }
        return [
            {"type": "session.delegation.created", "delegation": task},
            self.backend("response.completed", response={"usage": usage}),
        ]

    def error(self, said: str) -> list[Message]:
        return [{"type": "error", "error": {"type": "server_error", "message": said}}]

    def expires(self) -> list[Message]:
        return [{"type": "session.closed", "reason": "expired", "usage": {"seconds": 9}}]

    def _settled(self) -> list[Message]:
        """The text model has done its work, if it had any."""
        working, self._working = self._working, False
        made = [self.backend("response.created"), self.backend("response.completed", response={})]
        return made if working else []


class Gemini(Dialect):
    """The Gemini Live API; `signals`: it tells of voice activity, which it does not promise."""

    kind = "gemini"
    opening = "setup"
    key = "GEMINI_API_KEY"
    heard_rate = 16_000
    tls = True

    def __init__(self, *, signals: bool = True) -> None:
        self._signals = signals

    def spec(self, host: str, certificate: str, options: Mapping[str, str]) -> SystemSpec:
        options = {**({"certificate": certificate} if certificate else {}), **options}
        return SystemSpec("it", "gemini", "m", f"wss://{host}", options)

    def greeting(self, opening: Message) -> list[Message]:
        update = {"resumable": True, "newHandle": "a-handle"}
        return [{"setupComplete": {"sessionId": "s"}}, {"sessionResumptionUpdate": update}]

    def kind_of(self, message: Message) -> str:
        return next(iter(message))

    def sound_of(self, message: Message) -> Samples | None:
        audio = message.get("realtime_input", {}).get("audio")
        if audio is None:
            return None
        text = audio["data"].replace("-", "+").replace("_", "/")
        return np.frombuffer(base64.b64decode(text + "=" * (-len(text) % 4)), "<i2")

    def result_of(self, message: Message) -> tuple[str, str] | None:
        for result in message.get("tool_response", {}).get("functionResponses", []):
            response = result["response"]
            given = response["output"] if set(response) == {"output"} else json.dumps(response)
            return result["id"], given
        return None

    def began(self) -> list[Message]:
        return [{"voiceActivity": {"type": "ACTIVITY_START"}}] if self._signals else []

    def ended(self) -> list[Message]:
        return [{"voiceActivity": {"type": "ACTIVITY_END"}}] if self._signals else []

    def understood(self, words: str) -> list[Message]:
        return [{"serverContent": {"inputTranscription": {"text": words}}}]

    def says(self, words: str, seconds: float = 0.2) -> list[Message]:
        text = {"serverContent": {"outputTranscription": {"text": words}}}
        return [self.sound(pcm(seconds)), text]

    def sound(self, data: str, mime: str = f"audio/pcm;rate={RATE}") -> Message:
        """A piece of sound."""
        blob = {"inlineData": {"data": data, "mimeType": mime}}
        return {"serverContent": {"modelTurn": {"parts": [blob]}}}

    def calls(self, *ids: str) -> list[Message]:
        calls = [{"id": name, "name": "weather", "args": {}} for name in ids]
        return [{"toolCall": {"functionCalls": calls}}]

    def completed(self, **more: Any) -> list[Message]:
        return [
            {"serverContent": {"generationComplete": True}},
            {"serverContent": {"turnComplete": True, **more}},
        ]

    def cut(self) -> list[Message]:
        return [{"serverContent": {"interrupted": True}}, {"serverContent": {"turnComplete": True}}]

    def billed(self) -> list[Message]:
        def details(side: str) -> list[Message]:
            return [{"modality": "AUDIO", "tokenCount": USED_AUDIO[side]}]

        usage = {
            "promptTokenCount": USED["input_tokens"] - 5,
            "toolUsePromptTokenCount": 5,
            "cachedContentTokenCount": USED["cached"],
            "responseTokenCount": USED["output_tokens"] - 2,
            "thoughtsTokenCount": 2,
            "promptTokensDetails": [*details("input"), {"modality": "TEXT", "tokenCount": 65}],
            "cacheTokensDetails": details("cached"),
            "responseTokensDetails": details("output"),
        }
        return [{"usageMetadata": usage}]

    def error(self, said: str) -> list[Message]:
        return [{"code": 503, "status": "INTERNAL", "message": said}]

    def expires(self) -> list[Message]:
        return [{"goAway": {"timeLeft": "2s"}}]


DIALECTS: tuple[type[Dialect], ...] = (Realtime, Live, Gemini)
