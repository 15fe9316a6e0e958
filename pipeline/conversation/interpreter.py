"""Live translation: what is said is said again in another language, while the user goes on.

It is the cascade in another manner: each turn is answered with its translation, all answers are
spoken, one after the other, and nobody interrupts them. Into English Whisper translates by itself;
into all other languages the language model does.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

from pipeline.config import Settings, TurnSettings
from pipeline.conversation.history import History
from pipeline.conversation.replies import Dictated, Replies
from pipeline.conversation.reply import (
    AtSpeed,
    Engines,
    Reply,
    ReplyPace,
    Synthesiser,
)
from pipeline.engines.llm import Writer
from pipeline.engines.tools import Prompt
from pipeline.engines.voices import voice_for
from pipeline.engines.whisper import Transcription
from pipeline.errors import BadInput
from pipeline.events import ReplyStatus
from pipeline.models.catalogue import Catalogue
from pipeline.text.language_names import code_of, is_code, name_of
from pipeline.turns.taker import TIMES, TurnTimes

INSTRUCTIONS = (
    "You are an interpreter. Say in {language} what the user says: all of it, and nothing else. "
    "Do not answer, do not explain. What is in {language} already, repeat."
)

LONGEST_MS = 800
"""Silence (ms) that ends a sentence which seems unfinished: who listens waits for it."""

LONGEST_S = 12.0
"""Who speaks on for so long (s) without a pause is translated so far."""

LATE_S = 4.0
"""With more translated sound than this waiting to be heard (s) the next sentence is spoken by
`HURRY` faster: translations are longer than what they translate, and nobody may fall behind for
ever."""

HURRY = 1.25


class Interpreter(History):
    """A history of which the model is told how to translate, and the newest words.

    Args:
        language: Code of what is translated to.
        budget_tokens: See `History`.
    """

    def __init__(self, language: str, *, budget_tokens: int) -> None:
        super().__init__(
            INSTRUCTIONS.format(language=name_of(language)), budget_tokens=budget_tokens
        )

    def prompt(
        self, *, said: str = "", note: str = "", language: str = "", reserve_tokens: int = 0
    ) -> Prompt:
        """What the model is asked with (see `Memory.prompt`)."""
        words = said or next((m.content for m in reversed(self.history) if m.role == "user"), "")
        asked = [{"role": "user", "content": words}] if words else []
        return Prompt([{"role": "system", "content": self._system.content}, *asked])


class Translations(Replies):
    """Replies that say again what was said, one after the other, while the user goes on."""

    def __init__(self, engines: Engines, settings: Settings, **given: Any) -> None:
        """Prepare, as `Replies`."""
        super().__init__(engines, settings, **given)
        self._to = settings.conversation.translate_to
        self._by_ear = by_ear(settings)
        # What waits for its turn to be told, and what was followed by another before it was heard.
        self._waiting: deque[Reply] = deque()
        self._followed: list[Reply] = []

    @property
    def engaged(self) -> bool:
        """Never: each turn is translated, whatever is being made."""
        return False

    def expect(self, language: str) -> None:
        """Nothing: what the user speaks is not what is answered in."""

    def commit(self) -> None:
        """The turn is over: its translation is told when all before it are made."""
        reply, self.held = self.held, None
        assert reply is not None
        self._waiting.append(reply)
        self._go_on()

    def heard(self, reply_id: str, samples: int) -> None:
        """Take the playout position of a reply, which need not be the newest."""
        for earlier in self._followed:
            if earlier.id == reply_id:
                earlier.played(samples)
                self._settle(earlier, earlier.heard_text())
        self._followed = [earlier for earlier in self._followed if not earlier.over]
        super().heard(reply_id, samples)

    def _go_on(self) -> None:
        """Tell what waits, as far as nothing before it is being made."""
        while self._waiting and not self.making:
            if self._current is not None:
                self._followed.append(self._current)
            self._commit(self._waiting.popleft())

    def _made(self, outcome: tuple[Reply, ReplyStatus, Exception | None]) -> None:
        super()._made(outcome)
        self._go_on()

    def _wanted(self, reply: Reply) -> bool:
        return super()._wanted(reply) or reply in self._waiting

    def _next_voice(self) -> Synthesiser | None:
        """The voice; faster, if much waits to be heard before it."""
        if self.voice is None:
            return None
        before = [*self._followed, *self._waiting, *filter(None, [self._current])]
        late = sum(reply.unheard_s for reply in before) > LATE_S
        return AtSpeed(self.voice, HURRY) if late else self.voice

    def _writer(self) -> Writer:
        return Dictated("") if self._by_ear else super()._writer()

    def _asks_nothing(self, heard: Transcription, reply: Reply) -> bool:
        """Who interprets says all of it."""
        return False

    def _answers_to(self, heard: Transcription, language: str, reply: Reply) -> bool:
        """Whether it is in another language; what the recogniser translated is said as it is."""
        if not heard.text or code_of(language) == self._to:
            return False
        if self._by_ear:
            reply.dictate(Dictated(heard.english))
        return True


def turns(settings: TurnSettings) -> TurnSettings:
    """When a sentence is over."""
    longest = max(settings.shortest_ms, min(settings.longest_ms, LONGEST_MS))
    hold = min(settings.hold_ms, longest)
    return settings.model_copy(update={"longest_ms": longest, "hold_ms": hold, "idle_s": 0.0})


def times(given: TurnTimes = TIMES) -> TurnTimes:
    """The same, of what is no matter of taste."""
    return replace(given, max_turn_s=LONGEST_S, most_cuts=0)


def pace(given: ReplyPace) -> ReplyPace:
    """How a reply is made: to its end, however much before it is still to be heard."""
    return replace(given, lead_s=math.inf)


def by_ear(settings: Settings) -> bool:
    """Whether the recogniser translates, so that no language model is needed."""
    return settings.conversation.translate_to == "en" and not settings.stt.url


def prepared(settings: Settings, catalogue: Catalogue) -> Settings:
    """The settings with a voice that speaks the language.

    Raises:
        BadInput: There is none, or the models cannot translate.
    """
    language = settings.conversation.translate_to
    flag = f"--translate-to {language}"
    if not is_code(language):
        raise BadInput(f"{flag}: is no code of a language, such as de, fr or en")
    if not by_ear(settings) and settings.llm.model == "embedded":
        raise BadInput(
            f"{flag}: the embedded language model is too small to translate; name one that can, as "
            "--llm ollama:qwen3:4b or --llm URL (into English Whisper translates by itself)"
        )
    if not settings.stt.url:
        model = catalogue.missing("stt", settings.stt.model)
        model = model or catalogue.resolve("stt", settings.stt.model).model
        if model is not None and model.languages == ("en",):
            raise BadInput(
                f"{flag}: {model.name} hears English alone; take --stt base, after "
                "`cascade models pull base`"
            )
    if settings.tts.url:
        return settings
    voice = voice_for(language, settings.tts, catalogue)
    return settings.model_copy(update={"tts": settings.tts.model_copy(update={"voice": voice})})
