"""The folder of a comparison: `conversations.jsonl`, written as it goes, read again, gone on with.

No password and no key is kept of what a run was asked: a path that had one has to be given again.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.compare.record import VERSION, Conversation
from pipeline.errors import BadInput
from pipeline.measure.run import Form
from pipeline.speech_to_speech.brief import STAMP
from pipeline.speech_to_speech.specs import shown

ASKED = ("sources", "say", "paths", "repeat", "seed", "speaker", "listen_s", "patience_s")
"""Options of a run that it is resumed with."""

ALIKE = ("variants", "scenarios", "models", "settings")
"""What in the header must not have changed since: else two runs would be taken for one."""

SPOKEN = ("end_of_speech_s", "audible_s", "seconds")
"""Of a step, what may have: its words are spoken anew where the recording is lost."""


def _plain(conversation: Conversation) -> dict[str, Any]:
    stamp = {"simulated": STAMP} if conversation.simulated else {}
    return {**stamp, **dataclasses.asdict(conversation)}


def _stamp(conversation: Conversation) -> dict[str, Any]:
    """What the lines of its trace say of it."""
    stamp = {"simulated": True} if conversation.simulated else {}
    return {"order": conversation.order, "path": conversation.path, **stamp}


CONVERSATIONS = Form[Conversation](
    "conversations.jsonl",
    "comparison",
    VERSION,
    made_by="compare",
    plain=_plain,
    parse=TypeAdapter(Conversation).validate_python,
    stamp=_stamp,
)
"""All conversations of a comparison, in its folder."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier run left.

    Attributes:
        folder: Where it is.
        asked: What it was asked, by `ASKED`.
        header: What described it.
        kept: Its conversations that stand; those that failed are held again.
        retried: How many these are, by path, with those that an earlier resumption held again.
    """

    folder: Path
    asked: Mapping[str, Any]
    header: Mapping[str, Any]
    kept: Sequence[Conversation]
    retried: Mapping[str, int]

    def check(self, header: Mapping[str, Any]) -> None:
        """See that a run with this header is the same one.

        Raises:
            BadInput: It is another.
        """
        was, now = _compared(self.header), _compared(header)
        if changed := [name for name in ALIKE if was[name] is not None and was[name] != now[name]]:
            raise BadInput(
                f"--resume {self.folder}: since then its {' and '.join(changed)} have changed; "
                "give the same flags and files as then, or begin a new run"
            )


def asked_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the header keeps of a run's options, by `ASKED`; `withheld` if a secret is missing."""
    asked = {name: options[name] for name in ASKED}
    asked["say"] = str(asked["say"] or "")
    asked["paths"] = [shown(path) for path in options["paths"]]
    return {**asked, "withheld": asked["paths"] != [*options["paths"]]}


def resumed(folder: Path, paths: Sequence[str]) -> Earlier:
    """What an earlier run left in its folder.

    Args:
        folder: Of the earlier run.
        paths: As given now; they count where they are those of the earlier run.

    Raises:
        BadInput: There is none, it does not tell what was asked, or its paths had secrets.
    """
    header, conversations = CONVERSATIONS.read(folder / CONVERSATIONS.name)
    asked = header.get("asked")
    if not isinstance(asked, dict) or not set(ASKED) <= asked.keys():
        raise BadInput(f"--resume {folder}: does not tell what was asked; begin a new run")
    given = {name: asked[name] for name in ASKED}
    given["sources"] = tuple(given["sources"])
    given["say"] = Path(given["say"]) if given["say"] else None
    if [shown(path) for path in paths] == given["paths"]:
        given["paths"] = tuple(paths)
    elif asked.get("withheld"):
        raise BadInput(
            f"--resume {folder}: a password or key in its paths was not kept; give each --path "
            "again as it was"
        )
    given["paths"] = tuple(given["paths"])
    retried = Counter(header.get("retried") or {})
    retried.update(one.path for one in conversations if one.status != "ok" and one.repeat > 0)
    kept = [one for one in conversations if one.status == "ok"]
    return Earlier(folder, given, header, kept, dict(retried))


def _compared(header: Mapping[str, Any]) -> dict[str, Any]:
    # As it is read again: JSON has lists only.
    plain: dict[str, Any] = json.loads(json.dumps({name: header.get(name) for name in ALIKE}))
    for scenario in (plain["scenarios"] or {}).values():
        for step in scenario["steps"]:
            for name in SPOKEN:
                step.pop(name, None)
    return plain
