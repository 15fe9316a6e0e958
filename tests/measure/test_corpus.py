from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.cli_child import ROOT

from pipeline.audio.audible import ending
from pipeline.audio.files import WavWriter, read_audio
from pipeline.config import TtsSettings
from pipeline.errors import BadInput
from pipeline.measure import corpus
from pipeline.measure.corpus import gather, keep, read_lines, say
from pipeline.models.catalogue import Catalogue

RATE = 16_000
STARTER = ROOT / "tests" / "data" / "corpus"


def sound(path: Path, seconds: float = 1.0) -> Path:
    """A tone of that length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 8000 * np.sin(np.arange(int(seconds * RATE)) / 5)
    with WavWriter(path, RATE) as wav:
        wav.write(tone.astype(np.int16))
    return path


def manifest(folder: Path, *rows: str, name: str = "list.csv", head: str = "") -> Path:
    path = folder / name
    path.write_text("\n".join([head or "file,text,end_of_speech_s", *rows]) + "\n", "utf-8")
    return path


# ---- folders ---------------------------------------------------------------------------------


def test_a_folder_is_all_sound_in_it_in_the_order_of_names(tmp_path: Path) -> None:
    sound(tmp_path / "b.wav")
    sound(tmp_path / "deep" / "a.WAV", 0.5)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / ".hidden.wav").write_text("no sound either")
    corpus = gather([tmp_path])
    assert [item.name for item in corpus.items] == ["b.wav", "deep/a.WAV"]
    assert [item.seconds for item in corpus.items] == [1.0, 0.5]
    assert [item.end_of_speech_s for item in corpus.items] == [None, None]
    assert corpus.problems == ()


def test_files_that_cannot_be_read_are_told_and_the_others_played(tmp_path: Path) -> None:
    good = sound(tmp_path / "good.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF but not really")
    (tmp_path / "empty.mp3").write_bytes(b"")
    with WavWriter(tmp_path / "silent.wav", RATE) as wav:
        wav.write(np.zeros(RATE, np.int16))
    corpus = gather([tmp_path])
    assert [item.path for item in corpus.items] == [good]
    broken, empty, silent = corpus.problems
    assert "broken.wav: is no sound file" in broken
    assert "empty.mp3: is empty" in empty
    assert "silent.wav: nothing is audible" in silent


def test_sound_under_a_suffix_of_something_else_is_found(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav").rename(tmp_path / "a.bin")
    assert [item.name for item in gather([tmp_path]).items] == ["a.bin"]


@pytest.mark.parametrize(
    ("source", "files", "says"),
    [
        ("", {}, "no recording to play"),
        ("nothing", {}, "there is no such file"),
        ("", {"one.wav": b"x", "two.wav": b"x"}, r"\(2 cannot be used\).*one\.wav"),
        ("", {"list.csv": b"x,y\n1,2\n"}, "has no column `file`"),
        ("a.csv", {"a.csv": b"file\n\xff\xfe\n"}, "is no table in UTF-8"),
    ],
)
def test_a_source_without_anything_to_play_is_refused(
    tmp_path: Path, source: str, files: dict[str, bytes], says: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=says):
        gather([tmp_path / source])


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "x", tmp_path / "y"]
    for folder in folders:
        sound(folder / "a.wav")
    names = [item.name for item in gather([*folders, tmp_path / "x"]).items]
    assert names == ["a.wav", "y/a.wav", "x/a.wav"]
    assert len({item.name for item in gather([folders[0]] * 4).items}) == 4


# ---- manifests -------------------------------------------------------------------------------


def test_a_manifest_gives_texts_and_labels(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    sound(tmp_path / "unnamed.wav")
    path = manifest(tmp_path, 'a.wav,"Yes, please.",0.75', "b.wav,,")
    for source in (path, tmp_path):
        first, second = gather([source]).items
        assert (first.name, first.text, first.end_of_speech_s) == ("a.wav", "Yes, please.", 0.75)
        assert (second.name, second.text, second.end_of_speech_s) == ("b.wav", "", None)


def test_a_table_with_tabs_and_transcripts_is_one_too(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    path = manifest(tmp_path, "a.wav\tHello.\tx", name="d.tsv", head="file\ttranscript\tvoice")
    (item,) = gather([path]).items
    assert (item.text, item.end_of_speech_s) == ("Hello.", None)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("missing.wav,Hello.,", r"line 3: there is no file .*missing\.wav"),
        (",Hello.,", "line 3: names no file"),
        ("b.wav,,soon", "line 3: end_of_speech_s is 'soon'"),
        ("b.wav,,nan", "line 3: end_of_speech_s is 'nan'"),
        ("b.wav,,1.5", r"b\.wav: end_of_speech_s is 1\.5, and it lasts 1\.00 s"),
        ("b.wav,,-1", r"b\.wav: end_of_speech_s is -1"),
    ],
)
def test_a_bad_line_is_told_and_the_others_played(tmp_path: Path, row: str, says: str) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    corpus = gather([manifest(tmp_path, "a.wav,,", row)])
    assert [item.name for item in corpus.items] == ["a.wav"]
    (problem,) = corpus.problems
    assert re.search(says, problem)


# ---- spoken text -----------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache with nothing in it."""
    monkeypatch.setattr(corpus, "_shelf", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
def test_lines_are_spoken_once_end_where_it_is_said_and_can_be_kept(tmp_path: Path) -> None:
    voice = Catalogue.load().resolve("tts", "en_US-mini")
    lines = ["What time does the museum leave?", "Turn on the light."]
    items = say(lines, voice, TtsSettings())
    assert [item.text for item in items] == lines
    made = {item.path: item.path.stat().st_mtime_ns for item in items}
    for item in items:
        samples = np.concatenate([*read_audio(item.path, 22_050)])
        assert item.end_of_speech_s == ending(samples, 22_050) / 22_050  # type: ignore[operator]
        assert not samples[int(item.end_of_speech_s * 22_050) + 1 :].any()
        assert not samples[: int(corpus.LEAD_S * 22_050)].any()
    assert say(lines, voice, TtsSettings()) == items
    assert {path: path.stat().st_mtime_ns for path in made} == made
    faster = say(lines[:1], voice, TtsSettings(speed=2.0))
    assert faster[0].path not in made
    assert gather([], items).items[0].seconds > 1
    keep(items, tmp_path / "kept")
    kept = gather([tmp_path / "kept"]).items
    assert [item.text for item in kept] == lines
    ends = [pytest.approx(item.end_of_speech_s, abs=1e-4) for item in items]
    assert [item.end_of_speech_s for item in kept] == ends


def test_a_line_without_sound_is_refused(cache: Path) -> None:
    voice = Catalogue.load().resolve("tts", "en_US-mini")
    with pytest.raises(BadInput, match="has no sound in this voice"):
        say(["..."], voice, TtsSettings())
    assert not cache.exists()


def test_text_to_speak_has_a_line_each(tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("# said by us\n\n  One. \nTwo.\n", "utf-8")
    assert read_lines(file) == ["One.", "Two."]
    file.write_text("# nothing\n")
    with pytest.raises(BadInput, match="no line to speak"):
        read_lines(file)
    with pytest.raises(BadInput, match="cannot be read"):
        read_lines(tmp_path / "none.txt")


def test_the_starter_corpus_is_labelled_and_whole() -> None:
    corpus = gather([STARTER])
    assert corpus.problems == ()
    assert [item.text for item in corpus.items] == read_lines(STARTER / "questions.txt")
    for item in corpus.items:
        samples = np.concatenate([*read_audio(item.path, RATE)])
        assert item.end_of_speech_s == pytest.approx(ending(samples, RATE) / RATE, abs=0.005)  # type: ignore[operator]
