"""What is measured of voices that are made here, and of people's; and what is said of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli_child import HUMAN, needs_people

from pipeline.audio.files import read_audio
from pipeline.audio.resample import resampled
from pipeline.engines.prosody import Prosody, SpeakingHabits, measure, pace
from pipeline.engines.whisper import RATE, Audio, scaled, syllables

Numbers = npt.NDArray[np.float64]

FORMANTS = ((600, 80), (1200, 90), (2500, 120))
"""Of a vowel: frequencies and bandwidths (Hz)."""


def vowel(hz: float | Sequence[float], seconds: float = 1.0, level: float = 0.1) -> Numbers:
    """A vowel at this pitch, or gliding along these pitches, as loud as that (rms)."""
    n = round(seconds * RATE)
    pitch = np.interp(np.arange(n), np.linspace(0, n, np.size(hz)), np.atleast_1d(hz))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = np.zeros(n)
    for number in range(1, int(4000 / pitch.max()) + 1):
        at = number * pitch
        heights = (1 / (1 + ((at - centre) / width) ** 2) for centre, width in FORMANTS)
        sound += np.sqrt(sum(heights)) / number * np.sin(number * phase + number)
    loud: Numbers = sound * (level / np.sqrt(np.mean(sound**2)))
    return loud


def with_noise(sound: Numbers, snr_db: float, seed: int = 1) -> Audio:
    """A sound in white noise."""
    noise = np.random.default_rng(seed).standard_normal(len(sound))
    scale = np.sqrt(np.mean(sound**2)) * 10 ** (-snr_db / 20)
    noisy: Audio = (sound + scale * noise).astype(np.float32)
    return noisy


def whispered(audio: Audio) -> Audio:
    """The same words without a pitch: every 15 ms the shape of the voice's spectrum, of noise."""
    noise = np.random.default_rng(2).standard_normal(len(audio))
    hop, length = 240, 480
    window, out = np.hanning(length), np.zeros(len(audio))
    broad = np.ones(13) / 13  # 430 Hz: formants stay, harmonics do not
    for at in range(0, len(audio) - length, hop):
        part = np.abs(np.fft.rfft(audio[at : at + length] * window))
        shape = np.sqrt(np.convolve(part**2, broad, "same"))
        made = np.fft.irfft(shape * np.fft.rfft(noise[at : at + length]) / np.sqrt(length))
        out[at : at + length] += made * window
    return out.astype(np.float32)


def played_at(audio: Audio, speed: float) -> Audio:
    """A recording played so much faster: its pitch rises by as much."""
    samples = (audio * 32767).astype(np.int16)
    return scaled(resampled(samples, round(RATE * speed), RATE))


def heard(path: Path) -> Audio:
    """A recording as the recogniser gets it."""
    return scaled(np.concatenate([*read_audio(path, RATE)]))


def people(*folders: str) -> list[tuple[str, Audio, str]]:
    """People's recordings in these folders: name, sound, words."""
    with (HUMAN / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        (row["path"], heard(HUMAN / row["path"]), row["transcript"].strip('"'))
        for row in rows
        if row["path"].startswith(folders) and not row["path"].endswith((".raw", ".pcm"))
    ]


class TestMeasure:
    @pytest.mark.parametrize("snr_db", [60, 10, 5])
    @pytest.mark.parametrize("hz", [70, 90, 110, 140, 180, 220, 300, 400])
    def test_pitch_is_found_to_half_a_percent(self, hz: float, snr_db: float) -> None:
        found = measure(with_noise(vowel(hz), snr_db))
        assert found.pitch_hz == pytest.approx(hz, rel=0.005)
        assert found.voiced > 0.95
        assert found.range_st < 0.3

    def test_a_glide_has_its_range(self) -> None:
        found = measure(with_noise(vowel([100, 200], 2.0), 30))
        assert found.pitch_hz == pytest.approx(150, rel=0.02)
        assert found.range_st == pytest.approx(12 * np.log2(190 / 110), abs=0.5)

    def test_loudness_and_pauses(self) -> None:
        silence, word = np.zeros(RATE), vowel(120, 0.6)
        sound = np.concatenate([silence, word, silence[:8000], word, silence[:2000], word, silence])
        loud = measure(with_noise(sound, 60))
        quiet = measure(with_noise(sound / 10, 60))
        assert loud.pauses == quiet.pauses
        assert loud.pauses == pytest.approx([0.5], abs=0.05)
        assert loud.spoken_s == pytest.approx(1.8 + 0.125, abs=0.1)
        assert loud.level_db == pytest.approx(-20, abs=1)
        assert loud.level_db - quiet.level_db == pytest.approx(20, abs=0.1)

    def test_noise_is_no_voice(self) -> None:
        noise = np.random.default_rng(3).standard_normal(2 * RATE).astype(np.float32)
        assert measure((noise / 10).astype(np.float32)).voiced < 0.1

    @given(st.integers(0, 5000), st.sampled_from([0.0, 1.0, 1e-9, 3e4]), st.integers(0, 9))
    @settings(max_examples=60, deadline=None)
    def test_anything_can_be_measured(self, n: int, scale: float, seed: int) -> None:
        sound = np.random.default_rng(seed).standard_normal(n) * scale
        for audio in (sound, np.sign(sound) * scale, np.full(n, scale)):
            found = measure(audio.astype(np.float32))
            values = (found.spoken_s, found.level_db, found.voiced, found.pitch_hz, found.range_st)
            assert np.isfinite(values).all()

    @needs_people
    @pytest.mark.parametrize(
        ("folder", "speed"), [("librispeech/237", 0.8), ("pocketsphinx/sense", 1.25)]
    )
    def test_people_played_faster_are_faster_and_higher_by_as_much(
        self, folder: str, speed: float
    ) -> None:
        """A woman slowed, and a man sped up, stay within the pitches that are looked for."""
        for name, sound, words in people(folder):
            before, after = measure(sound), measure(played_at(sound, speed))
            assert pace(after, words) / pace(before, words) == pytest.approx(speed, rel=0.02), name
            assert after.pitch_hz / before.pitch_hz == pytest.approx(speed, rel=0.025), name
            assert after.level_db == pytest.approx(before.level_db, abs=1.0), name


