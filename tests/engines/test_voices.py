"""A voice for each language: found, loaded when it is needed, spoken at one rate, or missed."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli_child import ROOT

from pipeline.config import TtsSettings, load
from pipeline.conversation import interpreter
from pipeline.engines import voices
from pipeline.engines.local import LocalEngines
from pipeline.engines.piper import Piper
from pipeline.engines.voices import LocalVoice, Voices, at_rate, languages_of
from pipeline.engines.worker import Worker
from pipeline.errors import BadInput, StageError
from pipeline.models.catalogue import PIPER_VOICE, Catalogue
from pipeline.text.heard import Sound, WordEnd
from pipeline.text.language_names import code_of, is_code

MINI = ROOT / "models" / "en_US-mini" / "en_US-mini.onnx"
TOYS = {"stt.model": "whisper-mini-en", "tts.voice": "en_US-mini", "turns.predict": "false"}


def add_voice(folder: Path, name: str, espeak: str, rate: int = 22050) -> Path:
    """The embedded voice, put to the phonemes of another language."""
    path = folder / name / f"{name}.onnx"
    path.parent.mkdir()
    shutil.copy(MINI, path)
    config = json.loads(MINI.with_name("en_US-mini.onnx.json").read_text(encoding="utf-8"))
    config |= {"espeak": {"voice": espeak}, "audio": {"sample_rate": rate}}
    path.with_name(f"{name}.onnx.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Three voices on the disk: German, Norwegian at another rate, and a broken French one."""
    add_voice(tmp_path, "de_DE-toy-medium", "de")
    add_voice(tmp_path, "no_NO-toy-low", "nb", 16000)
    broken = add_voice(tmp_path, "fr_FR-toy-medium", "fr")
    broken.write_bytes(b"no network")
    found = Catalogue(Catalogue.load().models, ROOT / "models", tmp_path)
    found._roots = (tmp_path,)  # and not what this machine has
    return found


def spoken(voice: LocalVoice, text: str) -> asyncio.Task[list[Sound]]:
    async def say() -> list[Sound]:
        return [piece async for piece in voice.speak(text)]

    return asyncio.ensure_future(say())


