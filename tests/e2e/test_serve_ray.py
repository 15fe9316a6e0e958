"""The server as a Ray Serve application, on a cluster of two nodes, both of them this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.llm_server import LlmServer, reply
from support import api_talk, ray_cluster
from support.api_talk import talking
from support.cli_child import HANG_S, QUICK, scripted
from support.served_site import KEY, TOKEN, asked, free_port, printed, told
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pipeline.errors import BadInput
from pipeline.events import ReplyDone
from pipeline.speech_to_speech.brief import SystemSpec

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'voice-cascade[ray]'")
