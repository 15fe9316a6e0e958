"""What happens when somebody makes a sound over a reply: it is heard from outside, sound by sound.

A long reply plays; at random places the microphone hears people who interrupt, and sounds that ask
for nothing. How loud each sample of the reply was played is known, for the recording of the
loudspeaker is compared with what the voice made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import sounds
from counting import Counter
from figures import Aims, measured, median, show
from servers.llm_server import reply
from sounds import Floats, read
from studio import Outside, Play, Studio, Talk
from support.cli_child import RECORDINGS, recording, scripted
from support.pulse import RATE, Heard

from pipeline.audio.audible import ending, onset
from pipeline.audio.resample import resampled
from pipeline.clock import NS_PER_S
from pipeline.config import TtsSettings, load
from pipeline.engines.piper import Piper
from pipeline.engines.worker import Stop
from pipeline.events import Samples
from pipeline.measure.corpus import gather
from pipeline.models.catalogue import Catalogue
from pipeline.text.heard import Sound

COUNT = (
    "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, "
    "fourteen, fifteen, sixteen, seventeen, eighteen, nineteen, twenty, twenty one, twenty two, "
    "twenty three, twenty four, twenty five, twenty six, twenty seven, twenty eight, twenty nine, "
    "thirty, thirty one, thirty two, thirty three, thirty four, thirty five, thirty six, "
    "thirty seven, thirty eight, thirty nine, forty."
)
QUESTION = 34
COMMANDS = ("Stop.", "Wait a moment.", "No.", "Please stop.", "Wait.")
SENTENCES: Sequence[int] = (8, 2, 20, 29, 25)
SIGNS = ("Uh-huh.", "Okay.", "Yeah.")

FRAME, BLOCK = RATE // 200, RATE // 20
"""5 ms, of which the level is taken, and 50 ms, which are placed together."""

DUCKED_DB, FULL_DB = -19.0, -1.0
"""The reply counts as ducked below the one and as restored above the other: 1 dB for rounding."""

AUDIBLE_FRAME = 15.0
"""RMS of a frame of the reply with which its level can be compared: the voice's hiss is enough."""

UNSEEN_NS = 40_000_000
"""With no such frame for longer than this nobody can tell when the level fell."""

WHILE_NS = 100_000_000
"""Full level for so long is no accident."""

LATER_NS = 1_600_000_000
"""What a sound does to a reply is seen this long after it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a sound did to the reply that was playing. Times from the sound's first sample (ms).

    Attributes:
        name: Of the sound.
        ducked: When the reply was 20 dB quieter; None: never.
        silent: When it had fallen silent; None: it went on.
        restored: From the sound's end until the reply was as loud as before; 0: always was.
        taken_for: What was understood, where it ended the reply.
    """

    name: str
    ducked: float | None
    silent: float | None
    restored: float | None
    taken_for: str


def interruption(studio: Studio, aims: Aims, *, quick: bool) -> None:
    """Measure and print.

    Args:
        studio: The devices.
        aims: Takes what was aimed at.
        quick: Do a fifth of it.
    """
    print("sounds over a reply, at the sound server; times from the sound's first audible sample")
    made = _sounds(quick)
    # In words that the embedded models know too: a minute and a half.
    story = " ".join(item.text for item in gather([RECORDINGS]).items)
    Random(1).shuffle(made)
    outside, talk, plays = _over_replies(studio, story, [sound[1:] for sound in made], 45.0)
    effects: dict[str, list[Effect]] = {kind: [] for kind, _, _ in made}
    for (kind, _, _), (turn, play) in zip(made, plays, strict=True):
        if effect := _effect(outside, talk, turn, play):
            effects[kind].append(effect)
    for kind, mine in effects.items():
        _print(kind, mine)
    asked = [e for kind, mine in effects.items() if kind in ASKING for e in mine]
    other = [e for kind, mine in effects.items() if kind not in ASKING for e in mine]
    aims.most("interruption, ducked, median", median(e.ducked for e in asked), 150, "ms")
    aims.most("interruption, silent, median", median(e.silent for e in asked), 500, "ms")
    aims.most("interruptions that did not end the reply", sum(e.silent is None for e in asked), 0)
    ended = len(measured(e.silent for e in other))
    aims.most(f"replies ended by what asks for nothing, of {len(other)}", ended, 0)
    restored = measured(e.restored for e in other)
    slow = sum(ms > 1000 for ms in restored)
    aims.most(f"replies not restored within 1 s, of {len(restored)}", slow, 0)
    _count(studio, aims, 3 if quick else 20)


