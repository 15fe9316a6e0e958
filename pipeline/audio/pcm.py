"""Samples out of bytes that come in pieces cut anywhere: bare ones, or a WAV file's. Pure."""

from __future__ import annotations

import re
import struct

import numpy as np

from pipeline.events import Samples

MOST_HEADER = 64 * 1024
"""Bytes before the sound of a WAV file; what has more is none."""

_MAGIC = {b"ID3": "MP3", b"OggS": "Ogg", b"fLaC": "FLAC", b"\x1aE\xdf\xa3": "WebM"}
_FRAMES = {b"\xff\xfb": "MP3", b"\xff\xf3": "MP3", b"\xff\xf1": "AAC"}
_WORDS = ("text/", "application/json")
_INTEGERS = (1, 0xFFFE)


class NoSamples(ValueError):
    """The bytes are no 16-bit samples; says what they are."""


class PcmReader:
    """Reads one sound.

    Args:
        rate: Of bare samples (Hz), unless the type says another.
        content_type: Of the bytes, such as `audio/pcm;rate=24000`.

    Attributes:
        rate: Samples per second (Hz); a WAV's own once its header has come.
    """

    def __init__(self, rate: int, content_type: str = "") -> None:
        self._kind = content_type.partition(";")[0].strip().lower()
        stated = re.search(r"\brate=\"?(\d+)", content_type)
        self.rate = int(stated[1]) if stated else rate
        # Two bytes may be a sample as well as the beginning of a frame.
        self._compressed = self._kind in ("audio/mpeg", "audio/mp3", "audio/aac")
        self._channels = 1
        self._begun = False
        self._rest = b""

    def push(self, data: bytes) -> Samples:
        """Take the next bytes; gives the samples that are complete: int16 (n,).

        Of several channels the first is given.

        Raises:
            NoSamples: They are of another kind.
        """
        self._rest += data
        if not self._begun and not self._begin():
            return np.zeros(0, np.int16)
        whole = len(self._rest) - len(self._rest) % (2 * self._channels)
        taken, self._rest = self._rest[:whole], self._rest[whole:]
        return np.frombuffer(taken, "<i2").reshape(-1, self._channels)[:, 0].astype(np.int16)

    def _begin(self) -> bool:
        """Whether it is known what the bytes are; then the header is taken off."""
        if len(self._rest) < 4:
            return False
        if self._kind.startswith(_WORDS):
            raise NoSamples(self._kind)
        known = _MAGIC | _FRAMES if self._compressed else _MAGIC
        for magic, kind in known.items():
            if self._rest.startswith(magic):
                raise NoSamples(kind)
        self._begun = self._header() if self._rest.startswith(b"RIFF") else True
        return self._begun

    def _header(self) -> bool:
        """Whether the header of a WAV is here whole; then it is read and taken off."""
        place = 12
        while place + 8 <= len(self._rest):
            name, size = struct.unpack_from("<4sI", self._rest, place)
            place += 8
            if name == b"data":
                self._rest = self._rest[place:]
                return True
            if name == b"fmt " and place + 16 <= len(self._rest):
                kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", self._rest, place)
                if kind not in _INTEGERS or bits != 16 or not channels or not rate:
                    raise NoSamples(f"a WAV of {bits}-bit samples of kind {kind}")
                self.rate, self._channels = rate, channels
            place += size + size % 2
        if place > MOST_HEADER:
            raise NoSamples("a WAV without sound")
        return False
