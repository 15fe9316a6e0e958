"""The items of a conversation: added, cut at what was heard, deleted, looked at."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.events import Samples
from pipeline.realtime.commands import check_item
from pipeline.realtime.events import INVALID_VALUE, NO_ITEM, Author, Event, Refused, encoded
from pipeline.realtime.usage import Entry, assistant_tokens, text_tokens, user_tokens
from pipeline.text.alignment import whole_words

RATE = 24_000
"""Hz, of the sound that it keeps."""

ROOT = "root"
"""As `previous_item_id`: at the very beginning."""


class Conversation:
    """What was said and done so far, in order. Its methods give the events to send.

    Args:
        author: Writes the session's events.

    Attributes:
        id: Its id.
        items: Oldest first, without sound.
    """

    def __init__(self, author: Author) -> None:
        self._author = author
        self.id = author.new_id("conv")
        self.items: list[Event] = []
        self._sound: dict[str, Samples] = {}
        self._words: dict[str, list[tuple[int, int]]] = {}
        self._versions: dict[str, int] = {}

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self.items[-1]["id"] if self.items else None

    def create(self, event: Event) -> list[Event]:
        """Do a client's `conversation.item.create`.

        Raises:
            Refused: It is no item that a client can add, or there is no such place for it.
        """
        given = event["item"]
        check_item(given)
        item = copy.deepcopy(given)
        item.setdefault("id", self._author.new_id("item"))
        item["object"] = "realtime.item"
        item["status"] = "completed"
        if any(each["id"] == item["id"] for each in self.items):
            raise _invalid("item.id", "is taken by another item")
        for part in item.get("content") or []:
            if part["type"] == "input_audio":
                part.pop("audio", None)
                part.setdefault("transcript", None)
        added = self.begin(item, event.get("previous_item_id"))
        return [added, self.finish(item)]

    def begin(self, item: Event, after: str | None = None) -> Event:
        """Add an item that may still grow; gives `conversation.item.added`.

        Args:
            item: As it is now; kept as it is given, so that it can grow.
            after: The id of the item before it; None: at the end.

        Raises:
            Refused: There is no item `after`.
        """
        place = len(self.items)
        if after == ROOT:
            place = 0
        elif after is not None:
            place = self._index(after, "create") + 1
        self.items.insert(place, item)
        return self._announce("conversation.item.added", item)

    def finish(self, item: Event) -> Event:
        """An item has all that it gets; gives `conversation.item.done`."""
        return self._announce("conversation.item.done", item)

    def keep_sound(
        self, item_id: str, samples: Samples, words: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Keep the sound of an item, to be cut, counted and retrieved.

        Args:
            item_id: Which.
            samples: int16 at 24 kHz.
            words: How many characters of its transcript are spoken by some of the samples, both
                growing; between them, and where there is none, speech is taken to be even.
        """
        self._sound[item_id] = samples
        self._words[item_id] = [(0, 0), *words]

    def retrieve(self, item_id: str) -> Event:
        """Gives `conversation.item.retrieved`: the item with its sound.

        Raises:
            Refused: There is none of that id.
        """
        item = copy.deepcopy(self.items[self._index(item_id, "retrieve")])
        sound = self._sound.get(item_id)
        for part in item.get("content") or []:
            if sound is not None and part["type"] in ("input_audio", "output_audio"):
                part["audio"] = encoded(sound)
        return self._author.event("conversation.item.retrieved", item=item)

    def delete(self, item_id: str) -> Event:
        """Forget an item; gives `conversation.item.deleted`.

        Raises:
            Refused: There is none of that id.
        """
        del self.items[self._index(item_id, "delete")]
        self._sound.pop(item_id, None)
        self._words.pop(item_id, None)
        return self._author.event("conversation.item.deleted", item_id=item_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> Event:
        """Forget what was not heard of a reply; gives `conversation.item.truncated`.

        Its transcript keeps the words that had been spoken by then.

        Raises:
            Refused: There is no such reply, or it is shorter than that.
        """
        item = self.items[self._index(item_id, "truncate")]
        content = item.get("content") or []
        if item.get("role") != "assistant" or content_index >= len(content):
            raise _invalid("item_id", "is no message of the assistant with such a part")
        part = content[content_index]
        if part["type"] != "output_audio" or item_id not in self._sound:
            raise _invalid("content_index", "is no part with sound")
        sound = self._sound[item_id]
        if audio_end_ms * RATE > len(sound) * 1000:
            has = len(sound) * 1000 // RATE
            raise _invalid("audio_end_ms", f"is {audio_end_ms}; there are {has} ms of sound")
        kept = audio_end_ms * RATE // 1000
        text = part["transcript"]
        if kept < len(sound):
            points = [point for point in self._words[item_id] if point[0] < len(sound)]
            places = [*(place for place, _ in points), len(sound)]
            reached = np.interp(kept, places, [*(chars for _, chars in points), len(text)])
            part["transcript"] = whole_words(text, int(reached))
        self._sound[item_id] = sound[:kept].copy()
        self._versions[item_id] = self._versions.get(item_id, 0) + 1
        return self._author.event(
            "conversation.item.truncated",
            item_id=item_id,
            content_index=content_index,
            audio_end_ms=audio_end_ms,
        )

    def entries(self) -> list[Entry]:
        """What a model reads of it for its next response, item by item."""
        return [self._entry(item) for item in self.items]

    def _entry(self, item: Event) -> Entry:
        text = audio = 0
        ms = len(self._sound.get(item["id"], ())) * 1000 / RATE
        for part in item.get("content") or []:
            match part["type"]:
                case "input_audio":
                    audio += user_tokens(ms)
                case "output_audio":
                    audio += assistant_tokens(ms)
                    text += text_tokens(part.get("transcript") or "")
                case _:
                    text += text_tokens(part.get("text") or "")
        for name in ("name", "arguments", "output"):
            text += text_tokens(item.get(name) or "")
        return Entry(f"{item['id']}/{self._versions.get(item['id'], 0)}", text, audio)

    def _announce(
        self, kind: Literal["conversation.item.added", "conversation.item.done"], item: Event
    ) -> Event:
        place = self.items.index(item)
        before = self.items[place - 1]["id"] if place else None
        # The item may go on growing after this event was written.
        return self._author.event(kind, item=copy.deepcopy(item), previous_item_id=before)

    def _index(self, item_id: str, doing: str) -> int:
        for index, item in enumerate(self.items):
            if item["id"] == item_id:
                return index
        param = "previous_item_id" if doing == "create" else "item_id"
        message = f"Item with {param} {json.dumps(item_id)} does not exist."
        raise Refused(NO_ITEM[doing], message, param)


def _invalid(param: str, what: str) -> Refused:
    return Refused(INVALID_VALUE, f"Invalid value: '{param}' {what}.", param)
