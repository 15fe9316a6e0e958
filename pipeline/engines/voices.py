"""Which Piper voice speaks: the one of the settings, or one of the language that was spoken.

Other voices are loaded when they are first needed, in a thread of their own: while the user still
speaks, for the language is known from the first words. Those that `tts.voices` names are loaded at
the start. Each takes about twice the size of its file in memory, so that no more than
`MOST_VOICES` are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path

from pipeline.audio.resample import Resampler
from pipeline.config import TtsSettings
from pipeline.engines.piper import Piper, voice_language
from pipeline.engines.worker import Stop, Worker, apart
from pipeline.errors import BadInput, CascadeError, StageError
from pipeline.events import Samples
from pipeline.models.catalogue import Catalogue, Found
from pipeline.text.heard import Sound, WordEnd
from pipeline.text.language_names import code_of, name_of

IN_HAND_S = 0.3
"""With less sound than this left to be heard (s) somebody waits for the voice: what it makes next
takes about so long where others are served too."""

MOST_VOICES = 4
"""So many voices beside the settings' own are kept in memory; the one that was needed longest ago
goes first."""

# fmt: off
SUGGESTED = {
    code_of(name[:2]): name
    for name in (
        "ar_JO-kareem-medium", "bg_BG-dimitar-medium", "bn_BD-google-medium",
        "ca_ES-upc_ona-medium", "cs_CZ-jirka-medium", "cy_GB-gwryw_gogleddol-medium",
        "da_DK-talesyntese-medium", "de_DE-thorsten-medium", "el_GR-rapunzelina-medium",
        "en_US-lessac-medium", "es_ES-davefx-medium", "eu_ES-antton-medium", "fa_IR-amir-medium",
        "fi_FI-harri-medium", "fr_FR-siwis-medium", "hi_IN-pratham-medium", "hu_HU-anna-medium",
        "id_ID-news_tts-medium", "is_IS-bui-medium", "it_IT-paola-medium", "ka_GE-natia-medium",
        "kk_KZ-issai-high", "lb_LU-marylux-medium", "lv_LV-aivars-medium", "ml_IN-meera-medium",
        "mr_IN-google-medium", "ne_NP-google-medium", "nl_NL-mls-medium",
        "no_NO-talesyntese-medium", "pl_PL-gosia-medium", "pt_BR-faber-medium",
        "ro_RO-mihai-medium", "ru_RU-irina-medium", "sk_SK-lili-medium", "sl_SI-artur-medium",
        "sr_RS-serbski_institut-medium", "sv_SE-nst-medium", "sw_CD-lanfrica-medium",
        "te_IN-maya-medium", "tr_TR-dfki-medium", "uk_UA-ukrainian_tts-medium",
        "ur_PK-fasih-medium", "vi_VN-vais1000-medium", "zh_CN-huayan-medium",
    )
}
# fmt: on
"""A voice of Piper's for each language that it speaks."""

log = logging.getLogger(__name__)


