"""The items of a conversation: what was said and done, its sound, and what of it was heard."""

from __future__ import annotations

import copy
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import numpy as np

from pipeline.audio.encoding import Encoding
from pipeline.events import Samples
from pipeline.serve.link import MOST_SENT, Author
from pipeline.serve.refused import RequestRefused, invalid
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import RATE, decoded, encoded, unpacked
from pipeline.text.heard import whole_words

MOST_SOUND_S = 300
"""So much sound of a conversation's items is kept (14 MB); older sound is let go."""

MOST_KEPT = 64 * 1024 * 1024
"""Characters of what a client adds to a conversation: text and images."""

Encodings = Mapping[str, Encoding]
"""The formats of the session, by the type of the part that has the sound."""


class PartSound:
    """The sound of a part of an item, int16 at 24 kHz; it may grow.

    Args:
        samples: What there is of it.
        words: How many characters of its transcript are spoken by some of the samples, both
            growing; between them, and where there is none, speech is taken to be even.

    Attributes:
        length: Samples, of which none may be kept.
        heard: Says which words of the transcript are over after so many seconds, where that is
            known better than by `words`.
    """

    def __init__(self, samples: Samples, words: Iterable[tuple[int, int]] = ()) -> None:
        self._pieces: list[Samples] | None = [samples]
        self._words = list(words)
        self.length = len(samples)
        self.heard: Callable[[float], str] | None = None

    @property
    def ms(self) -> float:
        """How long it is."""
        return self.length * 1000 / RATE

    @property
    def samples(self) -> Samples | None:
        """All of it; None if it was let go."""
        if self._pieces is None:
            return None
        self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]

    def add(self, samples: Samples, chars: int) -> None:
        """More of it, in which the transcript's first `chars` are spoken to their end."""
        if self._pieces is not None:
            self._pieces.append(samples)
        self.length += len(samples)
        self._words.append((self.length, chars))

    def cut(self, length: int, text: str) -> str:
        """Forget all but its beginning; what of `text` had been spoken by then."""
        kept = self.heard(length / RATE) if self.heard else self._spoken(length, text)
        if (samples := self.samples) is not None:
            self._pieces = [samples[:length].copy()]
        self.length = length
        return kept

    def _spoken(self, length: int, text: str) -> str:
        points = [(0, 0), *(point for point in self._words if point[0] <= self.length)]
        if points[-1][0] < self.length:
            points.append((self.length, len(text)))
        # Words after the last point have no sound: they were to be spoken next.
        places, chars = zip(*points, strict=True)
        return whole_words(text, int(np.interp(length, places, chars)))

    def let_go(self) -> None:
        """Keep only how long it was, and its words."""
        self._pieces = None


class KeptItem:
    """An item of the conversation and what is not told with it.

    Args:
        about: The item as it goes into JSON, without sound; it may still grow.
        sounds: The sound of its parts, by their place.

    Attributes:
        about: As given.
        sounds: As given.
        size: Characters that it had as JSON when it was new.
        words: What was understood or heard of its parts, by their place, where that is known and
            the client is not told.
        seen: The images that a model is shown of its parts, by their place, where these are not
            the client's own; empty: none.
        cuts: How often it was truncated.
        note: How its words were spoken, for the model alone.
        late_after: Of a call, the item after which its result came; None: right after the call.
        language: Code of what is said in it, where that was heard.
    """

    def __init__(self, about: JsonObject, sounds: Mapping[int, PartSound] | None = None) -> None:
        self.about = about
        self.sounds = dict(sounds or {})
        self.size = len(json.dumps(about))
        self.words: dict[int, str] = {}
        self.seen: dict[int, str] = {}
        self.cuts = 0
        self.note = ""
        self.late_after: KeptItem | None = None
        self.language = ""

    @classmethod
    def given(cls, item: JsonObject, item_id: str, encodings: Encodings, param: str) -> KeptItem:
        """An item that a client gave.

        Args:
            item: What it gave.
            item_id: Its id, where the client gave none.
            encodings: Of its sound.
            param: Where it stands in the event.

        Raises:
            RequestRefused: Its sound is none.
        """
        about = {**copy.deepcopy(item), "object": "realtime.item", "status": "completed"}
        about["id"] = item.get("id") or item_id
        sounds = {}
        for place, part in enumerate(about.get("content", ())):
            audio = part.pop("audio", None)
            if part["type"] == "input_audio":
                # Clients need `transcript` to be there, if only as null.
                part.setdefault("transcript", None)
                data = unpacked(audio, f"{param}.content[{place}].audio")
                sounds[place] = PartSound(decoded(data, encodings["input_audio"]))
        return cls(about, sounds)

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.about["id"])

    @property
    def ms(self) -> float:
        """How long its sound is."""
        return sum(sound.ms for sound in self.sounds.values())

    def told(self, sounds: Mapping[int, str] | None = None) -> JsonObject:
        """What goes into an event: the item, and what of its sound and images has room there.

        Args:
            sounds: By part, in base64.
        """
        about, sounds = copy.deepcopy(self.about), sounds or {}
        if about["type"].startswith("mcp_"):
            # The protocol has no such fields there.
            del about["status"], about["object"]
        content = about.get("content", [])
        if self.size + sum(map(len, sounds.values())) <= MOST_SENT:
            for place, audio in sounds.items():
                content[place]["audio"] = audio
        elif self.size > MOST_SENT:
            for part in content:
                part.pop("image_url", None)
        return about


