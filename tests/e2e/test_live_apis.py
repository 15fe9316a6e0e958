"""Speech-to-speech APIs that do what is new or rude, through `cascade compare --live`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from pathlib import Path
from typing import Any

import numpy as np
from servers.api_server import ApiServer, Call, idle
from support.cli_child import Outcome, recording, run
from support.dialects import DIALECTS, RATE, Dialect, Gemini, Live, Message, Realtime, pcm
from support.sound import in_a_row

KEYS = {"OPENAI_API_KEY": "sk-nobody", "GEMINI_API_KEY": "AIzaNobody"}

NEWS: dict[type[Dialect], list[Message]] = {
    Realtime: [
        {"type": "response.mood.delta", "response_id": "r9", "delta": "cheerful"},
        {"type": "rate_limits.updated", "rate_limits": None},
        {"type": "session.updated", "session": None},
        {"type": "conversation.item.added", "item": {"type": "mood", "content": None}},
    ],
    Live: [
        {"type": "session.mood.changed", "mood": "cheerful"},
        {"type": "session.delegation.created", "delegation": None},
        {"type": "response.event", "event": {"type": "response.mood"}},
        {"type": "session.usage.updated", "usage": None},
    ],
    Gemini: [
        {"mood": {"kind": "cheerful"}},
        {"mood": None, "serverContent": {"mood": 2, "modelTurn": None}},
        {"setupComplete": {"mood": 3}},
        {"usageMetadata": {"moodTokenCount": 4, "promptTokensDetails": [{"modality": "MOOD"}]}},
        {"voiceActivity": {"type": "ACTIVITY_MAYBE"}},
        {"serverContent": {"modelTurn": {"parts": [None, {"mood": 5}]}}},
        {"serverContent": {"interactionStatus": "MOODY"}},
        {"sessionResumptionUpdate": {"resumable": False, "newHandle": None}},
    ],
}
"""What a later version of each protocol may send, or an odd server."""


async def live(folder: Path, servers: list[ApiServer], *inputs: Path) -> Outcome:
    """Talk to servers, named by their numbers; the recordings wait for each other's replies."""
    words, env = [f"--input={path}" for path in inputs], dict(KEYS)
    for number, server in enumerate(servers):
        spec = server.spec(voice="cedar")
        which = spec.url if spec.kind == "realtime" else f"{spec.kind}:m"
        pairs = [f"{name}={value}" for name, value in spec.options.items()]
        words.append(f"--path={number}={','.join([which, *pairs])}")
        env |= server.environment
        if spec.kind == "gemini":
            env["CASCADE_GEMINI_URL"] = spec.url
    words += [f"--output={folder / 'out.wav'}", "--json"]
    return await asyncio.to_thread(run, "compare", "--live", *words, env=env)


def of_path(outcome: Outcome, path: int, kind: str) -> list[dict[str, Any]]:
    """The events of a system, of a type."""
    return [event for event in outcome.of(kind) if event["path"] == str(path)]


async def spoken(call: Call, after_s: float = 0.0) -> float:
    """Wait until the user has said something after that time, and is silent; gives when that is."""
    rate = call.say.heard_rate

    def over() -> bool:
        loud = np.abs(call.audio[round(after_s * rate) :].astype(int)) > 300
        return bool(loud.any()) and len(loud) - np.flatnonzero(loud)[-1] > 0.9 * rate

    await call.until(over)
    return len(call.audio) / rate


async def answers(call: Call, said: str, *reply: str) -> None:
    """The server has understood, and answers."""
    await call.tell(call.say.began(), call.say.understood(said), call.say.ended())
    for words in reply:
        await call.tell(call.say.says(words, 0.3), NEWS[type(call.say)])
    await call.tell(call.say.completed())


def texts(outcome: Outcome, path: int) -> list[str]:
    """What each reply of a system said."""
    said: dict[str, str] = {}
    for event in of_path(outcome, path, "reply_text"):
        said[event["id"]] = said.get(event["id"], "") + event["delta"]
    return list(said.values())


TURNS = (
    ("What time is it?", ("It is", " five."), 1000),
    ("And there?", ("Six.",), 1001),
    ("And in Rome?", ("Seven.",), None),
    ("And in Oslo?", ("Eight.",), 1000),
)
"""What is said, what is answered, and the code that the connection is closed with, if it is."""


