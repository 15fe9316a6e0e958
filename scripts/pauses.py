"""Turns with pauses inside: what `politeness.py` measures endpoints on.

Made when asked for, from the development recordings (people-like voices of several synthesisers)
and from sentences that the embedded voice speaks: the room's noise is put in at a word gap, for
0.2 to 1.5 s, and noise over all of it. What is known of each: where its pauses are, and where its
last word ends. The same seed gives the same turns.

The pauses are cut into fluent speech. People slow down and hold their pitch before they pause, so
that the melody tells more with people than here.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import soxr
from piper import PiperVoice, SynthesisConfig

from pipeline.audio.audible import ending, onset
from pipeline.audio.files import read_audio
from pipeline.stages.tts import LEVEL_DB, level

RECORDINGS = Path(__file__).parent.parent / "tests/data/recordings"
RATE = 16_000
LEAD_S, REST_S = 0.6, 3.2  # room before the turn; after it, longer than any hold
SHORTEST_S, LONGEST_S = 0.2, 1.5  # of a pause; drawn evenly on a scale of logarithms
ROOM_DB = -65.0  # RMS of the room's own noise, re full scale
FADE = RATE // 200  # 5 ms, at both sides of a cut
VALLEY_DB = 8.0  # so much below the loudest within 0.25 s is a gap worth a try
NOISES: tuple[float | None, ...] = (None, 20.0, 10.0, 5.0)
"""Signal-to-noise ratios (dB); None is the room alone."""

SPEEDS = (0.9, 1.0, 1.12)  # of the embedded voice, in turn

SENTENCES = """\
I want to book a flight to Paris on Friday.
I want to book a flight to London and I need a hotel for six nights.
Book a table for four people on Sunday.
Book a flight from Boston to Seattle and send me an email.
I need a hotel in Toronto for three nights, please.
I'd like to book a room for two people on Monday.
Where is the nearest hospital?
Find a good restaurant near me and call a taxi.
When does the next train to Chicago leave?
How long does it take to get to Boston by train?
I lost my passport and I have to go to the airport tomorrow.
Take me to the airport, please.
How is the traffic to the airport right now?
I am going to Italy next week with my brother.
Set a timer for ten minutes.
Set a timer for five minutes and play some music in the kitchen.
Set an alarm for seven thirty in the morning.
Wake me up at six on Monday.
Remind me to call my mother tomorrow.
Remind me to buy milk and eggs on Tuesday.
Remind me to lock the door in twenty minutes, please.
Cancel my alarm and set a timer for one hour.
How much time is left on the timer?
Play some music in the living room.
Tell me a story about a dog and a robot.
Tell me a joke about a cat, please.
Write a poem about the sea for my mother.
Can you recommend a good book about history?
What is your favorite color?
Turn off the lights in the kitchen.
Turn on the television and turn down the volume.
Turn on the bedroom light and close the window.
Set the temperature to twenty degrees, please.
Set the volume to fifty and play the next song.
Is the front door locked?
Did I leave the oven on?
I can't find my phone.
What's the weather like tomorrow?
What is the weather in Paris on Monday?
Will it rain in London on Sunday?
Do I need a jacket today, or is it warm?
What is the temperature in Chicago today?
What time is it in Australia?
What day is it today?
My birthday is in March.
What is twenty plus seven plus nine?
What is half of ninety six?
How many minutes are in three hours?
Count from five to twelve.
My phone number is five nine two one three four.
Call my mother and tell her that I will be late.
Send a message to Alice.
Send an email to Kate and ask her if she wants lunch.
Tell John that I will call back tomorrow.
Do I have any new messages from my brother?
I have a meeting with Mary on Wednesday.
Move my meeting to Thursday and send an email to David.
How do you say thank you in French?
Translate good morning to Spanish.
What is the capital of Canada?
What is the biggest city in the world?
How far is it from Paris to London?
What is the difference between a cat and a dog?
How many people live in Germany?
What do elephants eat?
Why is the sky blue?
Can you explain how a computer works?
Tell me something interesting about the moon.
Give me a recipe for tomato soup.
How do you cook rice?
I'd like to order a large pizza and some water.
Can I have a cup of coffee and a sandwich, please?
Add milk and bread to my shopping list.
I would like a refund for my laptop, please.
The phone I bought last week is broken and I want my money back.
I have a question about my bill.
I want to speak to a manager.
I forgot my password and I can't open my account.
When will my order arrive?
My computer is very slow and it makes a strange noise.
I have been waiting for two hours and I want a refund.
Can I pay with my phone, or in cash?
I like music and I have two dogs.
Do you like football?
I don't understand the question.
Can you help me with my homework?
Thank you very much for your help.
What do you think about the internet?
I am tired and I want to go home.
Give me an example, please.
""".splitlines()
"""Requests in the words that the embedded recogniser knows; a third have two clauses."""

Samples = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
Half = Literal["fit", "report"]


class Recogniser(Protocol):
    """Speech to text, as `stages.stt.Whisper`."""

    def transcribe(self, audio: Floats) -> Any:
        """What is said in `audio` (16 kHz, ±1), with a `text`."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence as a voice said it, without silence around it.

    Attributes:
        text: What is said.
        voice: Who says it.
        audio: ±1, 16 kHz.
        gaps: Offsets at which a word ends and the next begins, with how many words are before it;
            0 where that is not known.
    """

    text: str
    voice: str
    audio: Floats
    gaps: tuple[tuple[int, int], ...]

    @property
    def half(self) -> Half:
        """Which half it is in: by sentence, and for recordings by the voice's engine too."""
        engine = self.voice.split(":")[0]
        if engine == "piper":
            return "fit" if zlib.crc32(self.text.encode()) % 2 else "report"
        return "fit" if engine in ("espeak", "flite") else "report"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, ready to be heard.

    Attributes:
        spoken: What it was made of.
        snr: Noise over it (dB); None is the room alone.
        audio: With room before and after it.
        pauses: First and one past the last sample of each silence put in.
        words_before: How many words are before each; 0 where that is not known.
        end: One past the last sample of speech.
    """

    spoken: Spoken
    snr: float | None
    audio: Samples
    pauses: tuple[tuple[int, int], ...]
    words_before: tuple[int, ...]
    end: int


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return [w for raw in text.lower().split() if (w := raw.strip(".,!?…"))]


def recordings(recogniser: Recogniser) -> list[Spoken]:
    """The development recordings, with those gaps that the recogniser hears as such."""
    found = []
    with (RECORDINGS / "dev.tsv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            audio = np.concatenate([*read_audio(RECORDINGS / row["file"], RATE)])
            heard = audio.astype(np.float32) / np.float32(32768)
            heard = heard[slice(*_sound(heard))]
            gaps = _heard_gaps(heard, words(row["transcript"]), recogniser)
            found.append(Spoken(row["transcript"], row["voice"], heard, gaps))
    return found


def sentences(voice: PiperVoice, texts: Sequence[str] = SENTENCES) -> list[Spoken]:
    """Sentences of the embedded voice, with the gaps that its durations tell."""
    return [_said(voice, text, SPEEDS[i % len(SPEEDS)]) for i, text in enumerate(texts)]


def turns(
    spoken: Sequence[Spoken], noises: Sequence[float | None] = NOISES, *, seed: int = 1
) -> list[Turn]:
    """For each sentence and noise: without a pause, with one, and with two where gaps allow."""
    made = []
    for one in spoken:
        random = Random(f"{seed} {one.voice} {one.text}")
        plans = [[], random.sample(one.gaps, 1)] if one.gaps else [[]]
        if len(one.gaps) > 4:
            plans.append(sorted(random.sample(one.gaps, 2)))
        for plan in plans:
            cuts = [(at, _pause(random)) for at, _ in plan]
            clean, pauses, end = _with_pauses(one.audio, cuts)
            counts = tuple(n for _, n in plan)
            for snr in noises:
                audio = _noisy(clean, snr, random.randrange(2**32))
                made.append(Turn(one, snr, audio, pauses, counts, end))
    return made


def _pause(random: Random) -> int:
    """Samples of a pause."""
    low, high = math.log(SHORTEST_S), math.log(LONGEST_S)
    return int(math.exp(random.uniform(low, high)) * RATE)


def _with_pauses(
    audio: Floats, cuts: Sequence[tuple[int, int]]
) -> tuple[Floats, tuple[tuple[int, int], ...], int]:
    """Speech with silence at the cuts and around it, where the pauses are, and the speech's end."""
    lead = np.zeros(int(LEAD_S * RATE), np.float32)
    parts, pauses, position, done = [lead], [], len(lead), 0
    for at, length in [*cuts, (len(audio), 0)]:
        piece = audio[done:at].copy()
        if done:
            piece[:FADE] *= np.linspace(0, 1, len(piece[:FADE]), dtype=np.float32)
        if length:
            piece[-FADE:] *= np.linspace(1, 0, len(piece[-FADE:]), dtype=np.float32)
        parts.append(piece)
        position += len(piece)
        if length:
            parts.append(np.zeros(length, np.float32))
            pauses.append((position, position + length))
            position += length
        done = at
    parts.append(np.zeros(int(REST_S * RATE), np.float32))
    return np.concatenate(parts), tuple(pauses), position


