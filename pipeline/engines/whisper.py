"""Speech to text: Whisper on as much sound as there is, instead of on thirty seconds.

faster-whisper loads the model, computes the features and knows the tokens. Its `transcribe` is not
used, because it pads every utterance to 30 s: CTranslate2's encoder takes any length up to that,
and 3 s cost it a thirtieth. The decoder of a model that was not trained on short windows loops when
it is shown one: it never learnt to stop without a long silence. So its encoder gets a short window,
and its decoder what the encoder made of that, followed by what it makes of silence, which is
computed once. What still looks doubtful is encoded again, at 15 s or at 30.
"""

from __future__ import annotations

import contextlib
import math
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from pipeline.config import SttSettings, WindowKind
from pipeline.errors import BadInput, StageError, first_line
from pipeline.events import Samples

Audio = npt.NDArray[np.float32]
"""Mono audio at 16 kHz in ±1, shape (n,)."""


def scaled(samples: Samples) -> Audio:
    """16-bit samples at 16 kHz as the recogniser takes them."""
    return samples.astype(np.float32) / np.float32(32768)


RATE = 16_000
"""Samples per second (Hz) of everything here."""

FULL_S = 30.0
"""Whisper's window (s)."""

MAX_TOKENS = 224
"""The longest text Whisper may write for one window: half its 448 positions."""

WINDOW_S = 8.0
"""Padded length of the encoder's input (s)."""

SILENCE_S = 7.0
"""Encoded silence (s) that the decoder gets behind a short window. With 8 s and this it takes a
fifth less time than with all the rest of 30 s, and hears as well: of 89 recordings of people it had
8.8 % of the words wrong either way. Whisper as published is no worse on 15 s than on 30."""

UNSURE_S = WINDOW_S + SILENCE_S
"""Encoder's input (s) where a word or two of a short window are unlikely: no more than the decoder
had, but all of it encoded together."""

COMPUTE_TYPE = "int8"
"""CTranslate2's arithmetic: half the time of float32, and it works everywhere."""

BEAM_SIZE = 1
"""Greedy: a third less time than a beam of 5."""

MIN_VOICED_MS = 100
"""Less voiced time (ms) than this is not sent to the recogniser."""

MAX_COMPRESSION = 2.4
"""Text that compresses better repeats itself: Whisper's own test, which only long loops meet."""

NO_SPEECH = 0.55
"""Text is dropped when the probability of no speech is above this and its words are unlikely."""

LOG_PROB = -1.0
"""Mean log-probability per token below which words are unlikely."""

INVENTED = frozenset(
    {"you", "thank you", "thank you very much", "thanks", "thanks for watching"}
    | {"thank you for watching", "bye", "bye bye", "byebye", "im so sorry"}
    | {"i hope you enjoyed this video"}
)
"""What Whisper makes of coughs, clatter and music: the subtitles it learnt from say such things
where nobody speaks. People say most of them too, and then the model is sure that somebody spoke."""

NEAR = 0.65
"""Share of letters that a misheard word has in common with the expected one: "my craft" has 0.86 of
"Mycroft", "Javi's" 0.83 of "Jarvis". Where nothing is so near, the model is not told of the words:
they draw others to them, and with five of them 29 words of 334 were wrong instead of 25."""

