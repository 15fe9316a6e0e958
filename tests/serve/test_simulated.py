from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from support.realtime_client import (
    RATE,
    Client,
    connected,
    scripted,
    serving,
    silence,
    talking,
    voice,
)
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pipeline.audio.audible import onset
from pipeline.clock import NS_PER_MS
from pipeline.config import Settings
from pipeline.errors import BadInput
from pipeline.serve.script import Fault, ScriptedCall, ScriptedNetwork, ScriptedTurn
from pipeline.serve.simulated import Delay, SimulatedServer, simulate
from pipeline.serve.sound import MOST_APPENDED
from pipeline.serve.speech import hum, speak

SHORT = "Good morning to you."
LONG = "This reply is so long that somebody will interrupt it. " * 3

HELLO = ScriptedTurn("hello there", SHORT, ends_s=0.3)
SPEECH = (silence(0.2), voice(0.3), silence(0.5))


@pytest.fixture(autouse=True)
def _nothing_breaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What fails inside the server ends a connection and is logged, no more."""
    yield
    failures = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= 40]
    # So `websockets` says of a client that is refused, and does not close within a second.
    assert [told for told in failures if told != "opening handshake failed"] == []


def _said(response: dict[str, Any]) -> str:
    return str(response["output"][0]["content"][0]["transcript"])


async def _error(client: Client, count: int = 1) -> tuple[str, str | None]:
    """The code of an error, and the client's own id of the event that it is about."""
    error = (await client.event("error", count))["error"]
    return error["code"], error["event_id"]


async def _write(client: Client, text: str, role: str = "user") -> None:
    """Add a message in writing to the conversation."""
    content = [{"type": "output_text" if role == "assistant" else "input_text", "text": text}]
    item = {"type": "message", "role": role, "content": content}
    await client.sdk.conversation.item.create(item=item)


async def _one_turn(client: Client, count: int = 1) -> dict[str, Any]:
    await client.hear(*SPEECH)
    return (await client.event("response.done", count))["response"]


async def test_a_turn_with_server_vad() -> None:
    async with talking(scripted(HELLO)) as client:
        session = await client.setup(instructions="Be brief.")
        assert session["instructions"] == "Be brief."
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        done = await _one_turn(client)
        assert done["status"] == "completed"
        assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": SHORT}]
        assert client.grammar.finish() == []
        heard = client.heard()
        np.testing.assert_array_equal(heard, hum(SHORT))
        assert onset(heard, RATE) == 0
        (started,) = client.of("input_audio_buffer.speech_started")
        (stopped,) = client.of("input_audio_buffer.speech_stopped")
        (committed,) = client.of("input_audio_buffer.committed")
        assert started["item_id"] == stopped["item_id"] == committed["item_id"]
        assert stopped["audio_end_ms"] >= 500
        transcript = client.of("conversation.item.input_audio_transcription.completed")[0]
        assert transcript["transcript"] == "hello there"
        assert transcript["item_id"] == started["item_id"]


async def test_it_says_that_it_is_simulated() -> None:
    script = scripted(HELLO, source="someone's figures")
    async with talking(script) as client:
        for session in (client.events[0]["session"], await client.setup(tracing="auto")):
            assert session["model"] == "simulated:test"
            assert session["tracing"]["workflow_name"] == "SIMULATED"
            assert session["tracing"]["metadata"]["source"] == "someone's figures"
            assert session["tracing"]["metadata"]["latency"] == "constant 20 ms"


async def test_turns_follow_each_other_and_begin_again() -> None:
    script = scripted(HELLO, ScriptedTurn("second", "Two.", ends_s=0.3))
    async with talking(script) as client:
        await client.setup()
        for count in (1, 2, 3):
            await _one_turn(client, count)
        said = [e["transcript"] for e in client.of("response.output_audio_transcript.done")]
        assert said == [SHORT, "Two.", SHORT]


async def test_silence_ends_a_turn_of_unknown_length() -> None:
    turn = ScriptedTurn("with a pause", SHORT)
    async with talking(scripted(turn, silence_ms=400)) as client:
        session = await client.setup()
        assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 400
        await client.hear(voice(0.3), silence(0.3), voice(0.2), silence(0.38))
        await asyncio.sleep(0.1)
        assert client.of("input_audio_buffer.speech_stopped") == []
        await client.hear(silence(0.1))
        await client.event("response.done")
        assert len(client.of("input_audio_buffer.speech_started")) == 1


