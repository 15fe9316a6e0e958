"""Line up eSpeak's IPA tokens (what the student reads) with the teacher's phones.

Festival reports when each of its phones ends.  Its dictionary is not eSpeak's, so the two
phone strings are matched by dynamic programming: similar sounds cost nothing, other pairs,
insertions and deletions cost something and are marked as untrusted (the trainer gives their
frames no weight).
"""

from collections.abc import Sequence
from typing import NamedTuple

from en_us_mini.teacher import Phone

VOWELS = {
    "æ": "ae eh aa",
    "ɑ": "aa ao ah",
    "ɐ": "ax ah ae ey",
    "ə": "ax ah ih er eh ae uh ao aa ow",
    "ɚ": "er r ax",
    "ɜ": "er ah",
    "ɛ": "eh ae ih ey ax",
    "ɪ": "ih ax iy eh er",
    "i": "iy ih ey y",
    "ᵻ": "ih ax iy eh",
    "ɔ": "ao aa ow ah",
    "o": "ao ow",
    "u": "uw uh",
    "ʊ": "uh uw ax",
    "ʌ": "ah ax aa uh",
    "a": "ae aa",
    "e": "ey eh",
    "aɪ": "ay ih",
    "aʊ": "aw",
    "eɪ": "ey ae eh ax",
    "oʊ": "ow ao ax",
    "ɔɪ": "oy",
}
CONSONANTS = {
    "b": "b",
    "d": "d t",
    "f": "f",
    "h": "hh",
    "j": "y",
    "k": "k",
    "l": "l",
    "m": "m",
    "n": "n ng",
    "p": "p",
    "s": "s z",
    "t": "t d",
    "v": "v f",
    "w": "w hh",
    "z": "z s",
    "ð": "dh th",
    "ŋ": "ng n",
    "ɡ": "g",
    "ɹ": "r er",
    "ɾ": "t d",
    "ʃ": "sh ch",
    "ʒ": "zh jh sh",
    "ʔ": "t",
    "θ": "th dh",
    "tʃ": "ch",
    "dʒ": "jh",
}
# IPA sound -> the teacher's phones it may be, the usual one first
SOUNDS = {sound: phones.split() for sound, phones in (VOWELS | CONSONANTS).items()}
PAIRS = {sound for sound in SOUNDS if len(sound) == 2}
PHONE_VOWELS = {phone for phones in VOWELS.values() for phone in phones.split()} - {"r", "y"}
MARKS = set("ˈˌːʲ̩̃")
PUNCTUATION = set(",.;:?!")
IMPOSSIBLE = 9.0
DOUBTFUL = 0.5  # a pair that costs this much is untrusted


class Unit(NamedTuple):
    """What is matched with one phone.

    Attributes:
        kind: "phone", "space" or "punctuation".
        key: its IPA text.
        tokens: indices of the tokens that share its time.
    """

    kind: str
    key: str
    tokens: tuple[int, ...]


def units(tokens: Sequence[str]) -> list[Unit]:
    """The units of a token string; marks join no unit (they last 0)."""
    out, i = [], 0
    while i < len(tokens):
        token = tokens[i]
        if token == " ":
            out.append(Unit("space", token, (i,)))
        elif token in PUNCTUATION:
            out.append(Unit("punctuation", token, (i,)))
        elif i + 1 < len(tokens) and token + tokens[i + 1] in PAIRS:
            out.append(Unit("phone", token + tokens[i + 1], (i, i + 1)))
            i += 1
        elif token not in MARKS and token not in "'\"()-":
            out.append(Unit("phone", token, (i,)))
        i += 1
    return out


def _pair_cost(unit: Unit, phone: str) -> float:
    if unit.kind == "space":
        return 0.3 if phone == "pau" else IMPOSSIBLE
    if unit.kind == "punctuation":
        return 0.0 if phone == "pau" else IMPOSSIBLE
    if phone == "pau":
        return IMPOSSIBLE
    same = SOUNDS.get(unit.key)
    if same is None:
        return 0.8
    if phone in same:
        return 0.0 if phone == same[0] else 0.1
    vowels = (unit.key in VOWELS) + (phone in PHONE_VOWELS)
    return {2: 0.7, 1: 2.0, 0: 1.1}[vowels]