_NOBODY = 0.6  # no-speech above which such a text is an invented one, however likely its words
_FRAME = RATE // 100  # samples from one column of features to the next
_STEP_S = 0.2  # windows are multiples of this: a length seen before encodes a quarter faster
_MIN_S = 1.0  # the shortest window; shorter ones save nothing
_MARGIN_S = 1.0  # nothing that the encoder hears after the last sound of a padded window
_POSITION = 2 * _FRAME  # samples from one position of the encoder's output to the next
_SEARCH_S = 5.0  # before the end of a full window, where longer audio may be cut
_LOOP_WORDS = 3  # so many words twice in a row may be a loop; fewer are a manner of speaking
_FEW_TOKENS = 4  # of a word or two there is no context to correct what a short window misheard
_UNSURE = -0.9  # log-probability of few tokens below which a longer window often has a better word
_FASTEST = 8.0  # syllables of voice that people say in a second, at most
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {word: str(number) for number, word in enumerate(_SMALL.split())} | {
    word: f"{number}0" for number, word in enumerate(_TENS.split(), 2)
}
_MARKS = 5  # tokens before a text: of a prompt, of the start, language, task, no timestamps
_MOST_PROMPT = MAX_TOKENS - _MARKS  # tokens of a prompt: with it and the longest text all is full
_SURE = 0.5  # probability that settles the language, as in faster-whisper

SHORT_S = 1.5
"""Of less voice than this (s) the language is heard wrongly so often that the conversation's is
kept, unless another is `SURE_SHORT`."""

SURE_SHORT = 0.9
"""How probable another language has to be in so short an utterance."""