async def test_what_is_new_and_a_connection_that_ends_are_no_end(tmp_path: Path) -> None:
    async def one_turn(call: Call, number: int) -> None:
        asked, answered, code = TURNS[number]
        await call.tell(NEWS[type(call.say)])
        await spoken(call)
        await answers(call, asked, *answered)
        await asyncio.sleep(0.2)
        if code is None:
            call.drop()
        else:
            await call.close(code)

    scripts = [functools.partial(one_turn, number=number) for number in range(len(TURNS))]
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ApiServer(dialect, *scripts)) for dialect in DIALECTS
        ]
        outcome = await live(tmp_path, servers, *[recording(1)] * len(TURNS))
    assert outcome.code == 0, outcome.err
    known = [[asked, "".join(answered)] for asked, answered, _ in TURNS]
    for path, server in enumerate(servers):
        assert texts(outcome, path) == [answered for _, answered in known]
        finals = [e["text"] for e in of_path(outcome, path, "transcript") if e["final"]]
        assert finals == [asked for asked, _ in known]
        done = of_path(outcome, path, "reply_done")
        assert [event["status"] for event in done] == ["completed"] * len(TURNS)
        # The settings are those of the first connection, and what was said is known.
        before, *others = server.calls
        assert "cedar" in str(before.opening)
        for number, after in enumerate(others, start=1):
            if isinstance(before.say, Realtime):
                items = [each["item"] for each in after.of("conversation.item.create")]
            elif isinstance(before.say, Live):
                items = after.opening["session"].pop("input")
            else:
                assert after.opening["setup"]["sessionResumption"].pop("handle") == "a-handle"
            assert after.opening == before.opening
            if not isinstance(before.say, Gemini):
                said = [words for turn in known[:number] for words in turn]
                assert [each["content"][0]["text"] for each in items] == said


STORY = "One day a man went to sea and was never seen again by anybody who knew him."
SOUNDS = {
    "none": [],
    "silence": [pcm(10.0, level=0)],
    "silence first": [pcm(1.0, level=0), pcm(5.0)],
    "behind the words": [pcm(0.7)],
    "all": [pcm(6.0)],
}
"""What of the story has come when the user speaks over it, some two seconds later."""


async def test_what_was_never_heard_is_neither_told_nor_remembered(tmp_path: Path) -> None:
    async def speaks_over(call: Call, sounds: list[str]) -> None:
        at = {"response_id": "r1", "item_id": "a1", "content_index": 0}
        item = {"id": "a1", "type": "message", "role": "assistant"}
        over = await spoken(call)
        await call.tell(call.say.began(), call.say.understood("A story?"), call.say.ended())
        await call.tell(call.say.begin())
        await call.event("response.output_item.added", response_id="r1", item=item)
        await call.event("response.output_audio_transcript.delta", **at, delta=STORY)
        for sound in sounds:
            await call.event("response.output_audio.delta", **at, delta=sound)
        await call.until(lambda: begins(call, over))
        # More of it is on its way already, and another message.
        await call.tell(call.say.began())
        await call.event("response.output_audio.delta", **at, delta=pcm(0.2))
        await call.event("response.output_audio_transcript.delta", **at, delta=" The end.")
        await call.event("response.output_item.added", response_id="r1", item={**item, "id": "b1"})
        await call.tell(call.say.cut(), call.say.understood("And there?"))
        await spoken(call, over)
        for cut in call.of("conversation.item.truncate"):
            # A server that keeps all of the words.
            about = {**item, "content": [{"type": "output_audio", "transcript": STORY}]}
            await call.event("conversation.item.truncated", **cut)
            await call.event("conversation.item.retrieved", item=about)
        await call.tell(call.say.ended(), call.say.says("Six.", 1.0), call.say.completed())
        await call.close(1000)

    def begins(call: Call, after_s: float) -> bool:
        return bool((np.abs(call.audio[round(after_s * RATE) :].astype(int)) > 300).any())

    spoken_over = in_a_row(tmp_path / "in.wav", recording(1), recording(1), pause_s=3.2)
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(
                ApiServer(Realtime, functools.partial(speaks_over, sounds=sounds), idle)
            )
            for sounds in SOUNDS.values()
        ]
        outcome = await live(tmp_path, servers, spoken_over)
    assert outcome.code == 0, outcome.err
    for path, (case, server) in enumerate(zip(SOUNDS, servers, strict=True)):
        first, second = server.calls
        cuts = first.of("conversation.item.truncate")
        deleted = sorted(each["item_id"] for each in first.of("conversation.item.delete"))
        (heard,) = [event["heard_text"] for event in of_path(outcome, path, "reply_interrupted")]
        items = [each["item"] for each in second.of("conversation.item.create")]
        told = [each["content"][0]["text"] for each in items]
        assert STORY.startswith(heard) and heard != STORY
        match case:
            case "none":
                assert (heard, cuts, deleted) == ("", [], ["a1", "b1"])
            case "silence":
                assert (heard, [cut["audio_end_ms"] for cut in cuts]) == ("", [0])
            case "behind the words":
                assert (heard, [cut["audio_end_ms"] for cut in cuts]) == ("One day a", [700])
            case _:
                assert heard
                assert 1000 < cuts[0]["audio_end_ms"] < 3500
        assert deleted[-1] == "b1"
        kept = told[1:-2]
        assert told == ["A story?", *kept, "And there?", "Six."]
        assert kept == ([heard] if heard else []) or (
            STORY.startswith(kept[0]) and kept[0] != STORY
        )
