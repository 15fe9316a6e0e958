"""What comes off the wire: how streams begin, are written, and end, over real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.llm_server import (
    DONE,
    PING,
    ROLE,
    Answer,
    End,
    LlmServer,
    choice,
    chunk,
    delta,
    event,
    finish,
    hang,
    usage,
)
from support.llm_client import client, converse, failure, hermetic, settings, take

from pipeline.engines.chat_stream import Used
from pipeline.engines.llm import ChatModel, Incomplete, Piece
from pipeline.engines.servers import chat_server

pytestmark = pytest.mark.usefixtures(hermetic.__name__)

TEXT = "The bakery is closed on Sundays. Try the market."
WORDS = [f"{word} " for word in TEXT.split()]
DELTAS = [delta(word) for word in WORDS]
COST = usage(7, 5, 2)
USED = Used(7, 5, 2)
BLANK_REASONS = ["", " ", "null", "None", None, 0, {}, []]


def text(pieces: list[Piece]) -> str:
    return "".join(piece for piece in pieces if isinstance(piece, str)).rstrip()


class TestEnds:
    """`[DONE]` or a reason ends a stream; one with neither broke off."""

    @pytest.mark.parametrize(
        "reason", ["stop", "STOP", "eos_token", "end_turn", "tool_calls", "completed", "finished"]
    )
    async def test_its_own_end(self, reason: str) -> None:
        pieces = await converse(Answer([*DELTAS, finish(reason), COST, DONE]))
        assert pieces == [*WORDS, USED]

    @pytest.mark.parametrize("reason", BLANK_REASONS)
    async def test_done_without_a_reason(self, reason: Any) -> None:
        deltas = [choice(index=0, delta={"content": w}, finish_reason=reason) for w in WORDS]
        assert await converse(Answer([*deltas, COST, DONE])) == [*WORDS, USED]

    @pytest.mark.parametrize("reason", BLANK_REASONS)
    async def test_neither(self, reason: Any) -> None:
        deltas = [choice(index=0, delta={"content": w}, finish_reason=reason) for w in WORDS]
        pieces, error = await failure(Answer([*deltas, COST]))
        assert pieces == [*WORDS, USED]
        assert "broke off in the middle" in str(error)

    @pytest.mark.parametrize(
        "rest",
        [
            [],
            [End.DROP],
            [End.RESET],
            [hang],
            [PING, hang],
            [DONE, hang],
            [event({"choices": []})] * 100_000,
            [DONE, *DELTAS * 10_000],
            [b"data: {oops\n\n"],
            [event({"error": {"message": "too late"}})],
            [finish("error")],
            [finish("length")],
            [delta("Extra.")],
            [choice(message={"content": "Extra."})],
        ],
        ids=[
            *("nothing", "closed", "reset", "silence", "pings", "silence after done"),
            *("chunks without end", "text without end", "no JSON", "an error"),
            *("another reason", "one more reason", "text", "a message"),
        ],
    )
    async def test_what_comes_after_the_end_is_none_of_it(self, rest: list[Any]) -> None:
        async with (
            LlmServer(Answer([*DELTAS, finish(), *rest]), Answer([*DELTAS, DONE])) as server,
            client(server.url) as model,
        ):
            assert await take(model) == WORDS
            assert await take(model) == WORDS

    @pytest.mark.parametrize("end", [finish(), DONE])
    async def test_its_cost_comes_after_it(self, end: bytes) -> None:
        assert await converse(Answer([*DELTAS, end, PING, COST])) == [*WORDS, USED]

    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            ("length", "spent all 9 tokens in the middle of the reply; raise llm.max_tokens"),
            ("MAX_TOKENS", "spent all 9 tokens"),
            ("content_filter", "content filter in the middle of the reply; ask otherwise"),
            ("SAFETY", "content filter"),
            ("RECITATION", "content filter"),
            ("sensitive", "content filter"),
            ("out-of-luck", "stopped in the middle of the reply (finish_reason: out_of_luck)"),
            ("a\nb\x1b" + "c" * 999, "a b c"),
        ],
    )
    async def test_cut_off(self, reason: str, words: str) -> None:
        pieces = await converse(Answer([*DELTAS, finish(reason), COST, DONE]), max_tokens=9)
        *said, cut, used = pieces
        assert (said, used) == (WORDS, USED)
        assert isinstance(cut, Incomplete)
        assert words in cut.reason
        assert cut.reason.isprintable() and len(cut.reason) < 400

    @pytest.mark.parametrize("reason", ["length", "content_filter", "out_of_luck"])
    @pytest.mark.parametrize("said", [[], [ROLE], [delta("\n\n")], [delta("<think>Hm.")]])
    async def test_cut_off_before_the_first_word(self, reason: str, said: list[bytes]) -> None:
        pieces, error = await failure(Answer([*said, finish(reason), COST, DONE]))
        assert text(pieces) == ""
        assert pieces[-1] == USED
        assert "before it said a word" in str(error)

    @pytest.mark.parametrize("said", [WORDS, []])
    async def test_a_reason_that_is_an_error(self, said: list[str]) -> None:
        pieces, error = await failure(Answer([*map(delta, said), finish("error"), DONE]))
        assert pieces == said
        assert "failed" in str(error)

    @pytest.mark.parametrize(
        "told",
        [
            event({"error": {"message": "the context is full", "code": 400}}),
            event({"error": "the context is full"}),
            event({"object": "error", "message": "the context is full", "code": 400}),
            event([{"error": {"message": "the context is full", "code": 400}}]),
            event({"error": {"error": {"msg": "the context is full"}}}),
            event({"detail": [{"loc": ["body"], "msg": "the context is full"}]}),
            b'event: error\ndata: {"detail": "the context is full"}\n\n',
            b"event: error\ndata: the context is full\n\n",
            choice(delta={}, finish_reason="error", error={"message": "the context is full"}),
        ],
    )
    async def test_an_error_that_is_told_is_told(self, told: bytes) -> None:
        pieces, error = await failure(Answer([*DELTAS, told, DONE]))
        assert pieces == WORDS
        assert "the context is full" in str(error)


class TestEvents:
    """Server-sent events, as the standard has them and as servers write them."""

    NOTHING = (
        b"retry: 3000\n\n",
        b"retry: soon\n\n",
        b"data:\n\n",
        b"data: \n\n",
        b"data\n\n",
        b"event: ping\n\n",
        b"event: ping\ndata: {}\n\n",
        b"event: ping\ndata: ping\n\n",
        b"data:   \n\n",
        b"data:\ndata:\n\n",
        b"data: : WAITING\n\n",
        b"data: 1700000000\n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b"id: 7\n\n",
        b": a comment\n\n",
        b":\n\n",
        b"\n\n",
        b"nonsense\n\n",
        b"nonsense: data: {oops\n\n",
    )

    @pytest.mark.parametrize("nothing", NOTHING)
    async def test_those_without_data_are_nothing(self, nothing: bytes) -> None:
        steps = [nothing, ROLE, nothing, *DELTAS, nothing, finish(), nothing, COST, nothing, DONE]
        assert await converse(Answer(steps)) == [*WORDS, USED]

    async def test_they_do_not_end_the_patience(self) -> None:
        async def tick() -> None:
            await asyncio.sleep(0.02)

        endless = [step for _ in range(5000) for step in (tick, b"retry: 1\n\n")]
        pieces, error = await failure(Answer([delta("Hello "), *endless]), timeout_s=1.5)
        assert pieces == ["Hello "]
        assert "sent nothing for 0.5 s" in str(error)

    @pytest.mark.parametrize("last", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE] \r\n"])
    async def test_the_last_may_lack_its_end(self, last: bytes) -> None:
        assert await converse(Answer([*DELTAS, last])) == WORDS
        pieces = await converse(Answer([*DELTAS, finish().rstrip()]))
        assert pieces == WORDS

    async def test_data_over_many_lines(self) -> None:
        pretty = json.dumps({"choices": [{"delta": {"content": TEXT}}]}, indent=1)
        lines = "".join(f"data: {line}\n" for line in pretty.splitlines()).encode()
        assert await converse(Answer([lines, b"\n", DONE])) == [TEXT]

    async def test_a_mark_of_the_byte_order_is_no_text(self) -> None:
        assert await converse(Answer([b"\xef\xbb\xbf" + DELTAS[0], *DELTAS[1:], DONE])) == WORDS

    async def test_line_separators_in_a_text_end_no_line(self) -> None:
        odd = "one\u2028two\u0085three\x0cfour"
        data = json.dumps({"choices": [{"delta": {"content": odd}}]}, ensure_ascii=False)
        assert await converse(Answer([f"data: {data}\n\n".encode(), DONE])) == [odd]

    async def test_bad_bytes_cost_their_letter_only(self) -> None:
        odd = delta("caf# au lait").replace(b"#", b"\xe9")
        assert await converse(Answer([odd, DONE])) == ["caf\ufffd au lait"]

    @pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream"])
    async def test_whatever_they_are_called(self, kind: str) -> None:
        assert await converse(Answer([*DELTAS, DONE], content_type=kind)) == WORDS

    def test_however_they_are_written_and_sent(self) -> None:
        with LlmServer().in_thread() as server, asyncio.Runner() as runner:
            chosen = settings(server.url)
            model = ChatModel(chat_server(chosen), chosen)

            @hypothesis.settings(deadline=None, max_examples=50)
            @given(st.data())
            def read(data: st.DataObject) -> None:
                extra = st.sampled_from((b"", *self.NOTHING))
                events = [ROLE, *DELTAS, finish(), COST, DONE]
                stream = b"".join(data.draw(extra) + each for each in events)
                if data.draw(st.booleans()):
                    stream = stream.replace(b"data: ", b"data:")
                stream = stream.replace(b"\n", data.draw(st.sampled_from((b"\n", b"\r\n", b"\r"))))
                cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
                steps = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
                server.then(Answer(steps))
                assert runner.run(take(model)) == [*WORDS, USED]

            read()
            runner.run(model.close())


class TestInOnePiece:
    """A server that does not stream, though it was asked to."""

    @staticmethod
    def whole(body: object, kind: str = "application/json") -> Answer:
        return Answer([json.dumps(body, indent=1).encode()], content_type=kind)

    @pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
    @pytest.mark.parametrize("reason", ["stop", None])
    async def test_is_a_reply(self, kind: str, reason: str | None) -> None:
        said = {"index": 0, "message": {"content": TEXT}, "finish_reason": reason}
        counts = {"prompt_tokens": 7, "completion_tokens": 2}
        answer = self.whole({"object": "chat.completion", "choices": [said], "usage": counts}, kind)
        assert await converse(answer) == [TEXT, Used(7, 0, 2)]

    async def test_that_was_cut_off(self) -> None:
        said = {"message": {"content": TEXT}, "finish_reason": "length"}
        pieces = await converse(self.whole({"choices": [said]}))
        assert pieces[0] == TEXT
        assert isinstance(pieces[1], Incomplete)

    async def test_that_is_an_error(self) -> None:
        _, error = await failure(self.whole({"error": {"message": "no such voice"}}))
        assert "no such voice" in str(error)

    async def test_that_is_none(self) -> None:
        _, error = await failure(Answer([b'{"choices'], content_type="application/json"))
        assert "no chat stream" in str(error)


class TestText:
    """The text of a chunk, wherever it is."""

    @pytest.mark.parametrize(
        "content",
        [
            [{"type": "text", "text": "Hello."}],
            [{"type": "output_text", "text": "Hello."}],
            [{"text": "Hello."}],
            ["Hel", "lo."],
            {"type": "text", "text": "Hello."},
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": "Hel"},
                {"type": "reasoning", "text": "Hm."},
                None,
                {"type": "text", "text": None},
                {"type": "text", "text": "lo."},
                {"type": "image_url", "image_url": {"url": "x"}},
                5,
            ],
            [{"type": "refusal", "refusal": "Hello."}],
        ],
    )
    @pytest.mark.parametrize("where", ["delta", "message"])
    async def test_in_parts(self, content: Any, where: str) -> None:
        answer = Answer([ROLE, choice(index=0, **{where: {"content": content}}), finish(), DONE])
        assert await converse(answer) == ["Hello."]

    async def test_a_refusal_is_said(self) -> None:
        deltas = [chunk({"content": None, "refusal": word}) for word in WORDS]
        assert await converse(Answer([*deltas, finish(), DONE])) == WORDS

    @pytest.mark.parametrize("where", ["delta", "message"])
    async def test_of_the_first_choice_alone(self, where: str) -> None:
        both: list[bytes] = []
        for word in WORDS:
            other = {"index": 1, where: {"content": "NO "}, "finish_reason": "stop"}
            mine = {"index": 0, "delta": {"content": word}}
            both += [event({"choices": [other, mine]}), event({"choices": [other]})]
        assert await converse(Answer([*both, finish(), DONE])) == WORDS

    @pytest.mark.parametrize(
        "steps",
        [
            [choice(message={"content": TEXT})],
            [*DELTAS, choice(delta={}, message={"content": TEXT})],
            [*DELTAS, choice(delta={"content": ""}, message={"content": TEXT})],
            [*DELTAS[:4], choice(message={"content": TEXT})],
            [delta("\n\n"), choice(message={"content": TEXT})],
            [*DELTAS, choice(message={"content": "Other words."})],
            [*DELTAS, delta(TEXT)],
            [*DELTAS, delta("".join(WORDS))],
            [delta("".join(WORDS[:n])) for n in range(1, len(WORDS) + 1)],
            [delta(TEXT[:n]) for n in (3, 9, 10, 25, 25, 40, len(TEXT), len(TEXT))],
            [
                choice(delta={"content": w}, message={"content": "".join(WORDS[: n + 1])})
                for n, w in enumerate(WORDS)
            ],
        ],
        ids=[
            "message alone",
            "message at the end",
            "message beside an empty delta",
            "message with the rest",
            "message after a line break",
            "another message",
            "all of it again",
            "all of it again to the letter",
            "each with all before it",
            "each with all before it, some twice",
            "message beside each delta",
        ],
    )
    async def test_that_comes_again_is_said_once(self, steps: list[bytes]) -> None:
        assert text(await converse(Answer([ROLE, *steps, finish(), DONE]))).strip() == TEXT

    @pytest.mark.parametrize(
        "words",
        [
            ["No. ", "No. ", "No. ", "Not today."],
            ["Ha", "ha", " ha", "."],
            ["1", "10", " people"],
            ["1", "1", "1", " is the code."],
            ["The ", "Theory ", "of ", "The ", "Theory "],
            ["\n", "\n\n", "Yes."],
        ],
    )
    async def test_that_is_only_alike_is_kept(self, words: list[str]) -> None:
        pieces = await converse(Answer([*map(delta, words), finish(), DONE]))
        assert "".join(map(str, pieces)) == "".join(words)

    @pytest.mark.parametrize("where", ["delta", "message"])
    async def test_nothing_where_there_could_be_something(self, where: str) -> None:
        odd = [{}, {"content": None}, {"content": []}, {"content": {}}, {"content": 5}, None]
        steps = [choice(index=None, **{where: each, "logprobs": None}) for each in odd]
        assert await converse(Answer([*steps, *DELTAS, *steps, finish(), DONE])) == WORDS


@pytest.mark.parametrize(
    "counted",
    [
        chunk({}, usage={"prompt_tokens": 7, "completion_tokens": 2}),
        choice(index=0, delta={}, usage={"prompt_tokens": 7, "completion_tokens": 2}),
        choice(delta={}, finish_reason="stop", usage={"prompt_tokens": 7, "completion_tokens": 2}),
        event({"choices": None, "usage": {"prompt_tokens": 7, "completion_tokens": 2}}),
        event({"usage": {"prompt_tokens": 7, "completion_tokens": 2, "other": [None]}}),
    ],
)
async def test_counts_wherever_they_are(counted: bytes) -> None:
    pieces = await converse(Answer([*DELTAS, counted, chunk({}, usage=None), DONE]))
    assert pieces == [*WORDS, Used(7, 0, 2)]