LEAST_TOLD = 0.25
"""A translation of less than this share of the syllables of what was said has left most of it out:
"the" for three sentences."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an utterance before it is recognised, and what it is recognised for.

    Attributes:
        voiced_ms: How much of it the voice detector took for speech (ms); None: unknown.
        prefix: Words that it surely begins with: they are given to the model, which goes on from
            there, and they begin the text. For audio of one window only. It saves no time, for
            CTranslate2 (4.8.5) takes them one by one, but without it the text may end at a pause.
        language: Code of the language that is spoken; empty: detect it. What the settings or the
            model say goes before it.
        usual: Code of what the conversation has been in: taken where detection is in doubt.
        draft: Whether what looks doubtful is dropped, instead of being encoded again in a longer
            window, which takes twice as long and more: for what is soon recognised again anyway.
            For audio of one window only.
        prompt: What is about to be said, or how it is to be written: names, a beginning. It is
            given to the model as what was said before; only its end if it is long. A model that was
            trained on short windows learnt nothing of that, and is not given it.
    """

    voiced_ms: float | None = None
    prefix: str = ""
    language: str = ""
    usual: str = ""
    draft: bool = False
    prompt: str = ""

    @property
    def too_short(self) -> bool:
        """Whether less of it is voiced than the shortest words have."""
        return self.voiced_ms is not None and self.voiced_ms < MIN_VOICED_MS


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said.

    Attributes:
        text: The words; empty when there are none, or a guard dropped them.
        language: Its code (`en`); empty when it is not known and nothing was asked of the model.
        log_prob: Mean log-probability per token; 0 where there are no tokens.
        no_speech: Probability that the model gives to there being no speech.
        window_s: Length of the encoder's input (s); 0 where it was not run.
        dropped: Why a guard dropped the text; empty when none did.
        raw: What the model wrote, dropped or not.
        sure: Whether the language is beyond doubt, so that what is said next may be taken for it;
            a model that knows one language cannot tell.
        tokens: How many the model wrote.
        endless: Whether it was stopped rather than came to an end.
        english: What it means in English, where that is asked for and can be had; else empty.
    """

    text: str
    language: str
    log_prob: float
    no_speech: float
    window_s: float
    dropped: str = ""
    raw: str = ""
    sure: bool = False
    tokens: int = 0
    endless: bool = False
    english: str = ""


def require_audio(audio: Audio) -> None:
    """Check that an engine can take this audio.

    Raises:
        ValueError: It is not float32, not one-dimensional, or not finite.
    """
    if audio.dtype != np.float32 or audio.ndim != 1 or not np.isfinite(audio).all():
        raise ValueError(f"audio is {audio.dtype} {audio.shape}, not finite float32 (n,)")


def choose_window(
    kind: WindowKind, seconds: float, *, short_windows: bool, window_s: float = WINDOW_S
) -> float:
    """How much the encoder gets (s) for so many seconds of audio: never less, at most 30.

    Args:
        kind: The setting `stt.window`.
        seconds: Length of the audio.
        short_windows: Whether the model was trained on windows of any length.
        window_s: Padded length.
    """
    if kind == "auto":
        kind = "own" if short_windows else "padded"
    seconds += _MARGIN_S if kind == "padded" else 0.0
    least = {"own": _MIN_S, "padded": window_s, "full": FULL_S}[kind]
    steps = math.ceil(round(max(seconds, least) / _STEP_S, 6))
    return min(FULL_S, round(steps * _STEP_S, 1))


def token_budget(voice_s: float, language: str) -> int:
    """Tokens that so much voice can need in a short window.

    English takes about 4 a second of voice, and hardly ever more than 6; scripts that Whisper has
    few words of take twice that. Running into the budget is itself a sign of a loop, and has the
    window decoded again at 30 s without one, so that it costs who speaks faster only time.
    """
    return min(MAX_TOKENS, 8 + math.ceil((6 if language == "en" else 12) * voice_s))


def spoken_language(
    chances: Sequence[tuple[str, float]], usual: str, voice_s: float, among: Collection[str] = ()
) -> tuple[str, float]:
    """The language of an utterance, and how probable that is.

    It is the most probable one; in doubt the conversation's, for people change the language less
    often than Whisper mistakes a short "no" for another's.

    Args:
        chances: Codes with their probabilities, the most probable first.
        usual: Code of what the conversation has been in; empty: nothing was said yet.
        voice_s: How much voice there is (s).
        among: No others are spoken; empty: any may be.
    """
    kept = [(code, p) for code, p in chances if code in among]
    found, total = (kept, sum(p for _, p in kept) or 1.0) if kept else (chances, 1.0)
    best, probability = found[0][0], found[0][1] / total
    needed = SURE_SHORT if voice_s < SHORT_S else _SURE
    if best != usual and probability < needed and any(code == usual for code, _ in found):
        return usual, next(p for code, p in found if code == usual) / total
    return best, probability


def voiced_s(audio: Audio) -> float:
    """How much of the audio may be voice (s), by its level alone, where no detector has said it.

    All that is less than 30 dB below its loudest part: at least as much as the voice, and less than
    the audio where there is silence around it.
    """
    frames = audio[: len(audio) // _POSITION * _POSITION].reshape(-1, _POSITION)
    if len(frames) == 0:
        return len(audio) / RATE
    power = np.square(frames).mean(axis=1)
    return float((power > power.max() * 1e-3).sum()) * _POSITION / RATE


def said_twice(text: str) -> str:
    """The first half of a text whose second half is the same words again; empty if it is not."""
    words = text.split()
    half = len(words) // 2
    first, second = (" ".join(part) for part in (words[:half], words[half:]))
    same = len(words) == 2 * half and bare(first) == bare(second)
    return first.rstrip(",;") if same and bare(first) else ""


def collapse(text: str, voice_s: float) -> str:
    """A text that is the same few words twice, once, where there was too little voice for both.

    Args:
        text: What the model wrote.
        voice_s: How much voice there was (s).
    """
    once = said_twice(text)
    few = 0 < len(bare(once)) <= _LOOP_WORDS
    return once if few and voice_s * _FASTEST < syllables(text) else text


def bare(text: str) -> list[str]:
    """The words of a text without case and punctuation, for comparing transcripts."""
    words = ("".join(c for c in word if c.isalnum()) for word in text.casefold().split())
    return [word for word in words if word]


def said_of(text: str, words: Sequence[str]) -> int:
    """How many times the expected words are in a text, as they are written."""
    spaced = f" {' '.join(bare(text))} "
    return sum(spaced.count(f" {' '.join(bare(word))} ") for word in words)


def nearly(text: str, words: Sequence[str]) -> bool:
    """Whether there is in a text what reads like one of the expected words, and it is not."""
    heard = bare(text)
    for word in words:
        if said_of(text, [word]):
            continue
        wanted = bare(word)
        sizes = range(max(1, len(wanted) - 1), len(wanted) + 2)
        spans = (heard[i : i + n] for n in sizes for i in range(len(heard) - n + 1))
        for span in spans:
            matcher = SequenceMatcher(None, "".join(wanted), "".join(span), autojunk=False)
            near = matcher.real_quick_ratio() >= NEAR and matcher.quick_ratio() >= NEAR
            if near and matcher.ratio() >= NEAR:
                return True
    return False


def same_words(one: str, other: str) -> bool:
    """Whether two transcripts have the same words, however they write them.

    A word in one piece or in two ("work house"), and a number below a hundred in digits or in
    letters, are the same: what is said to either is the same answer.
    """
    return _run(one) == _run(other)


def _run(text: str) -> str:
    """A text as one run of letters and digits, small numbers as digits."""
    apart = re.sub(r"(?<=\d)\.(?=\d)", " point ", text).replace("-", " ")
    words = " ".join(_NUMBERS.get(word, word) for word in bare(apart))
    return re.sub(r"\b([2-9])0 ([1-9])\b", r"\1\2", words).replace(" ", "")


def syllables(text: str) -> int:
    """About how many syllables a text has: groups of vowels, and one for each other word, digit.

    Of Chinese, Japanese and Korean each character is one.
    """
    plain = unicodedata.normalize("NFKD", text)
    return sum(max(1, len(_SYLLABLE.findall(word))) for word in bare(plain))


_SYLLABLE = re.compile(
    r"[aeiouyæœøαεηιουωаеиоуыэюяєі]+|[\u3041-\u30fa\u3400-\u9fff]|[\u1100-\u1112]|\d"
)


def looks_repetitive(text: str, *, phrases: bool = True) -> bool:
    """Whether a text goes round in circles.

    Args:
        text: What the model wrote.
        phrases: Whether three or more words said twice in a row are one too, as where a model was
            stopped. People say such things now and then.
    """
    data = text.encode()
    if len(data) > MAX_COMPRESSION * len(zlib.compress(data)):
        return True
    if not phrases:
        return False
    words = [word.strip(".,!?…").casefold() for word in text.split()]
    return any(
        words[i : i + n] == words[i + n : i + 2 * n]
        for n in range(_LOOP_WORDS, len(words) // 2 + 1)
        for i in range(len(words) - 2 * n + 1)
    )


def guard(text: str, *, no_speech: float, log_prob: float, endless: bool) -> str:
    """Why `text` is not what somebody said; empty if it may be.

    `scripts/bench hear` counts what gets through, and what of people's is lost.

    Args:
        text: What the model wrote.
        no_speech: Probability of there being no speech; high on its own for quiet voices too.
        log_prob: Mean log-probability per token; low on its own for rare words too.
        endless: Whether the model was stopped rather than came to an end.
    """
    if no_speech > NO_SPEECH and log_prob < LOG_PROB:
        return "no speech"
    if no_speech > _NOBODY and " ".join(bare(text)) in INVENTED:
        return "no speech"
    unlikely = endless or no_speech > NO_SPEECH
    if unlikely and looks_repetitive(text, phrases=endless):
        return "a loop"
    if text and not any(character.isalnum() for character in text):
        return "no words"
    return ""


def quietest(audio: Audio) -> int:
    """Where the last 5 s of audio of at least that length are quietest (samples from its start)."""
    search = int(_SEARCH_S * RATE)
    frames = audio[-search:].reshape(-1, 2 * _FRAME)
    power = np.square(frames).mean(axis=1)
    last = int(np.flatnonzero(power == power.min())[-1])
    return len(audio) - search + last * 2 * _FRAME + _FRAME


def split(audio: Audio) -> list[Audio]:
    """Cut audio into pieces of at most 30 s, each where its last 5 s are quietest."""
    pieces = []
    limit = int(FULL_S * RATE)
    while len(audio) > limit:
        cut = quietest(audio[:limit])
        pieces.append(audio[:cut])
        audio = audio[cut:]
    return [*pieces, audio]


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say whose failure it is."""
    try:
        yield
    except RuntimeError as error:
        raise StageError("stt", f"Whisper failed: {first_line(error)}") from error