def _noisy(clean: Floats, snr: float | None, seed: int) -> Samples:
    rms = 10 ** (ROOM_DB / 20)
    if snr is not None:
        rms = max(rms, level(clean, RATE) * 10 ** (-snr / 20))
    sound = clean + rms * _pink(len(clean), seed)
    samples: Samples = np.clip(np.rint(sound * 32767), -32768, 32767).astype(np.int16)
    return samples


def _pink(n: int, seed: int) -> Floats:
    """Noise of unit power whose density falls by 3 dB an octave above 50 Hz, as rooms' does."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    hertz = np.fft.rfftfreq(n, 1 / RATE)
    shaped = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 50.0)), n)
    noise: Floats = (shaped / shaped.std()).astype(np.float32)
    return noise


def _said(voice: PiperVoice, text: str, speed: float) -> Spoken:
    """A sentence of the voice, without the voice's own noise, so that it is the same every time.

    The voice tells the samples of each phoneme, and a space between words is one: the gap is where
    its sound is weakest, at most 30 ms from there.
    """
    config = SynthesisConfig(
        length_scale=1 / speed, noise_scale=0.0, noise_w_scale=0.0, normalize_audio=False
    )
    rate, parts, spaces, position = voice.config.sample_rate, [], [], 0
    for chunk in voice.synthesize(text, config, include_alignments=True):
        parts.append(chunk.audio_float_array)
        for phoneme in chunk.phoneme_alignments or ():
            if phoneme.phoneme == " ":
                spaces.append((position + phoneme.num_samples // 2) * RATE // rate)
            position += phoneme.num_samples
    audio = soxr.resample(np.concatenate(parts), rate, RATE).astype(np.float32)
    audio *= np.float32(10 ** (LEVEL_DB / 20) / level(audio, RATE))
    first, last = _sound(audio)
    gaps = [(_weakest(audio, at, int(0.03 * RATE)), n) for n, at in enumerate(spaces, 1)]
    # The voice runs some words together ("in the"): then nobody knows which gap is which.
    counted = len(gaps) == len(text.split()) - 1
    kept = tuple((at - first, n * counted) for at, n in gaps if first < at < last)
    return Spoken(text, "piper:en_US-mini", audio[first:last], kept)


def _weakest(audio: Floats, near: int, reach: int) -> int:
    """The offset, at most `reach` from `near`, around which 10 ms of sound are weakest."""
    low, high = max(0, near - reach), min(len(audio), near + reach)
    size = RATE // 100
    power = np.convolve(np.square(audio[low:high]), np.ones(size), "same")
    return low + int(power.argmin())


def _sound(audio: Floats) -> tuple[int, int]:
    """The first audible sample, and one past the last."""
    samples = np.rint(np.clip(audio, -1, 1) * 32767).astype(np.int16)
    return onset(samples, RATE) or 0, ending(samples, RATE) or len(samples)


def _heard_gaps(
    audio: Floats, said: list[str], recogniser: Recogniser
) -> tuple[tuple[int, int], ...]:
    """Word gaps of a recording.

    A valley of the energy is one if what the recogniser hears before it are the first words of the
    sentence; of several valleys after the same word, the deepest is.
    """
    size = RATE // 100
    frames = audio[: len(audio) // size * size].reshape(-1, size)
    decibels = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    gaps: dict[int, tuple[float, int]] = {}
    quiet = np.zeros(int(0.4 * RATE), np.float32)
    for i in range(15, len(decibels) - 15):
        near = decibels[max(0, i - 25) : i + 25]
        lowest = decibels[i - 3 : i + 4].min() == decibels[i]
        if not lowest or decibels[i] > near.max() - VALLEY_DB:
            continue
        at = i * size + size // 2
        before = words(recogniser.transcribe(np.concatenate([quiet, audio[:at], quiet])).text)
        n = len(before)
        if not 0 < n < len(said) or before != said[:n]:
            continue
        if decibels[i] < gaps.get(n, (math.inf, 0))[0]:
            gaps[n] = (float(decibels[i]), at)
    return tuple(sorted((at, n) for n, (_, at) in gaps.items()))
