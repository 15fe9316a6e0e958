"""Live translation: what is said is said again in another language, while the user goes on.

It is the cascade in another manner: each turn is answered with its translation, all answers are
spoken, one after the other, and nobody interrupts them. Into English Whisper translates by itself;
into all other languages the language model does.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.config import Settings, TurnSettings
from pipeline.conversation.history import History
from pipeline.engines.tools import Prompt
from pipeline.engines.voices import voice_for
from pipeline.errors import BadInput
from pipeline.models.catalogue import Catalogue
from pipeline.text.language_names import NAMES, name_of
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


def turns(settings: TurnSettings) -> TurnSettings:
    """When a sentence is over."""
    longest = max(settings.shortest_ms, min(settings.longest_ms, LONGEST_MS))
    hold = min(settings.hold_ms, longest)
    return settings.model_copy(update={"longest_ms": longest, "hold_ms": hold, "idle_s": 0.0})


def times(given: TurnTimes = TIMES) -> TurnTimes:
    """The same, of what is no matter of taste."""
    return replace(given, max_turn_s=LONGEST_S, most_cuts=0)


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
    if language not in NAMES:
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
