"""Cascade: microphone → VAD → Whisper → streaming LLM → Piper → speaker, every stage overlapped.

What a program needs is here (`from pipeline import Cascade`), and is imported when it is first
asked for: the engines' libraries take a second. What happens in a session are the classes of
`pipeline.events`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.audio.line import Ends
    from pipeline.compare.run import CompareOptions
    from pipeline.compare.run import prepare as prepare_compare
    from pipeline.config import Settings
    from pipeline.config import load as load_settings
    from pipeline.conversation.cascade import Cascade
    from pipeline.driver import Driver
    from pipeline.engines.local import LocalEngines
    from pipeline.profile.run import ProfileOptions
    from pipeline.profile.run import prepare as prepare_profile
    from pipeline.talk import TalkOptions
    from pipeline.talk import prepare as prepare_talk
    from pipeline.tools.functions import FunctionTools, tool
    from pipeline.tools.toolbox import Toolbox
    from pipeline.trace import Timeline, Trace

# All are read when the libraries load, so they are set before anything imports numpy or an engine.
# PASSIVE: an OpenMP pool whose threads spin between two jobs starves the other stages; on two cores
# that costs a factor of five to eight.
_waits = os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Within a job its threads meet after each step, and to be woken takes longer than most steps:
# libgomp's wait for some microseconds first. The language model reads a third faster so.
if _waits.upper() == "PASSIVE":
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# numpy's own BLAS threads spin too, and no matrix here is large enough to need a second one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = (
    "Cascade",
    "CompareOptions",
    "Driver",
    "Ends",
    "FunctionTools",
    "LocalEngines",
    "ProfileOptions",
    "Settings",
    "TalkOptions",
    "Timeline",
    "Toolbox",
    "Trace",
    "load_settings",
    "prepare_compare",
    "prepare_profile",
    "prepare_talk",
    "tool",
)

_HOMES = {
    "Cascade": "conversation.cascade.Cascade",
    "CompareOptions": "compare.run.CompareOptions",
    "Driver": "driver.Driver",
    "Ends": "audio.line.Ends",
    "FunctionTools": "tools.functions.FunctionTools",
    "LocalEngines": "engines.local.LocalEngines",
    "ProfileOptions": "profile.run.ProfileOptions",
    "Settings": "config.Settings",
    "TalkOptions": "talk.TalkOptions",
    "Timeline": "trace.Timeline",
    "Toolbox": "tools.toolbox.Toolbox",
    "Trace": "trace.Trace",
    "load_settings": "config.load",
    "prepare_compare": "compare.run.prepare",
    "prepare_profile": "profile.run.prepare",
    "prepare_talk": "talk.prepare",
    "tool": "tools.functions.tool",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, inside = _HOMES[name].rpartition(".")
    return getattr(importlib.import_module(f"{__name__}.{home}"), inside)
