"""What the order of a server's events must be: a checker for tests, servers and their drivers.

The rules are those of the guide on conversations and of the SDKs' clients: what a client relies on,
not every order that a server of OpenAI happens to keep. The fields of each event are the SDK's
types' to check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.serve.requests import JsonObject

_STATUS = ("completed", "cancelled", "failed", "incomplete")
_REASONS = {
    "completed": (None,),
    "cancelled": ("turn_detected", "client_cancelled"),
    "failed": (None,),
    "incomplete": ("max_output_tokens", "content_filter"),
}


@dataclass(slots=True)
class _Part:
    """A content part that is being made."""

    kind: str
    text: str = ""
    finished: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Output:
    """An output item that is being made."""

    id: str
    kind: str
    part: _Part | None = None
    parts: int = 0
    arguments: str | None = None
    deltas: str = ""
    announced: bool = False
    done: bool = False


@dataclass(slots=True)
class _Open:
    """A response that is being made."""

    id: str
    in_band: bool
    items: list[_Output] = field(default_factory=list)

    @property
    def growing(self) -> _Output | None:
        """The output item that is not done."""
        return self.items[-1] if self.items and not self.items[-1].done else None


class Grammar:
    """Follows what a server sends over one connection.

    `feed` takes events one by one and gives what is wrong with each, in words. After something
    wrong it goes on as well as it can.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._started = False
        self._speech: str | None = None
        self._stopped: str | None = None
        self._committed: list[str] = []
        self._added: dict[str, Literal["added", "done", "deleted"]] = {}
        self._transcribed: set[str] = set()
        self._responses: dict[str, _Open] = {}
        self._over: set[str] = set()

    def feed(self, event: JsonObject) -> list[str]:
        """The next event; what is wrong with it, nothing as a rule."""
        kind = event.get("type")
        return [f"{kind}: {problem}" for problem in self._check(kind, event)]

    def finish(self) -> list[str]:
        """The connection was closed in peace: what should have ended, and has not."""
        missing = [f"{item}: committed, but no item" for item in self._committed]
        if self._stopped is not None:
            missing.append(f"{self._stopped}: speech stopped, but never committed")
        return missing + [f"{response}: never done" for response in self._responses]

    def _check(self, kind: Any, event: JsonObject) -> Iterator[str]:
        if not isinstance(event_id := event.get("event_id"), str) or not event_id:
            yield "has no event_id"
        elif event_id in self._ids:
            yield f"event_id {event_id} was used before"
        else:
            self._ids.add(event_id)
        if (kind == "session.created") == self._started:
            yield "comes twice" if self._started else "comes before session.created"
        self._started = True
        match str(kind).split("."):
            case ["input_audio_buffer", what]:
                yield from self._input(what, event)
            case ["conversation", "item", "input_audio_transcription", what]:
                yield from self._transcription(what, event["item_id"])
            case ["conversation", "item", what]:
                yield from self._item(what, event)
            case ["response", "created"]:
                yield from self._created(event["response"])
            case ["response", *what]:
                yield from self._response(what, event)

    def _input(self, what: str, event: JsonObject) -> Iterator[str]:
        item = event.get("item_id")
        match what:
            case "speech_started":
                if self._speech is not None:
                    yield "speech has started already"
                self._speech = item
            case "speech_stopped":
                if self._speech != item:
                    yield f"speech of {item} has not started"
                self._speech, self._stopped = None, item
            case "committed":
                if self._speech == item:
                    yield f"speech of {item} has not stopped"
                if self._stopped not in (None, item):
                    yield f"speech stopped for {self._stopped}, not for {item}"
                if item in self._added:
                    yield f"{item} is an item already"
                self._stopped = None
                self._committed.append(str(item))
            case "cleared":
                self._speech = self._stopped = None

    def _item(self, what: str, event: JsonObject) -> Iterator[str]:
        if what in ("added", "done"):
            yield from self._announced(what, event["item"])
            return
        item = str(event["item"].get("id") if what == "retrieved" else event.get("item_id"))
        if self._added.get(item) in (None, "deleted"):
            yield f"there is no item {item}"
        if what == "deleted":
            self._added[item] = "deleted"

    def _announced(self, what: str, item: JsonObject) -> Iterator[str]:
        name = item.get("id")
        before = self._added.get(str(name))
        if what == "added":
            if before is not None:
                yield f"{name} was added before"
            self._added[str(name)] = "added"
        else:
            if before != "added":
                yield f"{name} is {before or 'not added'}"
            self._added[str(name)] = "done"
            if name in self._committed:
                self._committed.remove(str(name))
        output = self._output(name)
        if output is not None:
            output.announced = True
            if what == "added" and (item.get("status"), item.get("content", [])) != (
                "in_progress",
                [],
            ):
                yield f"{name} is not in progress and empty"
            if what == "done" and output.part is not None:
                yield f"{name} has an open part"

    def _transcription(self, what: str, item: str) -> Iterator[str]:
        if item not in self._added:
            yield f"there is no item {item}"
        if item in self._transcribed:
            yield f"{item} is transcribed already"
        if what in ("completed", "failed"):
            self._transcribed.add(item)

    def _created(self, response: JsonObject) -> Iterator[str]:
        name = response.get("id")
        if not isinstance(name, str) or name in self._responses or name in self._over:
            yield f"{name} is no new id"
            return
        if response.get("status") != "in_progress":
            yield f"status is {response.get('status')}, not in_progress"
        in_band = response.get("conversation_id") is not None
        if in_band and any(other.in_band for other in self._responses.values()):
            yield "another response of the conversation is active"
        if in_band and self._stopped is not None:
            yield f"before {self._stopped} was committed"
        if in_band and self._committed:
            yield f"before the item of {self._committed[0]}, which was committed"
        self._responses[name] = _Open(name, in_band)

    def _response(self, what: list[str], event: JsonObject) -> Iterator[str]:
        name = event["response"].get("id") if what == ["done"] else event.get("response_id")
        response = self._responses.get(str(name))
        if response is None:
            yield f"response {name} is {'over' if name in self._over else 'not created'}"
            return
        if what == ["done"]:
            yield from self._done(response, event["response"])
            return
        if what == ["output_item", "added"]:
            yield from self._begun(response, event)
            return
        output = response.growing
        item = event["item"].get("id") if "item" in event else event["item_id"]
        if output is None or output.id != item:
            yield f"{item} is not the item that grows"
            return
        if event["output_index"] != len(response.items) - 1:
            yield f"output_index is {event['output_index']}, not {len(response.items) - 1}"
        if response.in_band and not output.announced:
            yield f"{item} was not added to the conversation"
        match what:
            case ["output_item", "done"]:
                yield from self._ended(response, output, event["item"])
            case ["function_call_arguments", step]:
                yield from _arguments(output, step, event)
            case ["content_part", "added"]:
                if output.part is not None or event["content_index"] != output.parts:
                    yield "the part before it is open, or its index is wrong"
                output.part = _Part(event["part"].get("type", ""))
            case [kind, step]:
                yield from _content(output, kind, step, event)

    def _begun(self, response: _Open, event: JsonObject) -> Iterator[str]:
        if response.growing is not None:
            yield f"{response.growing.id} is not done"
        if event["output_index"] != len(response.items):
            yield f"output_index is {event['output_index']}, not {len(response.items)}"
        item = event["item"]
        response.items.append(_Output(str(item.get("id")), str(item.get("type"))))

    def _ended(self, response: _Open, output: _Output, item: JsonObject) -> Iterator[str]:
        if output.part is not None:
            yield f"{output.id} has an open part"
        if response.in_band and self._added.get(output.id) == "added":
            yield f"{output.id} is not done in the conversation"
        if output.kind == "function_call":
            if output.arguments is None or item.get("arguments") != output.arguments:
                yield f"{output.id} has other arguments than were sent"
            if item.get("status") not in ("completed", "incomplete"):
                yield f"{output.id} is {item.get('status')}"
        elif item.get("status") not in ("completed", "incomplete"):
            yield f"{output.id} is {item.get('status')}"
        output.done = True

    def _done(self, response: _Open, about: JsonObject) -> Iterator[str]:
        if response.growing is not None:
            yield f"{response.growing.id} is not done"
        status = about.get("status")
        reason = (about.get("status_details") or {}).get("reason")
        if status not in _STATUS:
            yield f"status is {status}"
        elif reason not in _REASONS[status]:
            yield f"{status} for the reason {reason}"
        if status == "failed" and not (about.get("status_details") or {}).get("error"):
            yield "failed without an error"
        output = [item.get("id") for item in about.get("output") or []]
        if output != [item.id for item in response.items]:
            yield f"output is {output}, not what was sent"
        del self._responses[response.id]
        self._over.add(response.id)

    def _output(self, item: Any) -> _Output | None:
        for response in self._responses.values():
            for output in response.items:
                if output.id == item:
                    return output
        return None