ASKING = ("sentence", "command")


def _sounds(quick: bool) -> list[tuple[str, str, Samples]]:
    """What is played: kind, name, sound."""
    voice = Piper(Catalogue.load().resolve("tts", load().tts.voice).path, TtsSettings())
    few = slice(0, 1 if quick else None)
    return [
        *(("sentence", f"dev_{n:02}", read(recording(n))) for n in SENTENCES[few]),
        *(("command", text, spoken(voice, text)) for text in COMMANDS[few]),
        *(("mm-hm", f"mm-hm {n}", sounds.hum(n)) for n in range(6)[few]),
        *(("cough", f"cough {n}", sounds.cough(n)) for n in range(5)[few]),
        *(("door", f"door {n}", sounds.door(n)) for n in range(3)[few]),
        *(("sign of listening", text, spoken(voice, text)) for text in SIGNS[few]),
    ]


def spoken(voice: Piper, text: str) -> Samples:
    """A text as a voice says it, 16 kHz, without silence around it."""
    pieces: list[Sound] = list(voice.synthesize(text, Stop()))
    samples = resampled(np.concatenate([p.samples for p in pieces]), voice.rate, 16_000)
    return samples[onset(samples, 16_000) : ending(samples, 16_000)]


def _over_replies(
    studio: Studio, text: str, made: Sequence[tuple[str, Samples]], most_s: float
) -> tuple[Outside, Talk, list[tuple[int, Play]]]:
    """A conversation in which sounds are played over replies.

    Args:
        studio: The devices.
        text: Of each reply.
        made: The sounds: name, sound.
        most_s: No sound is played over a reply that has been heard for longer (s).

    Returns:
        What was heard of it, the conversation, and of each sound the turn and when it was played.
    """
    random, plays = Random(2), list[tuple[int, Play]]()
    with (
        studio.recording() as outside,
        scripted(reply("ready"), otherwise=reply(text)) as llm,
        Talk(studio, "--llm", llm.url) as talk,
    ):
        for name, samples in made:
            turn = speaking(talk, most_s)
            time.sleep(random.uniform(0.5, 7.0))
            plays.append((turn, studio.play(name, samples)))
            time.sleep(LATER_NS / NS_PER_S)
    return outside[0], talk, plays


def speaking(talk: Talk, most_s: float) -> int:
    """The turn of a reply that is heard and goes on for a while; one is asked for if need be."""
    deadline = time.monotonic() + 4.0  # for the reply to what was said last
    while time.monotonic() < deadline:
        turn = talk.speaking()
        if turn is not None:
            begun = talk.turns()[turn]["heard.first"]
            if time.monotonic_ns() - begun < most_s * NS_PER_S:
                return turn
        time.sleep(0.05)
    talk.wait(lambda: talk.speaking() is None, "fell silent", 90)
    talk.studio.play("question", read(recording(QUESTION)))
    talk.wait(lambda: talk.speaking() is not None, "replied")
    turn = talk.speaking()
    assert turn is not None
    return turn