class Items:
    """What was said and done so far, in order.

    Args:
        author: Writes the connection's events.

    Attributes:
        id: Of the conversation.
        kept: Oldest first.
    """

    def __init__(self, author: Author) -> None:
        self._author = author
        self.id = author.new_id("conv")
        self.kept: list[KeptItem] = []
        self._by_id: dict[str, KeptItem] = {}
        self._size = 0
        # Those whose sound is kept, oldest first.
        self._sounding: deque[KeptItem] = deque()

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self.kept[-1].id if self.kept else None

    def get(self, item_id: str) -> KeptItem | None:
        """The item of that id, if there is one."""
        return self._by_id.get(item_id)

    def new_id(self) -> str:
        """An id that no item has, whatever ids a client gave."""
        while self.get(item_id := self._author.new_id("item")) is not None:
            pass
        return item_id

    def create(self, event: JsonObject, encodings: Encodings) -> KeptItem:
        """Do a client's `conversation.item.create`, as `parse` gave it.

        Raises:
            RequestRefused: Its id is taken, its sound is none, there is no such place for it, it is
                the result of no call, or the conversation is full.
        """
        item = KeptItem.given(event["item"], self.new_id(), encodings, "item")
        if self.get(item.id) is not None:
            raise invalid("item.id", "is taken by another item")
        if item.about["type"] == "function_call_output":
            self._check_call(item.about["call_id"])
        if item.size + self._size > MOST_KEPT:
            message = f"The conversation holds more than {MOST_KEPT} characters: delete items."
            raise RequestRefused("conversation_full", message, "item")
        self.begin(item, event.get("previous_item_id"))
        self.finish(item)
        return item

    def begin(self, item: KeptItem, after: str | None = None) -> None:
        """Add an item that may still grow.

        Args:
            item: As it is now.
            after: The id of the item before it, or `root`; None: at the end.

        Raises:
            RequestRefused: There is no item `after`.
        """
        place = len(self.kept)
        if after is not None:
            place = 0 if after == "root" else 1 + self.kept.index(self._find(after, "create"))
        self.kept.insert(place, item)
        self._by_id[item.id] = item
        self._size += item.size
        self._announce("added", item)

    def finish(self, item: KeptItem) -> None:
        """Say that an item has all that it gets; sound beyond what is kept is let go."""
        self._announce("done", item)
        if item.sounds:
            self._sounding.append(item)
        excess = sum(each.ms for each in self._sounding) - MOST_SOUND_S * 1000
        while excess > 0 and self._sounding[0] is not item:
            oldest = self._sounding.popleft()
            excess -= oldest.ms
            for sound in oldest.sounds.values():
                sound.let_go()

    def retrieve(self, item_id: str, encodings: Encodings) -> None:
        """Tell an item with its sound, as far as that is kept and goes into one message.

        Raises:
            RequestRefused: There is none of that id.
        """
        item = self._find(item_id, "retrieve")
        content = item.about.get("content", ())
        sounds = {
            place: encoded(samples, encodings[content[place]["type"]])
            for place, sound in item.sounds.items()
            if (samples := sound.samples) is not None
        }
        self._author.tell("conversation.item.retrieved", item=item.told(sounds))

    def delete(self, item_id: str) -> None:
        """Forget an item.

        Raises:
            RequestRefused: There is none of that id, or it is not whole yet.
        """
        item = self._find(item_id, "delete")
        if item.about["status"] == "in_progress":
            raise invalid("item_id", "is still in progress: cancel its response first")
        self.kept.remove(item)
        del self._by_id[item.id]
        if item in self._sounding:
            self._sounding.remove(item)
        self._size -= item.size
        self._author.tell("conversation.item.deleted", item_id=item_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Forget what was not heard of a reply; its words keep what had been spoken by then.

        Raises:
            RequestRefused: There is no such reply, or it is shorter than that.
        """
        item = self._find(item_id, "truncate")
        content = item.about.get("content", [])
        if item.about.get("role") != "assistant" or content_index >= len(content):
            raise invalid("item_id", "is no message of the assistant with such a part")
        part, sound = content[content_index], item.sounds.get(content_index)
        if sound is None:
            raise invalid("content_index", "is no part with sound")
        if audio_end_ms > math.ceil(sound.ms):
            raise invalid("audio_end_ms", f"is {audio_end_ms}; there are {sound.ms:.0f} ms")
        # Clients round up or down to whole milliseconds where they have played all of it.
        played_all = audio_end_ms >= int(sound.ms)
        end = sound.length if played_all else audio_end_ms * RATE // 1000
        part["transcript"] = sound.cut(end, part["transcript"])
        item.cuts += 1
        where = {"item_id": item_id, "content_index": content_index}
        self._author.tell("conversation.item.truncated", **where, audio_end_ms=audio_end_ms)

    def _announce(self, what: Literal["added", "done"], item: KeptItem) -> None:
        place = self.kept.index(item)
        before = self.kept[place - 1].id if place else None
        self._author.tell(f"conversation.item.{what}", item=item.told(), previous_item_id=before)

    def _check_call(self, call_id: str) -> None:
        """See that there is a call of that id: its result would be told to nobody."""
        calls = (i for i in reversed(self.kept) if i.about["type"] == "function_call")
        if all(call.about["call_id"] != call_id for call in calls):
            message = f"Tool call ID {json.dumps(call_id)} not found in conversation."
            raise RequestRefused("invalid_tool_call_id", message, "item.call_id")

    def _find(self, item_id: str, doing: str) -> KeptItem:
        found = self.get(item_id)
        if found is None:
            param = "previous_item_id" if doing == "create" else "item_id"
            message = f"Item with {param} {json.dumps(item_id)} does not exist."
            raise RequestRefused(f"item_{doing}_invalid_{param}", message, param)
        return found