_CONTENT = {
    "output_audio": ("audio", None),
    "output_audio_transcript": ("audio", "transcript"),
    "output_text": ("text", "text"),
}


def _content(output: _Output, kind: str, step: str, event: JsonObject) -> Iterator[str]:
    """Deltas and ends of a content part."""
    part = output.part
    if part is None or event["content_index"] != output.parts:
        yield "no such part is open"
        return
    if kind == "content_part":
        wanted = {name for name, (of, _) in _CONTENT.items() if of == part.kind}
        if part.finished != wanted:
            yield f"{', '.join(sorted(wanted - part.finished))} not done"
        text = event["part"].get("transcript" if part.kind == "audio" else "text")
        if text != part.text:
            yield f"its text is {text!r}, not {part.text!r}"
        output.part = None
        output.parts += 1
        return
    of, name = _CONTENT.get(kind, ("", None))
    if of != part.kind:
        yield f"the part is {part.kind}"
    if kind in part.finished:
        yield "is done already"
    if step == "delta" and name is not None:
        part.text += event["delta"]
    if step == "done":
        part.finished.add(kind)
        if name is not None and event[name] != part.text:
            yield f"{event[name]!r} is not what the deltas were: {part.text!r}"


def _arguments(output: _Output, step: str, event: JsonObject) -> Iterator[str]:
    if output.kind != "function_call":
        yield f"{output.id} is no function call"
    if output.arguments is not None:
        yield "is done already"
    if step == "delta":
        output.deltas += event["delta"]
        return
    if event["arguments"] != output.deltas:
        yield f"{event['arguments']!r} is not what the deltas were: {output.deltas!r}"
    output.arguments = event["arguments"]