def _effect(outside: Outside, talk: Talk, turn: int, play: Play) -> Effect | None:
    heard, marks = outside.sound_of(play), talk.turns()[turn]
    if heard is None:
        return None
    first, last = heard
    stopped = marks.get("interrupted", last + LATER_NS)
    if stopped < first or marks.get("playout.last", stopped) < min(stopped, last + LATER_NS):
        return None  # the reply was over before
    silent = None
    if stopped < last + LATER_NS:
        silent = (silent_at(outside, first, stopped) - first) / 1e6
    samples, rate = talk.sound_of(turn)
    made = resampled(samples, rate, RATE).astype(float)
    gains = _gains(outside, made, first, last + LATER_NS)
    ducked = _ducked(gains, first, silent)
    restored = None
    if silent is None:
        since = last if ducked is None else max(last, first + int(ducked * 1e6))
        restored = (_restored(gains, since) - last) / 1e6 if ducked is not None else 0.0
    # What was understood is of the next turn, which the sound began.
    said = [e for e in talk.events() if e["type"] == "transcript" and e["turn"] == turn + 1]
    taken_for = next((e["text"] for e in said if e["final"]), "")
    return Effect(play.name, ducked, silent, restored, taken_for)


def _ducked(gains: Sequence[tuple[int, float]], first: int, silent: float | None) -> float | None:
    """When the reply was 20 dB quieter (ms); None: never, or just when it paused by itself."""
    loud = first
    for t, gain in gains:
        if gain > DUCKED_DB:
            loud = max(loud, t)
        elif t > first:
            return (t - first) / 1e6 if t - loud < UNSEEN_NS else None
    return silent


def _restored(gains: Sequence[tuple[int, float]], since: int) -> int:
    """From when on the reply was at its full level for a while (ns)."""
    for t, _ in gains:
        if t >= since and all(g >= FULL_DB for u, g in gains if t <= u < t + WHILE_NS):
            return t
    return since + LATER_NS


def _gains(outside: Outside, made: Floats, first: int, until: int) -> list[tuple[int, float]]:
    """How loud (dB) a reply was played, in steps of 5 ms, where it has any sound (ns)."""
    speaker, begin = outside.speaker, first - NS_PER_S // 2
    played = speaker.between(begin, until).samples.astype(float)
    # On a busy machine the reply may stumble in between, and be later from there on.
    ends = ((t_ns, reply_at(made, speaker, t_ns)) for t_ns in (first, until))
    starts = [at - speaker.index(t) + speaker.index(begin) for t, at in ends if at is not None]
    found = []
    for block in range(0, len(played) - BLOCK, BLOCK):
        here = played[block : block + BLOCK]
        there = [made[at + block : at + block + BLOCK] for at in starts if at + block >= 0]
        whole = [sound for sound in there if len(sound) == BLOCK]
        if whole:
            sound = max(whole, key=lambda sound: _likeness(sound, here))
            here_ns = begin + block * NS_PER_S // RATE
            found += [(here_ns + t, gain) for t, gain in _frames(sound, here)]
    return found


def _likeness(one: Floats, other: Floats) -> float:
    """Their correlation: 1 for the same sound at any level."""
    scale = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / scale if scale else 0.0


