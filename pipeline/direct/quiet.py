"""A logger for the WebSocket clients: their own would write the key, which is among the headers."""

from __future__ import annotations

import logging

QUIET = logging.getLogger(__name__)
"""Says what is wrong, and nothing of what is sent, also where everything is logged."""

QUIET.setLevel(logging.WARNING)