async def test_semantic_vad_and_no_response_unless_asked() -> None:
    async with talking(scripted(HELLO)) as client:
        vad = {"type": "semantic_vad", "create_response": False}
        session = await client.setup(vad)
        assert session["audio"]["input"]["turn_detection"] == {
            "type": "semantic_vad",
            "eagerness": "auto",
            "create_response": False,
            "interrupt_response": True,
        }
        await client.hear(*SPEECH)
        await client.event("input_audio_buffer.committed")
        await asyncio.sleep(0.1)
        assert client.of("response.created") == []
        await client.sdk.response.create()
        await client.event("response.done")


async def test_manual_commit() -> None:
    async with talking(scripted(HELLO)) as client:
        await client.setup(None)
        await client.hear(silence(0.05))
        await client.sdk.input_audio_buffer.commit(event_id="mine")
        assert await _error(client) == ("input_audio_buffer_commit_empty", "mine")
        await client.hear(voice(0.3))
        await client.sdk.input_audio_buffer.clear()
        await client.event("input_audio_buffer.cleared")
        await client.sdk.input_audio_buffer.commit()
        assert await _error(client, 2) == ("input_audio_buffer_commit_empty", None)
        await client.hear(*SPEECH)
        await client.sdk.input_audio_buffer.commit()
        await client.event("conversation.item.done")
        await asyncio.sleep(0.05)
        assert client.of("response.created") == []
        await client.sdk.response.create()
        done = await client.event("response.done")
        assert _said(done["response"]) == SHORT
        assert not client.of("input_audio_buffer.speech_started")


async def test_a_tool_call_with_a_preamble() -> None:
    calls = (ScriptedCall("weather", {"city": "Bern"}, preamble="Let me look."),)
    turn = ScriptedTurn("weather?", "It rains.", ends_s=0.3, calls=calls)
    async with talking(scripted(turn)) as client:
        await client.setup(tools=[{"type": "function", "name": "weather", "parameters": {}}])
        done = await _one_turn(client)
        preamble, call = done["output"]
        assert preamble["content"][0]["transcript"] == "Let me look."
        assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Bern"})
        assert call["status"] == "completed"
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        await client.sdk.conversation.item.create(item=output)
        await client.sdk.response.create()
        done = (await client.event("response.done", 2))["response"]
        assert _said(done) == "It rains."
        assert client.grammar.finish() == []


async def test_a_late_result_is_answered_after_another_turn() -> None:
    asked = ScriptedTurn("slow?", "The slow answer.", ends_s=0.3, calls=(ScriptedCall("f", {}),))
    async with talking(scripted(asked, HELLO)) as client:
        await client.setup()
        call = (await _one_turn(client))["output"][0]
        between = await _one_turn(client, 2)
        assert _said(between) == SHORT
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "42"}
        await client.sdk.conversation.item.create(item=output)
        await client.sdk.response.create()
        late = (await client.event("response.done", 3))["response"]
        assert _said(late) == "The slow answer."


async def test_barge_in_and_truncation() -> None:
    turn = ScriptedTurn("tell me", LONG, ends_s=0.3)
    async with talking(scripted(turn, HELLO)) as client:
        await client.setup()
        await client.hear(*SPEECH)
        item = (await client.event("response.output_audio.delta", 3))["item_id"]
        await client.hear(voice(0.1))
        done = (await client.event("response.done"))["response"]
        assert done["status"] == "cancelled"
        assert done["status_details"]["reason"] == "turn_detected"
        assert done["output"][0]["status"] == "incomplete"
        kinds = client.kinds
        assert kinds.index("response.done") > len(kinds) - kinds[::-1].index(
            "input_audio_buffer.speech_started"
        )
        await client.sdk.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=400)
        truncated = await client.event("conversation.item.truncated")
        assert truncated["audio_end_ms"] == 400
        await client.sdk.conversation.item.retrieve(item_id=item)
        part = (await client.event("conversation.item.retrieved"))["item"]["content"][0]
        assert 0 < len(part["transcript"]) < 12 and LONG.startswith(part["transcript"])
        assert len(base64.b64decode(part["audio"])) == 2 * 400 * RATE // 1000
        await client.hear(voice(0.2), silence(0.5))
        await client.event("response.done", 2)
        assert client.grammar.finish() == []


