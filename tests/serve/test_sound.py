"""Sound of every format, both ways: every sample, in its place."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.encoding import Encoding
from pipeline.events import Samples
from pipeline.serve.link import Author
from pipeline.serve.protocol import ServerSide
from pipeline.serve.session_object import JsonObject
from pipeline.serve.sound import MOST_DELTA, RATE, SoundIn, SoundOut, decoded, encoded

ENCODINGS = [
    *(Encoding("pcm", rate) for rate in (24_000, 16_000, 48_000)),
    Encoding("pcmu", 8000),
    Encoding("pcma", 8000),
]
FORMATS = {
    encoding: {"type": f"audio/{encoding.kind}"}
    | ({"rate": encoding.rate} if encoding.kind == "pcm" else {})
    for encoding in ENCODINGS
}


def tone(rate: int, seconds: float = 0.5) -> Samples:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(
        np.int16
    )


def loss_db(sound: Samples, rate: int = RATE) -> float:
    """How far what is no tone lies below the tone, away from its ends."""
    wanted, inner = tone(rate, len(sound) / rate).astype(float), slice(rate // 50, -rate // 50)
    error = sound[inner] - wanted[inner]
    return float(10 * np.log10(np.mean(wanted[inner] ** 2) / max(np.mean(error**2), 1e-9)))


CUTS = st.lists(st.integers(0, 700), max_size=12)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@given(cuts=CUTS)
def test_a_stream_may_be_cut_anywhere(encoding: Encoding, cuts: Sequence[int]) -> None:
    data = encoding.encode(tone(encoding.rate, 0.1))
    stream, found = SoundIn(encoding, RATE, 16_000), {RATE: [], 16_000: []}
    places = [0, *sorted(min(cut * 7, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(places):
        for rate, samples in stream.push(data[start:end]).items():
            found[rate].append(samples)
    for rate, samples in stream.flush().items():
        found[rate].append(samples)
        whole = SoundIn(encoding, rate)
        at_once = np.concatenate([whole.push(data)[rate], whole.flush()[rate]])
        np.testing.assert_array_equal(np.concatenate(found[rate]), at_once)
        assert len(at_once) == round(0.1 * rate)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@given(cuts=CUTS)
def test_a_reply_may_be_made_in_any_pieces(encoding: Encoding, cuts: Sequence[int]) -> None:
    samples = tone(RATE, 0.1)
    out, sent = SoundOut(encoding), []
    places = [0, *sorted(min(cut * 4, len(samples)) for cut in cuts), len(samples)]
    for start, end in itertools.pairwise(places):
        sent += out.push(samples[start:end])
    sent += out.flush()
    assert "".join(map(_hex, sent)) == _hex(encoded(samples, encoding))


def _hex(audio: str) -> str:
    return base64.b64decode(audio).hex()


def test_much_sound_is_sent_in_pieces() -> None:
    sent = list(SoundOut(Encoding()).push(tone(RATE, 30)))
    sizes = [len(base64.b64decode(piece)) for piece in sent]
    assert max(sizes) <= MOST_DELTA and sum(sizes) == 30 * 2 * RATE


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_a_session_of_every_format(encoding: Encoding) -> None:
    events: list[JsonObject] = []
    side = ServerSide(Author("t", events.append), "m", 0, ears=16_000)
    side.begin()
    both = {"format": FORMATS[encoding]}

    def say(kind: str, **fields: Any) -> Any:
        return side.receive(json.dumps({"type": kind, **fields}))

    say("session.update", session={"type": "realtime", "audio": {"input": both, "output": both}})
    updated = events[-1]["session"]["audio"]
    assert updated["input"]["format"] == updated["output"]["format"] == FORMATS[encoding]

    data, ears = encoding.encode(tone(encoding.rate)), []
    for start in range(0, len(data), 333):
        audio = base64.b64encode(data[start : start + 333]).decode()
        ears += [piece for piece, _ in say("input_audio_buffer.append", audio=audio)["audio"]]
    ears.append(say("input_audio_buffer.commit")["audio"])
    heard = np.concatenate(ears)
    assert len(heard) == 8000 and loss_db(heard, 16_000) > 30
    item = side.commit()
    (kept,) = [sound.samples for sound in item.sounds.values()]
    assert kept is not None and len(kept) == RATE // 2 and loss_db(kept) > 30
    say("conversation.item.retrieve", item_id=item.id)
    told = base64.b64decode(events[-1]["item"]["content"][0]["audio"])
    assert loss_db(decoded(told, encoding)) > 30 and len(told) == len(data)

    response = side.respond({})
    response.begin()
    response.open()
    response.text("A tone.")
    for start in range(0, RATE // 2, 1000):
        response.audio(tone(RATE)[start : start + 1000])
    response.close()
    side.end(response, "completed")
    deltas = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
    spoken = b"".join(map(base64.b64decode, deltas))
    assert len(spoken) == len(data) and loss_db(decoded(spoken, encoding)) > 30
    say("conversation.item.retrieve", item_id=response.output[0].id)
    assert base64.b64decode(events[-1]["item"]["content"][0]["audio"]) == spoken
