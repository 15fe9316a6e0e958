"""What of a model's text is for the user, in the dialects that models have, however it is cut."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.text.visible import VisibleText

ANSWER = "The ferry leaves at six."
TOOLS: Mapping[str, Mapping[str, Any]] = {
    "timetable": {"properties": {"pier": {"type": "string"}, "day": {"type": "integer"}}}
}
CALL = ("timetable", '{"pier": "north"}')
JSON = '{"name": "timetable", "arguments": {"pier": "north"}}'
PYTHON = 'timetable(pier="north")'
XML = "<parameter=pier>\nnorth\n</parameter>"
SIZES = (1, 2, 3, 7, 10_000)


def pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


class Read:
    """What is left of a text that comes in pieces, and what was found in it."""

    def __init__(
        self, deltas: Iterator[str], offered: Mapping[str, Any], *, inside: bool = False
    ) -> None:
        self.visible = VisibleText(offered, begins_inside=inside)
        self.kept = ""
        for delta in deltas:
            self._take(self.visible.push, delta)
        self._take(lambda _: self.visible.flush(), "")
        self.calls = [(call.name, call.arguments) for call in self.visible.calls]

    def _take(self, push: Any, delta: str) -> None:
        before = self.visible.begins_inside
        shown = push(delta)
        if self.visible.begins_inside and not before:
            self.kept = ""
        self.kept += shown

    @property
    def all(self) -> tuple[object, ...]:
        return self.kept, self.calls, self.visible.written, self.visible.begins_inside


THOUGHTS = [
    "<think>hm</think>",
    "<think>\n\n</think>\n\n",
    "<THINK>hm</Think>",
    "<thinking>hm</think>",
    "<thinking>one<reflection>two</reflection>three</thinking>\n",
    "<think>one</think><think>two</think>",
    "<think>`</think>` ends a thought</think>",
    "<think> the <think> mark </think>",
    "<think/>",
    "<think> to see</think>",
    "<COT>hm</COT>",
    "<self_reflection>hm</self_reflection>",
    "<deep_think>hm</deep_think>",
    "<reasoning_content>hm</reasoning_content>",
    "<unused94>thought\nhm<unused95>",
    "<Thought>hm</Thought><Output>",
    "\ufeff<think>hm</think>\u200b",
    '<think budget="40">hm</think>',
    "<thought>hm</thought>",
    "<reasoning>hm</reasoning>",
    "<reflection>hm</reflection>",
    "<reasoning>hm</think>",
    "<antThinking>hm</antThinking>",
    "<inner_monologue>hm</inner_monologue>",
    "<scratchpad>hm</scratchpad>",
    "<mm:think>hm</mm:think>",
    "<seed:think>hm</seed:think>",
    "<ifm|think_fast>hm</ifm|think_fast>",
    "[THINK]hm[/THINK]",
    "◁think▷hm◁/think▷",
    "<|begin_of_thought|>hm<|end_of_thought|>\n\n<|begin_of_solution|>",
    "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>",
    "<|think|>hm<|/think|>",
    "<|channel>thought\nhm<channel|>",
    "<|channel|>analysis<|message|>hm<|end|>",
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel|>analysis<|message|>hm<|channel|>final<|message|>",
    "<|start|>assistant<|channel|>commentary<|message|>hm<|end|>"
    "<|start|>assistant<|channel|>final <|constrain|>text<|message|>",
    "analysisWe need the time.assistantfinal",
    "analysisOne.assistantcommentaryTwo.assistantfinal",
    "analysis We need the time. assistant final ",
    "Here is my thought process: hm Here is my response: ",
    "Here’s my thought process:\nhm\nHere’s my response:\n",
    "<think>hm</think>\n<answer>",
    "<think>hm<|im_end|>\n<|im_start|>assistant\n",
]
ENDS = [
    "</s>",
    "</s></s>\n",
    " </s>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "<turn|>",
    "<eos>",
    "[EOS]",
    "[/INST]",
    "[INST] And back? [/INST] At nine.",
    "</think>",
    "</answer>",
    "</assistant>",
    "[|endofturn|]",
    "[|user|]And back?",
    "<extra_id_1>",
    "<SPECIAL_12>",
    "<0x0A>",
    "<|some_mark_of_next_year|>",
    "<|im_end|>\n<|im_start|>user\nAnd back?<|im_end|>\n<|im_start|>assistant\nAt nine.",
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd back?",
    "<end_of_turn>\n<start_of_turn>user\nAnd back?",
    "<|user|>\nAnd back?",
    "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>And back?",
    "<tool_response>17:00</tool_response>",
]
HEADERS = [
    "<s>",
    "<|assistant|>\n",
    "<|im_start|>assistant\n",
    "<|im_start|>assistant ",
    "<|im_start|>assistant",
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "<|begin_of_box|>",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|header_start|>assistant<|header_end|>\n\n",
    "<|start_of_role|>assistant<|end_of_role|>",
    "<|im_assistant|>assistant<|im_middle|>",
    "<start_of_turn>model\n",
    "<|turn>model\n",
    "<|start|>assistant<|message|>",
    "assistant\n\n",
    "model\n",
    "[|assistant|]",
    "assistantfinal",
    ">>>all\n",
    "<|from|>assistant\n<|recipient|>all\n<|content|>",
]
CALLS = [
    f"<tool_call>\n{JSON}\n</tool_call>",
    f"<tool_call>{JSON}",
    f"<tool_call>{JSON}</tool_call><|im_end|>",
    f"<tool_calls>[{JSON}]</tool_calls>",
    f"<function_call>{JSON}</function_call>",
    f"<functioncall> {JSON} </functioncall>",
    f"<tool_call>```json\n{JSON}\n```</tool_call>",
    "<tool_call>{'name': 'timetable', 'arguments': {'pier': 'north'}}</tool_call>",
    '<function=timetable>{"pier": "north"}</function>',
    '<function=timetable{"pier": "north"}</function>',
    f"<tool_call>\n<function=timetable>\n{XML}\n</function>\n</tool_call>",
    f"<function=timetable>\n{XML}\n</function>\n</tool_call>",
    '<function name="timetable"><param name="pier">north</param></function>',
    '<function_calls>\n<invoke name="timetable">\n<parameter name="pier">north</parameter>\n'
    "</invoke>\n</function_calls>",
    '<minimax:tool_call>\n<invoke name="timetable"><parameter name="pier">north</parameter>'
    "</invoke>\n</minimax:tool_call>",
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="timetable">\n<｜DSML｜parameter name="pier" '
    'string="true">north</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
    '<function(timetable)>{"pier": "north"}</function>',
    f"<tools>\n{JSON}\n</tools>",
    f"<action>{JSON}</action>",
    f"[FUNCTION_CALL]{JSON}",
    "<longcat_tool_call>timetable\n<longcat_arg_key>pier</longcat_arg_key>\n"
    "<longcat_arg_value>north</longcat_arg_value>\n</longcat_tool_call>",
    "<tool_call>timetable\n<arg_key>pier</arg_key>\n<arg_value>north</arg_value>\n</tool_call>",
    f"[TOOL_CALLS][{JSON}]</s>",
    '[TOOL_CALLS]timetable{"pier": "north"}',
    '[TOOL_CALLS]timetable[CALL_ID]x1[ARGS]{"pier": "north"}',
    f"[TOOL_REQUEST]{JSON}[END_TOOL_REQUEST]",
    f"<|tool_call|>[{JSON}]",
    '<|tool_call>call:timetable{pier:<|"|>north<|"|>}<tool_call|>',
    f"<|tool_call_start|>[{PYTHON}]<|tool_call_end|>",
    '<|python_tag|>timetable.call(pier="north")',
    f"<|python_tag|>{JSON}<|eom_id|>",
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>timetable\n"
    '```json\n{"pier": "north"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>timetable<｜tool▁sep｜>{"pier": "north"}'
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.timetable:0"
    '<|tool_call_argument_begin|>{"pier": "north"}<|tool_call_end|><|tool_calls_section_end|>',
    f"<|action_start|><|plugin|>{JSON}<|action_end|>",
    '<|START_ACTION|>[{"tool_name": "timetable", "parameters": {"pier": "north"}}]<|END_ACTION|>',
    "<start_function_call>call:timetable{pier:<escape>north<escape>}<end_function_call>",
    "<|channel|>commentary to=functions.timetable <|constrain|>json<|message|>"
    '{"pier": "north"}<|call|>',
    "<|start|>assistant to=functions.timetable<|channel|>commentary<|message|>"
    '{"pier": "north"}<|call|>',
    '<|from|>assistant\n<|recipient|>timetable\n<|content|>{"pier": "north"}<|stop|>',
    '>>>timetable\n{"pier": "north"}',
    JSON,
    f"[{JSON}]",
    f"{JSON}<|eot_id|>",
    f"{JSON}}}",
    JSON[:-1],
    JSON.replace('"', "'"),
    '<tool_call name="timetable">{"pier": "north"}</tool_call>',
    '{"type": "tool_use", "id": "x", "name": "timetable", "input": {"pier": "north"}}',
    JSON.replace("arguments", "parameters"),
    '{\n  "arguments": {"pier": "north"},\n  "name": "timetable"\n}',
    '{"id": "1", "type": "function", "function": {"name": "timetable", '
    '"arguments": "{\\"pier\\": \\"north\\"}"}}',
    f'{{"tool_calls": [{JSON}]}}',
    f"[{PYTHON}]",
    f"```json\n{JSON}\n```",
    f"```\n{JSON}\n```",
    f"```tool_call\n{JSON}\n```",
    f"```tool_code\nprint({PYTHON})\n```",
    f"```xml\n<tool_call>{JSON}</tool_call>\n```",
    f"<think>hm</think>\n\n<tool_call>{JSON}</tool_call>",
    f"<think>\nI call it.\n<tool_call>\n{JSON}\n</tool_call>",
]
"""Each calls the timetable."""

ONLY_FIRST = [
    'analysisHm.assistantcommentary to=functions.timetable json{"pier": "north"}',
    'commentary to=functions.timetable json{"pier": "north"}',
    f"functools[{JSON}]",
    'Action: ```json\n[{"tool_name": "timetable", "parameters": {"pier": "north"}}]\n```',
]
"""These are known where they are all there is."""

OF_A_TOOL = [
    PYTHON,
    'timetable({"pier": "north"})',
    'timetable (pier="north") ;\n',
    'timetable{"pier": "north"}',
    'Timetable: {"pier": "north"}',
]
"""And these where there is such a tool."""

ORDINARY = [
    "1 < 2, and 2 > 1",
    "if a<b then",
    "I <3 you <",
    "x <b>bold</b> y",
    "List<String> names",
    "<thinker>thinks",
    "use <code>code</code>",
    "the `<think>` mark",
    "the `<tool_call>` and `</s>` marks",
    "Use the <think> tag for that.",
    "It is called <think>.",
    'Write "<think>" before it.',
    "Between <think> and </think> it thinks.",
    "The marks <think>, <reasoning> and </think>.",
    "The [THINK] tag opens a thought.",
    "End it with the </s> token",
    "```html\n<think>hm</think>\n```\nThat is all.",
    "```\n</s>\n```",
    "<think> is the mark of a thought.",
    "<reason> stands for a reason.",
    "<think about it>",
    "the [INST] mark, and where [/INST] ends it",
    "<function> means a function",
    "<tool>hammer",
    "functools[0]",
    f"{PYTHON} tells when it leaves.",
    "timetable(pier) is what to call.",
    "timetables(1)",
    "timetable: {braces}",
    'Call timetable(pier="north")',
    "Analysis shows that it leaves.",
    "analysis of the waves",
    "Final answer: six.",
    "finally, at six",
    "assistant masters",
    "Here is my plan: swim.",
    "Here's my thought: swim.",
    "Here's my thought process: first swim.",
    'It says "<think> is a mark".',
    "A: <think>, and <answer>.",
    "Some marks: <s>, </s>, <pad>.",
    "Dear [NAME], because of [REASON]",
    "[pause] Well.",
    "[1, 2] [x] [a link](http://example.com)",
    "[now()](http://example.com)",
    '{"city": "Oslo", "piers": [1, 2]}',
    '{"name": "Anna", "age": 5}',
    '{"name": "Anna Berg", "arguments": {"x": 1}}',
    '```json\n{"name": "Anna", "age": 5}\n```',
    '{"name": "half',
    "{'name': 'Anna', 'age': 5}",
    "{braces} and `ticks",
    "a <| b |> c <|> d",
    ">>> print(1)",
    " leading space",
    "a <thin",
    "◁ triangles ▷",
]


@pytest.mark.parametrize("size", SIZES)
class TestTable:
    def test_thoughts(self, size: int) -> None:
        for thought in THOUGHTS:
            read = Read(pieces(thought + ANSWER, size), {})
            assert read.all == (ANSWER, [], False, False), thought

    def test_ends_of_the_turn(self, size: int) -> None:
        for end in ENDS:
            read = Read(pieces(ANSWER + end, size), {})
            assert (read.kept.strip(), *read.all[1:]) == (ANSWER, [], False, False), end

    def test_headers(self, size: int) -> None:
        for header in HEADERS:
            read = Read(pieces(header + ANSWER, size), {})
            assert read.all == (ANSWER, [], False, False), header

    @pytest.mark.parametrize("offered", [TOOLS, {}], ids=["offered", "none"])
    def test_calls(self, offered: Mapping[str, Any], size: int) -> None:
        for call in CALLS + ONLY_FIRST + (OF_A_TOOL if offered else []):
            assert Read(pieces(call, size), offered).all == ("", [CALL], True, False), call

    @pytest.mark.parametrize("before", ["Let me see. ", "Let me see.\n\n", "Let me see."])
    def test_calls_after_words(self, before: str, size: int) -> None:
        for call in CALLS:
            read = Read(pieces(before + call, size), TOOLS)
            assert (read.kept.strip(), read.calls) == ("Let me see.", [CALL]), call

    @pytest.mark.parametrize("offered", [TOOLS, {}], ids=["offered", "none"])
    def test_ordinary_text(self, offered: Mapping[str, Any], size: int) -> None:
        for text in ORDINARY:
            assert Read(pieces(text, size), offered).all == (text, [], False, False)

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("Sure!<|eot_id|><|start_header_id|>assistant<|end_header_id|> At six.", "At six."),
            ("Sure!<|im_end|><|im_start|>assistant\nAt six.", "At six."),
            ("Sure! <think>hm</think> At six.", "At six."),
            (f"Sure!<tool_call>{JSON}</tool_call>At six.", "At six."),
        ],
    )
    def test_what_stands_around_stays_apart(self, text: str, kept: str, size: int) -> None:
        assert Read(pieces(text, size), {}).kept.split() == ["Sure!", *kept.split()]

    def test_several_calls(self, size: int) -> None:
        for text in (
            f"<tool_call>{JSON}</tool_call>\n<tool_call>{JSON}</tool_call>",
            f"<tool_call>{JSON}<tool_call>{JSON}",
            f"[TOOL_CALLS][{JSON}, {JSON}]",
            f"{JSON};\n{JSON}",
            f"```json\n{JSON}\n{JSON}\n```",
        ):
            assert Read(pieces(text, size), TOOLS).all == ("", [CALL, CALL], True, False)

    @pytest.mark.parametrize(
        "text", ["<think>hm", "<think>hm</thi", "<|channel|>analysis", "<tool_"]
    )
    def test_what_does_not_end(self, text: str, size: int) -> None:
        assert Read(pieces(text, size), {}).kept == ("<tool_" if text == "<tool_" else "")

    def test_code_that_looks_like_a_call_is_code_after_words(self, size: int) -> None:
        text = f"A call looks like this:\n```json\n{JSON}\n```\n"
        assert Read(pieces(text, size), {}).all == (text, [], False, False)

    def test_a_call_that_is_cut(self, size: int) -> None:
        text = '{"name": "timetable", "arguments": {"pier": "no'
        assert Read(pieces(text, size), {}).all == (
            "",
            [("timetable", '{"pier": "no')],
            True,
            False,
        )


@pytest.mark.parametrize(
    "text",
    [
        "Timetable (of the piers): at six, from the north.",
        "timetable(pier) is what tells when it leaves.",
        f"{PYTHON} tells when it leaves.",
        "Timetable: {braces} and all.",
    ],
)
def test_a_sentence_that_begins_with_a_tools_name_is_heard_at_once(text: str) -> None:
    assert VisibleText(TOOLS).push(text) == text


@pytest.mark.parametrize("size", SIZES)
class TestWithoutAnOpener:
    @pytest.mark.parametrize(
        "end",
        [
            "\n</think>\n\n",
            "[/THINK]",
            "</seed:think>",
            "◁/think▷",
            "<|end_of_thought|>",
            "<unused95>",
            "\n[BEGIN FINAL RESPONSE]\n",
        ],
    )
    def test_all_before_is_a_thought(self, end: str, size: int) -> None:
        text = f"Okay, they ask for the time. It is six.{end}{ANSWER}"
        for inside in (False, True):
            read = Read(pieces(text, size), {}, inside=inside)
            assert read.all == (ANSWER, [], False, True)

    def test_all_before_the_final_channel_is_a_thought(self, size: int) -> None:
        end = "<|end|><|start|>assistant<|channel|>final<|message|>"
        read = Read(pieces(f"They ask for the time.{end}{ANSWER}<|return|>", size), {})
        assert read.all == (ANSWER, [], False, True)

    def test_before_a_call_too(self, size: int) -> None:
        read = Read(pieces(f"I call it.\n</think>\n{JSON}", size), TOOLS)
        assert read.all == ("", [CALL], True, True)

    def test_nothing_is_given_of_what_is_expected_to_be_a_thought(self, size: int) -> None:
        visible = VisibleText(begins_inside=True)
        assert not any(visible.push(piece) for piece in pieces("It is six.\n", size))
        assert visible.push("</think>At") + visible.push(" six.") == "At six."

    def test_what_was_expected_and_does_not_come(self, size: int) -> None:
        read = Read(pieces(f"<think>hm</think>{ANSWER}</s>", size), {}, inside=True)
        assert read.all == (ANSWER, [], False, False)
        read = Read(pieces(f"{ANSWER}</s>", size), {}, inside=True)
        assert read.all == (ANSWER, [], False, False)

    def test_a_thought_that_is_cut_off(self, size: int) -> None:
        visible = VisibleText(begins_inside=True)
        assert not any(visible.push(piece) for piece in pieces("It is six", size))
        assert not visible.flush(whole=False)
        assert visible.begins_inside


@pytest.mark.parametrize(
    "deltas",
    [
        ("It", " is", " six", "."),
        ("H", "ello", " there"),
        ("a <", " b"),
        ("a <b", " c"),
        ("List<", "int> x"),
        ("1 <", "2"),
        ("[p", "ause]"),
        ("An", "alysis shows"),
        ("analysis", " of it"),
        ("f", "ive"),
        ("He", "re are two"),
        ('{"', "c", 'ity": 1}'),
        ('{"name": "Anna",', ' "age": 5}'),
        ("a `", "b` c"),
    ],
)
def test_no_more_is_held_back_than_what_may_be_a_mark(deltas: tuple[str, ...]) -> None:
    """All that came before the piece that decides is there with it."""
    visible = VisibleText()
    assert "".join(map(visible.push, deltas)) == "".join(deltas)


PARTS = st.sampled_from(
    [
        *("<think>", "</think>", "<thinking>", "</reflection>", "[THINK]", "[/THINK]", "◁think▷"),
        *("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "analysis", "commentary", "final"),
        *("assistant", " to=functions.x", "<tool_call>", "</tool_call>", "<function=x>", "</s>"),
        *("[TOOL_CALLS]", "<|python_tag|>", "x(a=1)", "[x(a=1)]", "<|im_start|>", "user", "model"),
        *('{"name": "x", "arguments": {"a": 1}}', '{"name":', '{"city": 1}', "[{", "}", "]", '"'),
        *("```", "```json\n", "`", "\n", " ", "<", "[", "{", "</", "<|", "|>", ">>>", "x\n", ";"),
        *("Here is my thought process:", "Here is my response:", "functools[", "<｜tool▁sep｜>"),
        *("The sea.", "is", " deep", "?", " and ", " tag", "(", ")", "<b>", "A", "é", "1"),
    ]
)


@given(
    parts=st.lists(PARTS, max_size=9),
    seed=st.integers(0, 999),
    offered=st.sampled_from([{}, TOOLS, {"x": {}}]),
    inside=st.booleans(),
)
def test_where_the_text_is_cut_does_not_matter(
    parts: list[str], seed: int, offered: Mapping[str, Any], inside: bool
) -> None:
    text, chance = "".join(parts), random.Random(seed)
    cuts = sorted(chance.choices(range(len(text) + 1), k=chance.randint(0, 12)))
    deltas = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole = Read(iter([text]), offered, inside=inside)
    assert Read(iter(deltas), offered, inside=inside).all == whole.all


@given(st.text(st.characters(exclude_characters="<[{◁`>"), max_size=40))
def test_text_without_any_sign_of_a_mark_is_given(text: str) -> None:
    assert Read(iter(["Well, ", text]), {}).kept == f"Well, {text}"