USUAL = Prosody(2.0, (0.3,), -25.0, 40.0, 0.8, 120.0, 7.0)
TEN = "What time does the next train leave for Berlin"


def after(*turns: Prosody) -> SpeakingHabits:
    speaker = SpeakingHabits()
    for said in turns:
        speaker.learn(said, TEN)
    return speaker


class TestSpeaker:
    @pytest.mark.parametrize(
        ("changed", "note"),
        [
            ({}, ""),
            ({"spoken_s": 1.4}, "speaks fast"),
            ({"spoken_s": 3.2}, "speaks slowly"),
            ({"level_db": -16.0}, "speaks louder than before"),
            ({"level_db": -34.0}, "speaks more quietly than before"),
            ({"level_db": -20.0, "pitch_hz": 140.0, "range_st": 9.0, "spoken_s": 1.8}, ""),
            ({"pitch_hz": 170.0}, "speaks in a higher voice than before"),
            ({"pitch_hz": 85.0}, "speaks in a lower voice than before"),
            ({"range_st": 2.5}, "speaks in a flat voice"),
            ({"range_st": 15.0}, "speaks in a lively voice"),
            ({"voiced": 0.1, "pitch_hz": 0.0, "range_st": 0.0}, "speaks in a whisper"),
            ({"pauses": (0.7, 0.3, 0.9)}, "speaks with long pauses"),
            ({"spoken_s": 1.4, "level_db": -15.0}, "speaks fast, louder than before"),
            ({"spoken_s": 0.4, "level_db": -5.0}, ""),
        ],
    )
    def test_what_is_unlike_the_turns_before_is_told(
        self, changed: dict[str, float], note: str
    ) -> None:
        speaker = after(USUAL, replace(USUAL, level_db=-27.0), USUAL)
        assert speaker.note(replace(USUAL, **changed), TEN) == note  # type: ignore[arg-type]

    def test_of_the_first_turn_only_the_extreme_is(self) -> None:
        new = SpeakingHabits()
        assert new.note(replace(USUAL, level_db=-5.0, pitch_hz=300.0, range_st=1.0), TEN) == ""
        assert new.note(replace(USUAL, spoken_s=1.3), TEN) == "speaks fast"
        assert new.note(replace(USUAL, spoken_s=6.0), TEN) == "speaks slowly"
        assert new.note(replace(USUAL, voiced=0.0), TEN) == "speaks in a whisper"
        assert new.note(replace(USUAL, voiced=0.0, clear_db=8.0), TEN) == "", "who could tell"
        assert new.note(Prosody(), TEN) == ""

    def test_who_stays_so_is_not_told_of_for_ever(self) -> None:
        speaker, loud = after(USUAL, USUAL), replace(USUAL, level_db=-10.0)
        told = []
        for _ in range(9):
            told.append(speaker.note(loud, TEN))
            speaker.learn(loud, TEN)
        assert told[0] == "speaks louder than before"
        assert told[-1] == ""

    def test_who_always_pauses_pauses_as_usual(self) -> None:
        hesitant = replace(USUAL, pauses=(0.7, 0.6, 0.8))
        speaker = after(hesitant, hesitant)
        assert speaker.note(hesitant, TEN) == ""
        assert speaker.note(replace(USUAL, pauses=(0.6,) * 6), TEN) == "speaks with long pauses"

    def test_a_word_has_no_pace(self) -> None:
        assert after(USUAL).note(replace(USUAL, spoken_s=0.9), "Yes, sure") == ""

    @needs_people
    def test_readers_who_read_on_are_not_told_of(self) -> None:
        """Sentences of the same three people, each after the others: hardly anything is notable."""
        told, count = [], 0
        for folder in ("librispeech/237", "pocketsphinx/sense", "asterisk/"):
            said = [(name, measure(sound), words) for name, sound, words in people(folder)]
            for name, prosody, words in said:
                speaker = SpeakingHabits()
                for other, before, theirs in said:
                    if other != name:
                        speaker.learn(before, theirs)
                count += 1
                told += [(name, note)] if (note := speaker.note(prosody, words)) else []
        assert count >= 17
        assert len(told) <= 2, told

    @needs_people
    def test_nobodys_first_sentence_is_extreme_but_a_whisper_is(self) -> None:
        folders = ("librispeech", "pocketsphinx/s", "speechbrain/spk", "asterisk", "azure_js/my")
        heard = 0
        for name, sound, words in people(*folders):
            assert SpeakingHabits().note(measure(sound), words) == "", name
            heard += "whisper" in SpeakingHabits().note(measure(whispered(sound)), words)
        assert heard >= 20

    @needs_people
    def test_people_are_as_fast_as_they_are(self) -> None:
        """The same sentence said twice by one person, the second time a fifth slower by the ear."""
        (_, first, words), (_, second, _) = people("azure_js/myVoice")
        assert pace(measure(first), words) > 1.15 * pace(measure(second), words)


def test_syllables_of_many_languages() -> None:
    words = {
        **{"What time is it?": 5, "où est-il": 3, "Привет, как дела": 5, "今何時ですか": 6},
        **{"안녕하세요": 5, "Wie heißt du": 3, "γειά σου": 2, "12 x": 3},
    }
    assert {text: syllables(text) for text in words} == words