class Voices:
    """The Piper voices of a run, by name and by language; loaded as they are needed.

    Args:
        name: Of the voice of the settings.
        main: That voice.
        settings: Name the others.
        catalogue: Knows which are on this disk.

    Raises:
        BadInput: One that is named is not there.
    """

    def __init__(self, name: str, main: Piper, settings: TtsSettings, catalogue: Catalogue) -> None:
        self.name, self.main = name, main
        self._settings = settings
        self._named = [found.name for found in _named(settings, catalogue)]
        self._most = max(MOST_VOICES, len(self._named))
        self._paths = found_voices(settings, catalogue)
        self._spoken = {other: voice_language(path) for other, path in self._paths.items()}
        self._spoken[name] = main.language
        self._languages = {code: other for other, code in reversed([*self._spoken.items()])}
        self._languages[main.language] = name
        self._loaded: OrderedDict[str, asyncio.Future[Piper]] = OrderedDict()
        self._missed: set[str] = set()

    def of(self, language: str) -> str:
        """The name of the voice that speaks a language; the settings' own where none does.

        The first time a line says what to do about that.
        """
        code = code_of(language)
        if code in self._languages:
            return self._languages[code]
        if code not in self._missed:
            self._missed.add(code)
            what = name_of(code), self.name, _what_to_do(code)
            log.warning("no voice here speaks %s, so %s does: %s", *what)
        return self.name

    def language(self, name: str) -> str:
        """Code of what a voice speaks."""
        return self._spoken[name]

    def known(self, name: str) -> bool:
        """Whether there is a voice of this name on the disk."""
        return name in self._spoken

    def ready(self, name: str) -> Piper | None:
        """A voice that is loaded; else it is being loaded from now on."""
        if name == self.name:
            return self.main
        loading = self._loading(name)
        return loading.result() if loading.done() and loading.exception() is None else None

    async def load(self, name: str) -> Piper:
        """A voice, once it is loaded.

        Raises:
            StageError: It cannot be.
        """
        if (piper := self.ready(name)) is not None:
            return piper
        try:
            # Who does not want it any more does not stop it: soon it will be wanted again.
            return await asyncio.shield(self._loading(name))
        except CascadeError as error:
            self._loaded.pop(name, None)
            raise StageError("tts", str(error)) from error

    async def load_named(self) -> None:
        """Load those that the settings name.

        Raises:
            StageError: One cannot be loaded.
        """
        for name in self._named:
            await self.load(name)

    def close(self) -> None:
        """Nothing is wanted any more."""
        for loading in self._loaded.values():
            loading.cancel()

    def _loading(self, name: str) -> asyncio.Future[Piper]:
        if name not in self._loaded:
            while len(self._loaded) >= self._most:
                self._loaded.popitem(last=False)
            self._loaded[name] = asyncio.ensure_future(apart(lambda: self._load(name)))
            # If it fails, and nobody asks for it, nothing is lost.
            self._loaded[name].add_done_callback(lambda f: f.cancelled() or f.exception())
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _load(self, name: str) -> Piper:
        settings = self._settings.model_copy(update={"speaker": ""})
        try:
            piper = Piper(self._paths[name], settings)
        except BadInput as error:
            if not settings.lexicon:
                raise
            piper = Piper(self._paths[name], settings.model_copy(update={"lexicon": ""}))
            log.warning("%s; %s speaks without the lexicon", error, name)
        piper.warm()
        return piper


def found_voices(settings: TtsSettings, catalogue: Catalogue) -> dict[str, Path]:
    """The voices that may speak beside that of the settings, by name: first those that they name.

    Of those that they do not name, damaged ones are left out: nobody has asked for them.

    Raises:
        BadInput: One that is named is not there.
    """
    found = {voice.name: voice.path for voice in _named(settings, catalogue)}
    # What comes with Cascade is the last choice.
    for model in sorted(catalogue.all(), key=lambda model: model.embedded):
        if model.kind != "tts" or catalogue.state(model) not in ("on disk", "embedded"):
            continue
        with contextlib.suppress(BadInput):
            path = catalogue.resolve("tts", model.name).path
            voice_language(path)
            found.setdefault(model.name, path)
    return found


def _named(settings: TtsSettings, catalogue: Catalogue) -> list[Found]:
    return [catalogue.resolve("tts", name) for name in settings.voices]


def voice_for(language: str, settings: TtsSettings, catalogue: Catalogue) -> str:
    """The name of a voice that speaks a language: that of the settings, if it does.

    Raises:
        BadInput: There is none on this disk.
    """
    names: list[str] = []
    if not catalogue.missing("tts", settings.voice):
        names.append(settings.voice)
    elif language in catalogue.default("tts").languages:
        return settings.voice  # it will be fetched
    paths = {name: catalogue.resolve("tts", name).path for name in names}
    for name, path in (paths | found_voices(settings, catalogue)).items():
        if voice_language(path) == language:
            return name
    raise BadInput(f"no voice here speaks {name_of(language)}: {_what_to_do(language)}")


def _what_to_do(language: str) -> str:
    name = SUGGESTED.get(language)
    return f"`cascade models pull {name}`, and begin again" if name else "Piper has none"


def languages_of(settings: TtsSettings, catalogue: Catalogue) -> list[str]:
    """Codes of what is spoken where `tts.voices` says so; empty: whatever the recogniser knows.

    Raises:
        BadInput: A voice is not there.
    """
    names = settings.voices
    return sorted(
        voice_language(catalogue.resolve("tts", name).path)
        for name in (settings.voice, *names)
        if names
    )