def _frames(made: Floats, played: Floats) -> list[tuple[int, float]]:
    """For each frame with sound in it: when (ns from the beginning), and how loud played (dB)."""
    found = []
    for i in range(0, len(made), FRAME):
        level, here = (float(np.sqrt(np.mean(np.square(s[i : i + FRAME])))) for s in (made, played))
        if level >= AUDIBLE_FRAME:
            found.append((i * NS_PER_S // RATE, 20 * math.log10(max(here, 1e-3) / level)))
    return found


def place(made: Floats, piece: Floats) -> int | None:
    """Where in a reply's sound a piece of a recording of it is (sample); None: nowhere."""
    size = 1 << (len(made) + len(piece)).bit_length()
    product = np.fft.rfft(made, size) * np.conj(np.fft.rfft(piece, size))
    likeness = np.fft.irfft(product, size)[: max(1, len(made) - len(piece))]
    at = int(np.argmax(likeness))
    there = made[at : at + len(piece)]
    scale = float(np.linalg.norm(there) * np.linalg.norm(piece))
    return at if scale and likeness[at] / scale > 0.8 else None


def reply_at(made: Floats, speaker: Heard, t_ns: int) -> int | None:
    """Which sample of a reply the loudspeaker played at that time; None: it cannot be found."""
    end, half = speaker.index(t_ns), RATE // 2
    # Where a busy machine made it stumble it is not to be found: a little earlier it is.
    for back in range(0, 3 * half, half // 2):
        piece = speaker.samples[max(0, end - back - half) : end - back].astype(float)
        at = place(made, piece)
        if at is not None:
            return at + len(piece) + back
    return None


def silent_at(outside: Outside, first: int, stopped: int) -> int:
    """When the loudspeaker played its last sound of a reply that was stopped (ns)."""
    window = outside.speaker.between(first, stopped + NS_PER_S // 5)
    loud = np.flatnonzero(np.abs(window.samples.astype(int)) > 2)
    return window.at(int(loud[-1]) if len(loud) else 0)


def _print(kind: str, effects: Sequence[Effect]) -> None:
    print(f" {kind}, n = {len(effects)}")
    show("ducked by 20 dB", [e.ducked for e in effects], "ms", every=True)
    if kind in ASKING:
        show("silent", [e.silent for e in effects], "ms", every=True)
        wrong = [e.name for e in effects if e.silent is None]
        print(f"  did not end the reply: {', '.join(wrong) or 'none'}")
        return
    show("full level again, after the sound's end", [e.restored for e in effects], "ms", every=True)
    wrong = [
        f"{e.name} (after {e.silent:.0f} ms, as {e.taken_for!r})"
        for e in effects
        if e.silent is not None
    ]
    print(f"  ended the reply: {', '.join(wrong) or 'none'}")


def _count(studio: Studio, aims: Aims, times: int) -> None:
    """Interrupt a reply that counts, and compare the last word kept with the last one heard."""
    print("last word kept in the history against the last word heard, of a reply that counts")
    voice_path = Catalogue.load().resolve("tts", load().tts.voice).path
    voice = Piper(voice_path, TtsSettings())
    made = [(text, spoken(voice, text)) for text in COMMANDS[:2]]
    made += [(f"dev_{n:02}", read(recording(n))) for n in SENTENCES[:2]]
    some = [made[number % len(made)] for number in range(times)]
    outside, talk, plays = _over_replies(studio, COUNT, some, 5.0)
    turns = talk.turns()
    kept = {m["turn"]: m["content"] for m in talk.said() if m["role"] == "assistant"}
    counter = Counter(voice_path, COUNT)
    differences = []
    deaf = 0
    for turn, play in plays:
        sound, stopped = outside.sound_of(play), turns[turn].get("interrupted")
        if sound is None or stopped is None:
            print(f"    {play.name}: did not interrupt")
            deaf += 1
            continue
        samples, rate = talk.sound_of(turn)
        first = reply_at(resampled(samples, rate, RATE).astype(float), outside.speaker, sound[0])
        if first is None:
            print(f"    {play.name}: not measured, the reply is not found in what was played")
            continue
        after_ns = silent_at(outside, sound[0], stopped) - sound[0]
        position = first * rate // RATE + after_ns * rate // NS_PER_S
        told = kept.get(turn, "").replace(",", "").replace(".", "").split()
        truth = counter.words[: counter.heard(samples, rate, position)]
        differences.append(len(told) - len(truth))
        shown = [" ".join(words[-2:]) or "nothing" for words in (told, truth)]
        print(f"    kept … {shown[0]:<18} heard … {shown[1]:<18} difference {differences[-1]:+d}")
    show("words kept beyond those heard", differences, "words", every=True)
    off = sum(abs(d) > 1 for d in differences) + deaf
    measured = len(differences) + deaf
    aims.most(f"more than one word's difference, of {measured} interruptions", off, 0)
