"""Open calls: every result reaches whoever waits, or is told late, once."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.conversation.pending import Group, Pending
from pipeline.engines.tools import ToolUse

IDS = st.sampled_from(["", "a", "b", "call00001", "call00002"])


class Calls(RuleBasedStateMachine):
    """Any order of calls, results, leaving and telling."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = Pending(used=["call00003"])
        self.ids = ["call00003"]
        self.groups: list[Group] = []
        self.woken: list[Group] = []
        self.told: list[Group] = []
        self.cancelled: set[str] = set()

    @property
    def open(self) -> list[str]:
        return [id for group in self.groups for id in group.open if id not in self.cancelled]

    @rule(ids=st.lists(IDS, min_size=1, max_size=3))
    def begin(self, ids: list[str]) -> None:
        uses = [ToolUse(id, "tool", "{}") for id in ids]
        group = self.pending.begin(1, uses, 1, lambda: self.woken.append(group))
        self.ids += [use.id for use in group.uses]
        self.groups.append(group)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call_id = data.draw(st.sampled_from(sorted(self.open)))
        assert call_id in self.pending
        self.pending.answered(call_id)
        assert call_id not in self.pending
        with pytest.raises(KeyError):
            self.pending.answered(call_id)

    @precondition(lambda self: any(not group.left for group in self.groups))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiting = [i for i, group in enumerate(self.groups) if not group.left]
        self.pending.leave(self.groups[data.draw(st.sampled_from(waiting))])

    @rule()
    def tell(self) -> None:
        if (group := self.pending.next_late()) is not None:
            self.told.append(group)

    @rule()
    def cancel(self) -> None:
        late = []
        while (group := self.pending.next_late()) is not None:
            late.append(group)
        self.told += late
        calls = self.pending.cancel()
        assert sorted(id for _, id in calls) == sorted(self.open)
        self.cancelled |= {id for _, id in calls}
        for _, call_id in calls:
            self.pending.answered(call_id)

    @invariant()
    def sane(self) -> None:
        assert len(self.ids) == len(set(self.ids))
        assert all(self.ids)
        assert len(self.told) == len(set(map(id, self.told)))
        for group in self.told:
            assert group.left
            assert not group.open
        for group in self.woken:
            assert not group.open
        assert all(id in self.pending for id in self.open)

    def teardown(self) -> None:
        """In the end every complete group was told of, once, to whoever waited or as late."""
        self.tell_rest()
        for group in self.groups:
            known = (group in self.woken) + (group in self.told)
            if group.open:
                assert known == 0
            elif group.left:
                assert group in self.told
            else:
                assert known == 1

    def tell_rest(self) -> None:
        while (group := self.pending.next_late()) is not None:
            self.told.append(group)


TestCalls = Calls.TestCase


def test_ids_that_servers_leave_out_are_made() -> None:
    pending = Pending()
    uses = [ToolUse("", "tool", "{}"), ToolUse("x", "tool", "{}"), ToolUse("x", "tool", "{}")]
    group = pending.begin(1, uses, 1, lambda: None)
    assert [use.id for use in group.uses] == ["call00001", "x", "call00002"]


def test_more_replies_of_a_turn_have_names() -> None:
    pending = Pending()
    names = [pending.reply_id(3) for _ in range(30)]
    assert names[:2] == ["reply-3b", "reply-3c"]
    assert len(set(names)) == 30
    assert pending.reply_id(4) == "reply-4b"
