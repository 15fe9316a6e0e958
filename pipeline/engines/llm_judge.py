"""The embedded language model as a judge of whether the user's message is over.

Asked how the prompt goes on after the words so far, a chat model puts a full stop or the end of the
message there if they are whole, and another word if they are not.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Self

from pipeline.engines.client import open_client
from pipeline.engines.llm import Messages
from pipeline.engines.servers import ChatServer, openai
from pipeline.engines.tools import tools_of

CANDIDATES = 40
"""Tokens whose probability is asked for; ten times as many change the answer by less than 0.01."""

TIMEOUT_S = 1.0
"""Later than this nobody wants to know."""

_ENDS = (".", "?", "!", "。", "？", "！")
_STRIPPED = " \t\n.,;:?!…-–—\"'。？！、"

log = logging.getLogger(__name__)


class TextJudge:
    """Asks llama.cpp's server how likely a message ends after the words so far.

    For the embedded model only: it uses that server's own `/apply-template` and `/completion`.

    One call reads the words that the server has not read yet and computes no token but the first.
    On one core it takes 20 ms after a partial transcript that lacked two words, and 57 ms after
    nothing but the system prompt (medians). The reply's own request comes after it and finds all of
    that in the cache, so that its first token is 12 ms later than without the judge.
    """

    def __init__(self, server: ChatServer, *, timeout_s: float = TIMEOUT_S) -> None:
        """Prepare a client of the running `LocalServer`; nothing is asked yet."""
        base_url = server.base_url.removesuffix("/v1")
        self._client = open_client(replace(server, base_url=base_url), timeout_s=timeout_s)
        self._slot: dict[str, int] = {}

    def at(self, slot: int) -> Self:
        """The same judge, which reads in this slot of the server."""
        other = copy.copy(self)
        other._slot = {"id_slot": slot}
        return other

    async def probability(self, messages: Messages) -> float | None:
        """How likely the last message is over, 0 to 1.

        The number is well below 1 even for whole sentences (half of them get less than 0.5), for
        something could always follow.

        Args:
            messages: The prompt as the reply's request will have it; the last is the user's, with
                the words so far. Their last punctuation is not looked at.

        Returns:
            None if there are no words, or pictures too, or the server gave no answer in time.
        """
        said = messages[-1]["content"]
        # What is asked here would take the place of the pictures in what the model has read.
        shown = any(isinstance(message["content"], list) for message in messages)
        text = said.rstrip(_STRIPPED) if isinstance(said, str) and not shown else ""
        if not text:
            return None
        try:
            asked = [*messages[:-1], {**messages[-1], "content": text}]
            prompt = await self._prompt(asked, tools_of(messages), text)
            if prompt is None:
                return None
            answer = await self._post(
                "/completion",
                {
                    "prompt": prompt,
                    "n_predict": 1,
                    "n_probs": CANDIDATES,
                    "temperature": 0.0,
                    "cache_prompt": True,
                    **self._slot,
                },
            )
            (first,) = answer["completion_probabilities"]
            return share_of_ends(first["top_logprobs"])
        except (openai.APIError, KeyError, TypeError, ValueError) as error:
            log.debug("the end of the turn was not judged: %s", error)
            return None

    async def close(self) -> None:
        """Close the connection; the server stops faster without it."""
        await self._client.close()

    async def _prompt(
        self, messages: Messages, tools: list[dict[str, Any]], text: str
    ) -> str | None:
        """The prompt up to the user's last word, as the model's own template writes it."""
        body = {"messages": list(messages), **({"tools": tools} if tools else {})}
        answer = await self._post("/apply-template", body)
        before, found, _ = str(answer["prompt"]).rpartition(text)
        return before + found if found else None

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer: object = await self._client.post(path, body=dict(body), cast_to=object)
        if not isinstance(answer, dict):
            raise ValueError("the server's answer is no object")
        return answer


def share_of_ends(candidates: Iterable[Mapping[str, Any]]) -> float:
    """The probability of those tokens that end a sentence or a message.

    Args:
        candidates: Of llama.cpp's `top_logprobs`: `token` (empty where it is a special one, as the
            end of a message is) and `logprob`.

    Raises:
        KeyError: One has no `token` or no `logprob`.
    """
    total = 0.0
    for candidate in candidates:
        token = str(candidate["token"])
        if not token or "\n" in token or token.strip().startswith(_ENDS):
            total += math.exp(float(candidate["logprob"]))
    return min(1.0, total)