class Whisper:
    """A loaded model. Blocking, and not thread-safe: it runs in one worker thread.

    Every utterance stands for itself, for the model serves many sessions. The language is the
    settings', else the model's, else what the caller knows, else detected (on the encoder's output,
    which is computed anyway; it takes a step of the decoder).

    Args:
        path: Folder of a Whisper model in CTranslate2's format.
        settings: Everything else.
        short_windows: Whether the model was trained on windows shorter than 30 s.
        among: Codes of what may be spoken; empty: all that the model knows.
        english: Whether it is also told what the words mean in English.
        compute_type: CTranslate2's arithmetic.
        window_s: Padded length of the encoder's input.

    Raises:
        BadInput: The language is none of the model's.
        StageError: The folder holds no model, or a damaged one.
    """

    def __init__(
        self,
        path: Path,
        settings: SttSettings,
        *,
        short_windows: bool = False,
        among: Collection[str] = (),
        english: bool = False,
        compute_type: str = COMPUTE_TYPE,
        window_s: float = WINDOW_S,
    ) -> None:
        self._among = among
        self._english = english
        self._words = settings.words
        self._window: WindowKind = settings.window
        self._window_s = window_s
        self._short_windows = short_windows
        self._fills = self._window == "padded" or (self._window == "auto" and not short_windows)
        self._nothing: Audio | None = None
        self._model = _load(path, compute_type, settings.threads)
        self._multilingual = bool(self._model.model.is_multilingual)
        self._name = path.name
        self._known = _known_languages(self._model)
        self._language = _given_language(self._multilingual, self._known, self._name, settings)
        # A model that knows one language takes everything for that: it says nothing of the speaker.
        self._tells = self._multilingual or bool(settings.language)
        self._suppressed = _suppressed(self._model, path)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that it takes speech for."""
        return [self._language] if self._language else self._known

    def transcribe(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Transcription:
        """What is said in `audio`.

        Args:
            audio: float32 in ±1, mono, 16 kHz, shape (n,). More than 30 s is decoded in pieces.
            known: What is known of it before.

        Raises:
            BadInput: The language is none of the model's.
            ValueError: `audio` is not float32, not one-dimensional, or not finite.
            StageError: The model failed.
        """
        require_audio(audio)
        if len(audio) > FULL_S * RATE:
            return joined(self.windows(audio, known))
        known = replace(known, language=self._language or known.language)
        check_language(known.language, self._known, self._name)
        if len(audio) == 0 or known.too_short:
            return Transcription("", known.language, 0.0, 1.0, 0.0, "too little voice")
        return self._recognise(audio, known)

    def windows(self, audio: Audio, known: Known = NOTHING_KNOWN) -> Iterator[Transcription]:
        """What is said in each window of longer audio; what one leaves no doubt of, the next knows.

        Args:
            audio: As for `transcribe`, and not empty.
            known: Of it counts what is true of every window: the language, and the prompt.

        Raises:
            BadInput: The language is none of the model's.
            StageError: The model failed.
        """
        known = Known(language=self._language or known.language, prompt=known.prompt)
        check_language(known.language, self._known, self._name)
        for piece in split(audio):
            found = self._recognise(piece, known)
            if found.sure:
                known = replace(known, language=found.language)
            yield found

    def warm(self) -> None:
        """Run everything once, so that the first utterance is as fast as the others.

        Raises:
            StageError: The model failed.
        """
        seconds = 3.0
        silence = np.zeros(int(seconds * RATE), np.float32)
        window_s = self._window_for(seconds)
        encoded = self._encode(self._features(silence), window_s)
        spoken, _ = self._spoken(encoded, self._language, "", seconds)
        encoded = self._filled(encoded) if self._fills and window_s < FULL_S else encoded
        self._decode(encoded, window_s, 2, spoken)

    def _recognise(self, audio: Audio, known: Known) -> Transcription:
        """One window's transcription."""
        voice_s = voiced_s(audio) if known.voiced_ms is None else known.voiced_ms / 1000
        language, usual = known.language, known.usual
        prompt = "" if self._short_windows else known.prompt
        features = self._features(audio)
        window_s = self._window_for(len(audio) / RATE)
        budget = token_budget(voice_s, language) if window_s < FULL_S else MAX_TOKENS
        encoded = self._encode(features, window_s)
        spoken, sure = self._spoken(encoded, language, usual, voice_s)
        encoded = self._filled(encoded) if self._fills and window_s < FULL_S else encoded
        found = self._decode(encoded, window_s, budget, spoken, known.prefix, prompt)
        if not self._short_windows and nearly(found.text, self._words):
            told = f"{', '.join(self._words)} {prompt}".strip()
            other = self._decode(encoded, window_s, budget, spoken, known.prefix, told)
            better = said_of(other.text, self._words) > said_of(found.text, self._words)
            found = other if better and not other.endless else found
        longer = self._longer(found, voice_s)
        if window_s < longer:
            if known.draft:
                return replace(found, text="", dropped="doubtful", sure=False)
            encoded = self._encode(features, longer)
            if not sure:
                spoken, sure = self._spoken(encoded, language, usual, voice_s)
            # Without the prompt, which may be what misled it.
            found = self._decode(encoded, longer, MAX_TOKENS, spoken)
        dropped = guard(
            found.raw,
            no_speech=found.no_speech,
            log_prob=found.log_prob,
            endless=found.endless,
        )
        text = "" if dropped else collapse(found.raw, voice_s)
        found = replace(found, text=text, dropped=dropped, sure=bool(text) and sure)
        if not (self._english and text) or known.draft:
            return found
        if spoken == "en":
            return replace(found, english=text)
        return replace(found, english=self._in_english(features, encoded, found, budget, voice_s))

    def _in_english(
        self,
        features: Audio,
        encoded: StorageView,
        found: Transcription,
        budget: int,
        voice_s: float,
    ) -> str:
        """What was `found` in what is `encoded`, in English; empty if it is a loop all the same.

        A translation goes round in circles, or stops after a word, where the transcript does not,
        and as there Whisper's own window helps.
        """
        budget = budget if found.window_s < FULL_S else MAX_TOKENS
        told = self._decode(encoded, found.window_s, budget, found.language, english=True)
        few = syllables(told.text) < LEAST_TOLD * syllables(found.text)
        if found.window_s < FULL_S and (few or told.endless or looks_repetitive(told.text)):
            full = self._encode(features, FULL_S)
            told = self._decode(full, FULL_S, MAX_TOKENS, found.language, english=True)
        return "" if told.endless or looks_repetitive(told.text, phrases=False) else told.text

    def _window_for(self, seconds: float) -> float:
        return choose_window(
            self._window, seconds, short_windows=self._short_windows, window_s=self._window_s
        )

    def _longer(self, found: Transcription, voice_s: float) -> float:
        """The window (s) that settles whether a short one made the model say something else.

        Against a loop, which does not end, Whisper's own helps. A phrase said twice in a text that
        does end is none: in 931 beginnings of people's recordings a short window wrote one eight
        times, and Whisper's own had it too. An unlikely word or two, and a text that is twice the
        same, are heard as well at `UNSURE_S`: of 384 single words of people, some of them in noise,
        279 were right either way, in 57 s of processor time instead of 90. 0: there is no doubt.
        """
        if found.endless or looks_repetitive(found.text, phrases=False):
            return FULL_S
        twice = said_twice(collapse(found.text, voice_s))
        unsure = 0 < found.tokens <= _FEW_TOKENS and found.log_prob < _UNSURE
        return UNSURE_S if not self._short_windows and (twice or unsure) else 0.0

    def _features(self, audio: Audio) -> Audio:
        """Log-mel columns of the audio, one per whole 10 ms, shape (mels, n)."""
        features: Audio = self._model.feature_extractor(audio)
        return features[:, :-1]  # the last one is of the padding

    @_explained()
    def _encode(self, features: Audio, window_s: float) -> StorageView:
        """What the encoder makes of `features`, padded to `window_s`."""
        frames = round(window_s * RATE / _FRAME)
        padding = max(0, frames - features.shape[1])
        # Zeros in the features, as faster-whisper pads; zeros in the audio would be silence.
        return self._model.encode(np.pad(features[:, :frames], ((0, 0), (0, padding))))

    @_explained()
    def _filled(self, encoded: StorageView) -> StorageView:
        """What was encoded, and behind it what the encoder makes of silence, for the decoder."""
        heard = np.asarray(encoded)
        rest = self._silence()[:, heard.shape[1] :][:, : round(SILENCE_S * RATE / _POSITION)]
        return StorageView.from_array(np.concatenate([heard, rest], axis=1))

    def chances(self, encoded: StorageView) -> list[tuple[str, float]]:
        """Codes of all languages and how probable each is, the most probable first.

        Args:
            encoded: What the encoder makes of an utterance (see `encoded`).
        """
        found = self._model.model.detect_language(encoded)[0]
        return [(token.strip("<|>"), probability) for token, probability in found]

    def encoded(self, audio: Audio) -> StorageView:
        """What the encoder makes of an utterance of at most 30 s, as `transcribe` has it."""
        return self._encode(self._features(audio), self._window_for(len(audio) / RATE))

    @_explained()
    def _spoken(
        self, encoded: StorageView, language: str, usual: str, voice_s: float
    ) -> tuple[str, bool]:
        """The language that is spoken, and whether that is beyond doubt.

        It is heard before silence is put behind what was encoded: the decoder takes that for
        English. Of 63 people's prompts of 0.75 to 3 s in Spanish, French, Italian and Russian 36
        are told right with it, 49 without, and 52 in Whisper's own 30 s.
        """
        if language:
            return language, self._tells
        chances = self.chances(encoded)
        spoken, probability = spoken_language(chances, usual, voice_s, self._among)
        return spoken, probability >= _SURE

    @_explained()
    def _decode(
        self,
        encoded: StorageView,
        window_s: float,
        budget: int,
        language: str,
        prefix: str = "",
        prompt: str = "",
        *,
        english: bool = False,
    ) -> Transcription:
        """Write what was `encoded`, or what it means in English: at most `budget` tokens."""
        tokenizer = self._tokenizer(language, "translate" if english else "transcribe")
        known = tokenizer.encode(f" {prefix.strip()}") if prefix.strip() else []
        budget = min(MAX_TOKENS, budget + len(known))
        known = known[: budget - 1]
        before = tokenizer.encode(f" {prompt.strip()}")[-_MOST_PROMPT:] if prompt.strip() else []
        told = [tokenizer.sot_prev, *before] if before else []
        (result,) = self._model.model.generate(
            encoded,
            [[*told, *tokenizer.sot_sequence, tokenizer.no_timestamps, *known]],
            beam_size=BEAM_SIZE,
            # CTranslate2 stops at half of what it is told, or where with the prompt it is all.
            max_length=max(2 * budget, budget + len(before) + _MARKS),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
        )
        tokens = result.sequences_ids[0]
        n = len(tokens)
        text = tokenizer.decode(tokens).strip()  # what was given to begin with is in them
        return Transcription(
            text=text,
            language=language,
            # The score is a mean over the text; the end of it is a token too.
            log_prob=result.scores[0] * n / (n + 1) if n else 0.0,
            no_speech=float(result.no_speech_prob),
            window_s=window_s,
            raw=text,
            tokens=n,
            endless=n >= budget,
        )

    def _silence(self) -> Audio:
        """What the encoder makes of 30 s without a sound, shape (1, positions, width)."""
        if self._nothing is None:
            features = np.zeros((self._model.model.n_mels, round(FULL_S * RATE / _FRAME)))
            self._nothing = np.array(self._model.encode(features.astype(np.float32)))
        return self._nothing

    def _tokenizer(self, language: str, task: str = "transcribe") -> Tokenizer:
        return Tokenizer(self._model.hf_tokenizer, self._multilingual, task, language)