def _unit_cost(unit: Unit) -> float:
    """The cost of a unit without a phone."""
    if unit.kind == "phone":
        return 0.4 if unit.key in ("ɹ", "ə", "j", "ɪ") else 0.9
    return 0.0 if unit.kind == "space" else 0.2


def _phone_cost(phone: str) -> float:
    """The cost of a phone without a unit."""
    if phone == "pau":
        return 3.0
    return 0.4 if phone in ("ax", "y", "r", "ih") else 0.9


def _match(us: Sequence[Unit], names: Sequence[str]) -> tuple[list[tuple[int, int]], float]:
    """The cheapest path through units x phones, as its moves' steps (0 or 1 each); its cost."""
    n, m = len(us), len(names)
    cost = [[float("inf")] * (m + 1) for _ in range(n + 1)]
    move = [[(0, 0)] * (m + 1) for _ in range(n + 1)]
    cost[0][0] = 0.0
    for i in range(n + 1):
        for j in range(m + 1):
            here = cost[i][j]
            ways = []
            if i < n and j < m:
                ways.append((1, 1, here + _pair_cost(us[i], names[j])))
            if i < n:
                ways.append((1, 0, here + _unit_cost(us[i])))
            if j < m:
                ways.append((0, 1, here + _phone_cost(names[j])))
            for di, dj, total in ways:
                if total < cost[i + di][j + dj]:
                    cost[i + di][j + dj] = total
                    move[i + di][j + dj] = (di, dj)
    path, i, j = [], n, m
    while i or j:
        di, dj = move[i][j]
        path.append((di, dj))
        i, j = i - di, j - dj
    return path[::-1], cost[n][m]


def _owners(us: Sequence[Unit], names: Sequence[str]) -> tuple[list[int], set[int], float]:
    """For every phone its unit; the units that are not to be trusted; the cost."""
    path, cost = _match(us, names)
    owner: list[int | None] = [None] * len(names)
    untrusted, alone = set(), []
    i = j = 0
    for di, dj in path:
        if di and dj:
            owner[j] = i
            if _pair_cost(us[i], names[j]) >= DOUBTFUL:
                untrusted.add(i)
        elif dj:
            alone.append((j, i))
        i, j = i + di, j + dj
    for j, i in alone:  # a phone without a unit: lend it to a neighbour
        k = i - 1 if i > 0 and us[i - 1].kind == "phone" else min(i, len(us) - 1)
        before = [o for o in owner[:j] if o is not None]
        after = [o for o in owner[j + 1 :] if o is not None]
        if before:
            k = max(k, before[-1])
        if after:
            k = min(k, after[0])
        owner[j] = k
        if us[k].key != "n":  # syllabic n is "ax n": that one is no mistake
            untrusted.add(k)
    return [o for o in owner if o is not None], untrusted, cost


def align(
    tokens: Sequence[str], phones: Sequence[Phone]
) -> tuple[list[tuple[float, float]], list[bool], float]:
    """Give every token its share of the teacher's time.

    Args:
        tokens: IPA codepoints.
        phones: the teacher's phones without the outer silences.

    Returns:
        Per token its (start, end) in seconds; per token whether to trust that; what the match
        costs, 0 for a perfect one.
    """
    us = units(tokens)
    owner, untrusted, cost = _owners(us, [phone.name for phone in phones])
    now = phones[0].start
    spans: dict[int, tuple[float, float]] = {}
    trusted = [True] * len(tokens)
    for k, unit in enumerate(us):
        own = [phone for phone, o in zip(phones, owner, strict=True) if o == k]
        start, end = (own[0].start, own[-1].end) if own else (now, now)
        if len(unit.tokens) == 1:
            shares = [1.0]
        else:
            shares = [0.45, 0.55] if unit.key in CONSONANTS else [0.55, 0.45]
        at = start
        for token, share in zip(unit.tokens, shares, strict=True):
            spans[token] = (at, at + (end - start) * share)
            at = spans[token][1]
            trusted[token] = k not in untrusted
        now = end
    now = phones[0].start
    times = []
    for token in range(len(tokens)):  # marks last no time
        times.append(spans.get(token, (now, now)))
        now = times[-1][1]
    return times, trusted, cost