class TestVoices:
    @pytest.fixture
    def voice(self, catalogue: Catalogue) -> Iterable[LocalVoice]:
        settings = TtsSettings(voice="en_US-mini")
        worker = Worker("tts")
        main = Piper(MINI, settings)
        main.warm()
        yield LocalVoice(Voices("en_US-mini", main, settings, catalogue), worker)
        worker.close()

    async def test_another_language_has_another_voice_which_is_loaded_then(
        self, voice: LocalVoice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded: list[str] = []
        load_it = Voices._load

        def noted(self: Voices, name: str) -> Piper:
            loaded.append(name)
            return load_it(self, name)

        monkeypatch.setattr(Voices, "_load", noted)
        assert voice.in_language("en") is voice
        assert voice.in_language("en-GB") is voice
        german = voice.in_language("de")
        assert (german.language, german.rate) == ("de", voice.rate)
        before = asyncio.get_running_loop().time()
        voice.in_language("de")
        assert asyncio.get_running_loop().time() - before < 0.05, "asking takes no time"
        first = await asyncio.gather(spoken(german, "Guten Tag."), spoken(german, "Wie geht es?"))
        assert all(len(piece) for pieces in first for piece in pieces)
        assert loaded == ["de_DE-toy-medium"], "once"
        # The English one reads that in another way.
        english = await spoken(voice, "Guten Tag.")
        assert sum(map(len, english)) != sum(map(len, first[0]))
        assert german.in_language("en").language == "en"
        assert voice.another().in_language("de").language == "de"

    async def test_a_voice_of_another_rate_speaks_at_the_rate_of_all(
        self, voice: LocalVoice
    ) -> None:
        norsk = voice.in_language("no")
        pieces = await spoken(norsk, "En to tre.")
        length = sum(map(len, pieces))
        direct = Piper(norsk._voices._paths["no_NO-toy-low"], TtsSettings())
        made = await spoken(
            LocalVoice(
                Voices("x", direct, TtsSettings(), Catalogue((), Path(), Path())), Worker("x")
            ),
            "En to tre.",
        )
        assert length / voice.rate == pytest.approx(sum(map(len, made)) / 16000, rel=0.2)
        assert [w.char for p in pieces for w in p.words or ()] == [2, 5, 10]

    async def test_a_language_without_a_voice_is_told_once(
        self, voice: LocalVoice, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            assert voice.in_language("it") is voice
            assert voice.in_language("it") is voice
            assert voice.in_language("yi") is voice
        assert [record.getMessage() for record in caplog.records] == [
            "no voice here speaks Italian, so en_US-mini does: `cascade models pull "
            "it_IT-paola-medium`, and begin again",
            "no voice here speaks Yiddish, so en_US-mini does: Piper has none",
        ]

    async def test_a_voice_that_cannot_be_loaded_fails_the_reply_and_no_more(
        self, voice: LocalVoice
    ) -> None:
        french = voice.in_language("fr")
        for _ in range(2):
            # Two clauses may wait for it at a time.
            tries = (spoken(french, "Bonjour."), spoken(french, "Ça va ?"))
            for failed in await asyncio.gather(*tries, return_exceptions=True):
                assert isinstance(failed, StageError)
                assert "cannot be loaded, it may be damaged" in str(failed)
        assert await spoken(voice, "Hello.")

    async def test_a_lexicon_that_is_not_for_a_voice_is_left_out(
        self, catalogue: Catalogue, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = tmp_path / "de_DE-toy-medium" / "de_DE-toy-medium.onnx.json"
        table = json.loads(config.read_text(encoding="utf-8"))
        del table["phoneme_id_map"]["ɔ"]
        config.write_text(json.dumps(table), encoding="utf-8")
        (tmp_path / "words.toml").write_text('Chaos = "kˈɑːɔs"', encoding="utf-8")
        settings = TtsSettings(voice="en_US-mini", lexicon=str(tmp_path / "words.toml"))
        main = Piper(MINI, settings)
        main.warm()
        voice = LocalVoice(Voices("en_US-mini", main, settings, catalogue), Worker("tts"))
        assert await spoken(voice.in_language("de"), "Chaos.")
        assert "de_DE-toy-medium speaks without the lexicon" in caplog.text

    async def test_a_voice_by_its_name(self, voice: LocalVoice) -> None:
        german = voice.named("de_DE-toy-medium")
        assert german is not None and german.language == "de"
        assert voice.named("en_US-mini") is voice
        assert voice.named("marin") is None

    async def test_few_are_kept(self, voice: LocalVoice) -> None:
        voice._voices._most = 1
        await spoken(voice.in_language("de"), "Tag.")
        await spoken(voice.in_language("no"), "Dag.")
        assert list(voice._voices._loaded) == ["no_NO-toy-low"]
        assert await spoken(voice.in_language("de"), "Tag.")


def test_what_is_damaged_and_not_named_is_no_voice(catalogue: Catalogue, tmp_path: Path) -> None:
    config = tmp_path / "de_DE-toy-medium" / "de_DE-toy-medium.onnx.json"
    config.write_text('{"phoneme_id_map": {}}', encoding="utf-8")
    found = voices.found_voices(TtsSettings(), catalogue)
    assert list(found) == ["fr_FR-toy-medium", "no_NO-toy-low", "en_US-mini"]


def test_the_languages_that_are_heard_are_those_that_are_named(catalogue: Catalogue) -> None:
    assert languages_of(TtsSettings(voice="en_US-mini"), catalogue) == []
    named = TtsSettings(voice="en_US-mini", voices="no_NO-toy-low, de_DE-toy-medium")
    assert languages_of(named, catalogue) == ["de", "en", "no"]
    with pytest.raises(BadInput, match="es_ES-davefx-medium is not downloaded"):
        languages_of(TtsSettings(voice="en_US-mini", voices="es_ES-davefx-medium"), catalogue)


async def test_named_voices_are_loaded_at_the_start(catalogue: Catalogue) -> None:
    settings = load(None, TOYS | {"tts.voices": "de_DE-toy-medium"})
    async with LocalEngines(settings, catalogue, writes=False) as engines:
        assert isinstance(engines.voice, LocalVoice)
        assert engines.voice._voices.ready("de_DE-toy-medium") is not None
        assert engines._whisper._among == ["de", "en"]


@given(
    st.lists(st.integers(0, 900), max_size=12),
    st.sampled_from([16000, 22050, 44100]),
    st.sampled_from([16000, 22050]),
)
def test_words_keep_their_place_at_another_rate(sizes: list[int], given: int, wanted: int) -> None:
    pieces = [
        Sound(np.ones(size, np.int16), (WordEnd(i, size),) if size else ())
        for i, size in enumerate(sizes)
    ]
    made = [*at_rate(pieces, given, wanted)]
    total = sum(sizes)
    assert sum(map(len, made)) == (total if given == wanted else round(total * wanted / given))
    at, ends = 0, []
    for piece in made:
        ends += [(w.char, at + w.sample) for w in piece.words or ()]
        at += len(piece)
    expected = [(i, sum(sizes[: i + 1])) for i, size in enumerate(sizes) if size]
    assert [char for char, _ in ends] == [char for char, _ in expected]
    for (_, end), (_, was) in zip(ends, expected, strict=True):
        assert abs(end / wanted - was / given) < 2 / min(given, wanted)


def test_where_no_words_are_told_none_are() -> None:
    made = [*at_rate([Sound(np.ones(500, np.int16)), Sound(np.ones(9, np.int16))], 16000, 22050)]
    assert all(piece.words is None for piece in made)


def test_suggestions_are_voices_of_their_language() -> None:
    assert len(voices.SUGGESTED) > 40
    for code, name in voices.SUGGESTED.items():
        assert PIPER_VOICE.fullmatch(name) and is_code(code)
    assert [code_of(code) for code in ("pt-BR", "es_MX", "cmn", "nb", "DE")] == [
        "pt", "es", "zh", "no", "de",
    ]  # fmt: skip


class TestTranslating:
    """What is asked of `--translate-to` before anything is loaded."""

    def prepared(self, catalogue: Catalogue, language: str, **more: str) -> str:
        flags = {"tts.voice": "en_US-mini", "stt.url": "http://127.0.0.1:1/v1"} | {
            key.replace("_", ".", 1): value for key, value in more.items()
        }
        settings = load(None, flags | {"conversation.translate_to": language})
        return interpreter.prepared(settings, catalogue).tts.voice

    def test_the_voice_is_one_of_the_language(self, catalogue: Catalogue) -> None:
        server = {"llm_model": "http://127.0.0.1:1/v1"}
        assert self.prepared(catalogue, "de", **server) == "de_DE-toy-medium"
        assert self.prepared(catalogue, "en", **server) == "en_US-mini"

    @pytest.mark.parametrize(
        ("language", "more", "said"),
        [
            ("german", {}, "--translate-to german: is no code of a language"),
            ("de", {}, "the embedded language model is too small to translate; name one"),
            ("it", {"llm_model": "http://x/v1"}, "no voice here speaks Italian: .*it_IT-paola"),
            ("en", {"stt_url": "", "stt_model": "whisper-mini-en"}, "hears English alone"),
        ],
    )
    def test_what_cannot_be_done_is_told(
        self, catalogue: Catalogue, language: str, more: dict[str, str], said: str
    ) -> None:
        with pytest.raises(BadInput, match=said):
            self.prepared(catalogue, language, **more)