def joined(made: Iterable[Transcription]) -> Transcription:
    """One transcription of consecutive windows."""
    found = [*made]
    kept = [part for part in found if part.text]
    tokens = sum(part.tokens for part in kept)
    text = " ".join(part.text for part in kept)
    return Transcription(
        text=text,
        language=(kept or found)[-1].language,
        log_prob=sum(part.log_prob * part.tokens for part in kept) / tokens if tokens else 0.0,
        no_speech=min(part.no_speech for part in found),
        window_s=max(part.window_s for part in found),
        dropped="" if text else next((part.dropped for part in found if part.dropped), ""),
        sure=bool(kept) and kept[-1].sure,
        tokens=tokens,
        english=" ".join(part.english for part in kept if part.english),
    )


def _load(path: Path, compute_type: str, threads: int) -> WhisperModel:
    try:
        model = WhisperModel(
            str(path),
            device="cpu",
            compute_type=compute_type,
            cpu_threads=threads,
            num_workers=1,
        )
    except Exception as error:  # the tokenizer's errors are of no narrower class
        raise _damaged(path, first_line(error)) from error
    if model.model.n_mels != model.feature_extractor.mel_filters.shape[0]:
        raise _damaged(path, "preprocessor_config.json does not fit model.bin")
    return model


def _suppressed(model: WhisperModel, path: Path) -> list[int]:
    """Tokens that are no speech: annotations, music notes, the prompt's own marks."""
    tokenizer = Tokenizer(
        model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language="en"
    )
    if tokenizer.no_timestamps is None:
        raise _damaged(path, "tokenizer.json has none of Whisper's special tokens")
    return list(get_suppressed_tokens(tokenizer, [-1]))


def check_language(language: str, known: Collection[str], name: str) -> None:
    """See that a model knows the language that is set.

    Args:
        language: Its code; empty: none is set.
        known: Codes of what the model knows; `*` is every language of Whisper.
        name: Of the model.

    Raises:
        BadInput: It does not.
    """
    if language and language not in known and "*" not in known:
        raise BadInput(
            f"stt.language is {language!r}; {name} knows: {', '.join(known)}\n"
            "Name one of these, or another --stt: `cascade models list` shows their languages"
        )


def _known_languages(model: WhisperModel) -> list[str]:
    """The codes of what the model knows."""
    codes = model.supported_languages
    several = model.model.is_multilingual
    return [c for c in codes if model.hf_tokenizer.token_to_id(f"<|{c}|>")] if several else ["en"]


def _given_language(several: bool, known: list[str], name: str, settings: SttSettings) -> str:
    """The language that is fixed from the start; empty if it has to be detected."""
    check_language(settings.language, known, name)
    return settings.language if several else "en"


def _damaged(path: Path, reason: str) -> StageError:
    return StageError(
        "stt",
        f"{path}: cannot be loaded: {reason}\n"
        "The model is damaged: delete it and get it again with `cascade models pull`",
        fatal=True,
    )