async def test_speech_after_the_last_delta_only_starts() -> None:
    async with talking(scripted(HELLO)) as client:
        await client.setup()
        await _one_turn(client)
        await client.hear(voice(0.1))
        await client.event("input_audio_buffer.speech_started", 2)
        await asyncio.sleep(0.1)
        assert len(client.of("response.done")) == 1


async def test_no_interruption_where_none_is_wanted() -> None:
    turn = ScriptedTurn("tell me", LONG[:60], ends_s=0.3)
    async with talking(scripted(turn, HELLO)) as client:
        await client.setup({"type": "server_vad", "interrupt_response": False})
        await client.hear(*SPEECH)
        await client.event("response.output_audio.delta", 2)
        await client.hear(*SPEECH)
        done = [(await client.event("response.done", count))["response"] for count in (1, 2)]
        assert [each["status"] for each in done] == ["completed", "completed"]


async def test_response_cancel() -> None:
    async with talking(scripted(ScriptedTurn("x", LONG, ends_s=0.3))) as client:
        await client.setup()
        await client.sdk.response.cancel(event_id="early")
        assert await _error(client) == ("response_cancel_not_active", "early")
        await client.hear(*SPEECH)
        await client.event("response.output_audio.delta")
        await client.sdk.response.create()
        assert (await _error(client, 2))[0] == "conversation_already_has_active_response"
        await client.sdk.response.cancel()
        done = (await client.event("response.done"))["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


async def test_text_in_text_out_and_out_of_band() -> None:
    async with talking(scripted(HELLO)) as client:
        await client.setup(output_modalities=["text"])
        await _write(client, "hello")
        await client.sdk.response.create()
        done = (await client.event("response.done"))["response"]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": SHORT}]
        added = len(client.of("conversation.item.added"))
        aside = {"conversation": "none", "metadata": {"topic": "aside"}}
        await client.sdk.response.create(response=aside)
        done = (await client.event("response.done", 2))["response"]
        assert done["conversation_id"] is None and done["metadata"] == {"topic": "aside"}
        assert len(client.of("conversation.item.added")) == added


async def test_history_that_is_told_again_counts_as_turns() -> None:
    async with talking(scripted(HELLO, ScriptedTurn("", "Two.", ends_s=0.3))) as client:
        await client.setup()
        await _write(client, "a")
        await _write(client, "b", "assistant")
        assert _said(await _one_turn(client)) == "Two."


async def test_usage_is_read_again_every_time_and_cached() -> None:
    async with talking(scripted(HELLO)) as client:
        await client.setup(instructions="x" * 400)
        first, second = [(await _one_turn(client, count))["usage"] for count in (1, 2)]
        assert first["input_token_details"]["text_tokens"] == 100
        assert first["input_token_details"]["cached_tokens"] == 0
        sound_ms = len(hum(SHORT)) * 1000 / RATE
        assert first["output_token_details"]["audio_tokens"] == np.ceil(sound_ms / 50)
        reread = second["input_token_details"]
        assert reread["cached_tokens"] == first["input_tokens"]
        more = first["output_token_details"]["audio_tokens"]
        # The second turn's own sound comes on top.
        assert reread["audio_tokens"] > first["input_token_details"]["audio_tokens"] + more
        assert second["total_tokens"] == second["input_tokens"] + second["output_tokens"]


async def test_the_voice_is_fixed_once_it_was_heard() -> None:
    async with talking(scripted(HELLO)) as client:
        change = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
        await client.sdk.session.update(session=change)
        await client.event("session.updated")
        await _one_turn(client)
        change["audio"]["output"]["voice"] = "marin"
        await client.sdk.session.update(session=change)
        assert (await _error(client))[0] == "cannot_update_voice"


async def test_conversations_are_chosen_by_the_model() -> None:
    conversations = {"a": (HELLO,), "b": (ScriptedTurn("", "From b.", ends_s=0.3),)}
    script = dataclasses.replace(scripted(HELLO), conversations=conversations)
    async with serving(script) as server:
        for name, reply in (("a", SHORT), ("b", "From b.")):
            async with connected(server, f"gpt-realtime-2.1#{name}") as client:
                assert _said(await _one_turn(client)) == reply
        with pytest.raises(InvalidStatus) as refused:
            async with connected(server, "gpt-realtime-2.1#c"):
                pass
        assert refused.value.response.status_code == 404


@pytest.mark.parametrize("status", [401, 404, 429])
async def test_refused_at_the_door(status: int) -> None:
    async with serving(scripted(HELLO, refuse=status, retry_after_s=7)) as server:
        sdk = AsyncOpenAI(api_key="none", base_url=server.url.replace("ws", "http"))
        with pytest.raises(InvalidStatus) as refused:
            async with sdk.realtime.connect(model="gpt-realtime-2.1"):
                pass
        response = refused.value.response
        assert response.status_code == status
        assert json.loads(response.body)["error"]["code"]
        assert response.headers.get("Retry-After") == ("7" if status == 429 else None)


async def test_clients_with_and_without_a_subprotocol() -> None:
    async with serving(scripted(HELLO)) as server:
        for offered, chosen in (
            (["realtime", "openai-insecure-api-key.x"], "realtime"),
            (None, None),
        ):
            url = f"{server.url}/realtime?model=x"
            async with connect(url, subprotocols=offered) as socket:
                assert socket.subprotocol == chosen
                assert json.loads(await socket.recv())["type"] == "session.created"


@pytest.mark.parametrize(
    ("fault", "closing", "seen", "unseen"),
    [
        (
            Fault("close", "mid reply", 4001, "enough"),
            (4001, "enough"),
            "audio.delta",
            "response.done",
        ),
        (Fault("drop", "before reply"), None, "committed", "response.created"),
        (Fault("close", "speech"), (1011, ""), "session.created", "speech_stopped"),
    ],
)
async def test_connections_that_end(
    fault: Fault, closing: tuple[int, str] | None, seen: str, unseen: str
) -> None:
    async with talking(scripted(ScriptedTurn("", LONG, 0.3, fault=fault))) as client:
        await client.hear(*SPEECH)
        rcvd = (await client.end()).rcvd
        assert (rcvd and (rcvd.code, rcvd.reason)) == closing
        assert any(kind.endswith(seen) for kind in client.kinds)
        assert not any(kind.endswith(unseen) for kind in client.kinds)


@pytest.mark.parametrize("at", ["speech", "before reply", "mid reply", "after reply"])
async def test_an_error_in_between_ends_nothing(at: Any) -> None:
    fault = Fault("error", at=at, code=500, message="hiccup")
    async with talking(scripted(ScriptedTurn("", SHORT, 0.3, fault=fault))) as client:
        assert (await _one_turn(client))["status"] == "completed"
        error = (await client.event("error"))["error"]
        assert (error["type"], error["code"]) == ("server_error", "500")
        assert error["message"] == "hiccup"


async def test_malformed_and_unknown_messages() -> None:
    turns = [ScriptedTurn("", SHORT, 0.3, fault=Fault(kind)) for kind in ("malformed", "unknown")]
    async with talking(scripted(*turns)) as client:
        for count in (1, 2):
            await _one_turn(client, count)
        malformed, unknown = client.wrong
        assert malformed.startswith("no JSON") and "response.dreamt" in unknown
        client.wrong.clear()


async def test_quota_fails_the_response() -> None:
    for at in ("before reply", "mid reply"):
        fault = Fault("quota", at=at)
        async with talking(scripted(ScriptedTurn("", LONG, 0.3, fault=fault), HELLO)) as client:
            done = await _one_turn(client)
            assert done["status"] == "failed"
            assert done["status_details"]["error"]["code"] == "insufficient_quota"
            assert bool(client.of("response.output_audio.delta")) == (at == "mid reply")
            assert (await _one_turn(client, 2))["status"] == "completed"


async def test_nothing_more_is_sent() -> None:
    fault = Fault("silence", at="before reply")
    async with talking(scripted(ScriptedTurn("", SHORT, 0.3, fault=fault))) as client:
        await client.hear(*SPEECH)
        await client.event("conversation.item.done")
        before = len(client.events)
        await client.hear(*SPEECH)
        await asyncio.sleep(0.2)
        assert len([k for k in client.kinds[before:] if k.startswith("response")]) == 0
        assert client.closed is None


async def test_half_a_reply() -> None:
    async with talking(scripted(ScriptedTurn("", LONG, 0.3, fault=Fault("half")))) as client:
        done = await _one_turn(client)
        assert done["status"] == "completed"
        assert 0 < len(client.heard()) < 0.6 * len(hum(LONG))


async def test_it_answers_too_early() -> None:
    turn = ScriptedTurn("", SHORT, ends_s=3.0, fault=Fault("early"))
    async with talking(scripted(turn, HELLO)) as client:
        await client.hear(voice(1.6))
        await client.event("response.done")
        await client.hear(voice(1.4), silence(0.5))
        assert (await _one_turn(client, 2))["status"] == "completed"
        assert len(client.of("input_audio_buffer.speech_started")) == 2


async def test_sound_at_the_wrong_rate() -> None:
    fault = Fault("rate", rate=48_000)
    async with talking(scripted(ScriptedTurn("", SHORT, 0.3, fault=fault))) as client:
        await _one_turn(client)
        assert len(client.heard()) == pytest.approx(2 * len(hum(SHORT)), abs=2)


async def test_over_a_slow_and_jittery_network() -> None:
    network = ScriptedNetwork(rtt_ms=60, jitter_ms=30, stall_every_s=0.3, stall_ms=50)
    async with talking(scripted(HELLO, network=network)) as client:
        await client.setup()
        for count in (1, 2):
            assert (await _one_turn(client, count))["status"] == "completed"
        assert client.grammar.finish() == []


async def test_many_clients_at_once_and_none_is_left() -> None:
    async with serving(scripted(HELLO)) as server:

        async def talk() -> None:
            async with connected(server) as client:
                await _one_turn(client)

        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(talk())
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_the_server_leaves_in_the_middle_of_a_reply() -> None:
    script = scripted(ScriptedTurn("", LONG, 0.3))
    server = SimulatedServer(script, speak(script))
    await server.__aenter__()
    async with connected(server) as client:
        await client.hear(*SPEECH)
        await client.event("response.output_audio.delta")
        await server.__aexit__(None, None, None)
        closed = await client.end()
        assert closed.rcvd is not None and closed.rcvd.code == 1001


async def test_a_port_that_is_taken() -> None:
    script = scripted(HELLO)
    async with serving(script) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(BadInput, match="cannot listen"):
            async with SimulatedServer(script, speak(script), port=port):
                pass


async def test_a_big_message() -> None:
    most = base64.b64encode(bytes(MOST_APPENDED)).decode()
    async with serving(scripted(HELLO)) as server, connect(f"{server.url}/realtime") as socket:
        for audio in (most, most + "AAAA"):
            append = {"type": "input_audio_buffer.append", "audio": audio}
            await socket.send(json.dumps(append))
        kinds = [json.loads(await socket.recv())["type"] for _ in range(3)]
        assert kinds == ["session.created", "conversation.created", "error"]


async def test_speech_before_the_answer_takes_it_back() -> None:
    async with talking(scripted(HELLO, ScriptedTurn("", "Two.", 0.3), latency_ms=900)) as client:
        await client.setup()
        await client.hear(*SPEECH)
        await client.hear(silence(0.3), voice(0.1))
        await client.event("input_audio_buffer.speech_started", 2)
        await client.hear(voice(0.2), silence(0.5))
        done = (await client.event("response.done"))["response"]
        assert _said(done) == "Two."
        assert len(client.of("input_audio_buffer.committed")) == 2
        assert client.grammar.finish() == []


async def test_a_session_that_only_writes_down() -> None:
    script = scripted(HELLO)
    async with serving(script) as server, connected(server, intent="transcription") as client:
        session = client.events[0]["session"]
        assert (session["type"], session["object"]) == (
            "transcription",
            "realtime.transcription_session",
        )
        await client.hear(*SPEECH)
        done = await client.event("conversation.item.input_audio_transcription.completed")
        assert done["transcript"] == "hello there"
        await client.sdk.response.create(event_id="mine")
        assert await _error(client) == ("invalid_event", "mine")
        assert client.of("response.created") == [] and client.grammar.finish() == []


async def test_responses_beside_the_conversation() -> None:
    async with talking(scripted(ScriptedTurn("x", LONG, ends_s=0.3))) as client:
        await client.setup()
        await client.hear(*SPEECH)
        await client.event("response.output_audio.delta")
        aside = {"conversation": "none", "input": []}
        for topic in ("a", "b"):
            await client.sdk.response.create(response={**aside, "metadata": {"topic": topic}})
        created = await client.event("response.created", 3)
        await client.sdk.response.cancel(response_id=created["response"]["id"])
        await client.event("response.done", 3)
        by_id = {event["response"]["id"]: event["response"] for event in client.of("response.done")}
        main, a, b = [by_id[event["response"]["id"]] for event in client.of("response.created")]
        assert main["status"] == a["status"] == "completed"
        assert b["status"] == "cancelled" and b["metadata"] == {"topic": "b"}
        assert client.grammar.finish() == []


NETWORKS = st.builds(
    ScriptedNetwork,
    rtt_ms=st.floats(0, 500),
    jitter_ms=st.floats(0, 200),
    stall_every_s=st.sampled_from([0.0, 0.3, 2.0]),
    stall_ms=st.floats(0, 250),
)
GAPS = st.lists(st.integers(0, 400 * NS_PER_MS), max_size=60)
OPENED = 5_000_000_000


def _sent(gaps: list[int]) -> list[int]:
    times, now = [], OPENED
    for gap in gaps:
        now += gap
        times.append(now)
    return times


@given(NETWORKS, GAPS, st.integers())
def test_all_arrives_in_order_late_and_never_in_a_stall(
    network: ScriptedNetwork, gaps: list[int], seed: int
) -> None:
    line, sent = Delay(network, str(seed), OPENED), _sent(gaps)
    arrivals = [line.arrival_ns(t) for t in sent]
    assert arrivals == sorted(arrivals)
    for left, arrived in zip(sent, arrivals, strict=True):
        assert arrived >= left + int(network.rtt_ms / 2 * NS_PER_MS)
        if network.stall_every_s:
            stalls, within = divmod(arrived - OPENED, int(network.stall_every_s * 1e9))
            assert stalls == 0 or within >= int(network.stall_ms * NS_PER_MS)


@given(GAPS)
def test_without_jitter_and_stalls_it_is_half_the_round_trip(gaps: list[int]) -> None:
    line = Delay(ScriptedNetwork(rtt_ms=80), "1", OPENED)
    for left in _sent(gaps):
        assert line.arrival_ns(left) == left + 40 * NS_PER_MS


def test_the_same_seed_jitters_in_the_same_way() -> None:
    network, sent = ScriptedNetwork(rtt_ms=20, jitter_ms=50), _sent([10 * NS_PER_MS] * 50)
    first, again, other = (
        [line.arrival_ns(t) for t in sent]
        for line in (Delay(network, seed, OPENED) for seed in ("1/up", "1/up", "1/down"))
    )
    assert first == again != other


TEXT = """
name: test
source: nobody
voice: tone
latency: {median_ms: 20}
conversations:
  a:
    - {transcript: hello, reply: Good morning., ends_s: 0.3}
"""


@contextmanager
def _running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "pipeline", "simulate", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child, json.loads(child.stdout.readline())
        finally:
            child.kill()


class _Address:
    def __init__(self, url: str) -> None:
        self.url = url


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, sign: signal.Signals) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(TEXT, encoding="utf-8")
    with _running("realtime", "--script", str(script)) as (child, said):
        assert set(said) == {"url"}
        async with connected(_Address(said["url"])) as client:  # type: ignore[arg-type]
            await client.hear(voice(0.3), silence(0.5))
            done = await client.event("response.done")
            assert done["response"]["status"] == "completed"
            child.send_signal(sign)
            assert (await client.end()).rcvd is not None
        assert await asyncio.to_thread(child.wait, 20) == 0


def test_a_preset_says_all_about_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text(TEXT, encoding="utf-8")
    arguments = ("--script", str(script), "--preset", "gpt-realtime-1.5", "--json")
    with _running("realtime", *arguments) as (_, said):
        assert said["conversations"] == ["a"]
        assert said["script"]["name"] == "gpt-realtime-1.5"
        assert "1152" in said["script"]["source"] and "1152" in said["script"]["latency"]


@pytest.mark.parametrize(
    ("protocol", "script", "preset", "words"),
    [
        ("realtime", None, None, "--script FILE.yaml or --preset"),
        ("dream", None, "gpt-realtime", "write realtime"),
        ("gemini", None, "gpt-realtime", "the same scripts and presets"),
        ("realtime", None, "gpt-9", "there is none of that name"),
        ("realtime", Path("nowhere.yaml"), None, "cannot be read"),
    ],
)
async def test_what_cannot_be_served_is_said(
    protocol: str, script: Path | None, preset: str | None, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        await simulate(Settings(), protocol, script, preset)