class LocalVoice:
    """A Piper voice in the thread that all share, as the reply wants it (`reply.Synthesiser`).

    One session's: it is served before others if its sound runs out before theirs.

    Args:
        voices: All that there are.
        worker: Their thread.
        within_s: So long nobody waits for what is asked for (s).
        name: Which one speaks; empty: that of the settings.
    """

    def __init__(
        self, voices: Voices, worker: Worker, within_s: float = 0.0, name: str = ""
    ) -> None:
        self._voices = voices
        self._worker = worker
        self._within_s = within_s
        self._name = name or voices.name
        # Until when what was made will be heard (s, monotonic), were it heard at once.
        self._lasts = 0.0

    @property
    def rate(self) -> int:
        """Samples per second (Hz): those of the voice of the settings, whichever speaks."""
        return self._voices.main.rate

    @property
    def language(self) -> str:
        """Code of what it speaks, such as `en`."""
        return self._voices.language(self._name)

    def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        """Yield the sound of a clause as it is made; closing it stops the synthesis.

        Args:
            text: The clause.
            speed: 1.2 speaks a fifth faster than the settings say.
        """
        piper = self._voices.ready(self._name)
        return self._spoken(piper, text, speed) if piper else self._once_loaded(text, speed)

    def _spoken(self, piper: Piper, text: str, speed: float) -> AsyncGenerator[Sound, None]:
        asked = time.monotonic() + self._within_s

        def work(stop: Stop) -> Iterator[Sound]:
            for piece in at_rate(piper.synthesize(text, stop, speed), piper.rate, self.rate):
                self._lasts = max(self._lasts, time.monotonic()) + len(piece) / self.rate
                yield piece

        return self._worker.stream(work, due=lambda: max(asked, self._lasts - IN_HAND_S))

    async def _once_loaded(self, text: str, speed: float) -> AsyncGenerator[Sound, None]:
        """What `speak` yields, of a voice that is not loaded yet."""
        piper = await self._voices.load(self._name)
        async with contextlib.aclosing(self._spoken(piper, text, speed)) as pieces:
            async for piece in pieces:
                yield piece

    def in_language(self, language: str) -> LocalVoice:
        """The voice that speaks a language, which is loaded from now on if it is not; else this."""
        code = code_of(language)
        return self if code == self.language else self._other(self._voices.of(code))

    def named(self, name: str) -> LocalVoice | None:
        """The voice of that name, likewise; None: there is none."""
        return self._other(name) if self._voices.known(name) else None

    def _other(self, name: str) -> LocalVoice:
        if name == self._name:
            return self
        self._voices.ready(name)
        return LocalVoice(self._voices, self._worker, self._within_s, name)

    def begin(self) -> None:
        """What is spoken from now on is another reply: nothing of it is in hand."""
        self._lasts = 0.0

    def another(self) -> LocalVoice:
        """The same voice for another session."""
        return LocalVoice(self._voices, self._worker, name=self._name)


def at_rate(pieces: Iterable[Sound], rate_in: int, rate_out: int) -> Iterator[Sound]:
    """Pieces of sound, and where words end in them, at another rate.

    The resampler holds some sound back: a word ends in the piece that has the end of its sound.
    """
    if rate_in == rate_out:
        yield from pieces
        return
    resampler = Resampler(rate_in, rate_out)
    taken = given = 0
    words: list[tuple[int, int]] | None = []

    def ready(samples: Samples) -> Iterator[Sound]:
        nonlocal given, words
        end = given + len(samples)
        if words is None:
            over = None
        else:
            over = tuple(WordEnd(char, at - given) for char, at in words if at <= end)
            words = words[len(over) :]
        given = end
        if len(samples) or over:
            yield Sound(samples, over)

    for piece in pieces:
        if piece.words is None:
            words = None
        elif words is not None:
            words += [(w.char, (taken + w.sample) * rate_out // rate_in) for w in piece.words]
        taken += len(piece)
        yield from ready(resampler.push(piece.samples))
    yield from ready(resampler.flush())
