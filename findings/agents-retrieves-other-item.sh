#!/bin/sh
# openai-agents 0.24.0, RealtimeSession: when what the user said has been transcribed, it asks the
# server for an item (conversation.item.retrieve), and not for the one that was transcribed, but for
# the assistant's that sounded last: the reply before, as a rule. The user's item is never asked for.
# If the program has deleted that reply, each transcription ends in an error event, until another reply
# sounds.
#
# The transcription names its item (item_id), and retrieving is there "to retrieve the server's
# representation of a specific item in the conversation history [...] for example, to inspect user
# audio after noise cancellation and VAD" (the docstring of openai's ConversationItemRetrieveEvent). A
# server's log shows a request per turn for what nobody asked, and who shortens a long conversation
# by conversation.item.delete gets errors for requests that are not theirs.
#
# Seen: openai-agents 0.24.0, openai 3.52.0, websockets 15.0.1, against a server of our own:
#     user_1 transcribed: nothing is retrieved; user_2, user_3: reply_1, reply_2
#     reply_3 deleted, user_4 transcribed: reply_3 is asked for, and an error event follows
#
# Exit code: 0 if it behaves so, 1 if it does not any more, 2 if the packages cannot be had.
# Needs Python 3.11 or later as python3, and a package index.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    openai-agents==0.24.0 openai==3.52.0 websockets==15.0.1 || exit 2

cat > "$folder/show.py" <<'PYTHON'
"""Which item is retrieved after which one was transcribed."""

import asyncio
import base64
import itertools
import json
import sys
from importlib.metadata import version

from agents import set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner
from agents.realtime.model_inputs import RealtimeModelSendRawMessage
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

SILENCE = base64.b64encode(bytes(4800)).decode()
TURNS = (1, 2, 3)
USAGE = {"type": "duration", "seconds": 1.0}
numbers = itertools.count()
asked = {}  # the items that are retrieved after each transcription


def event(kind, **fields):
    """A server's event."""
    return json.dumps({"type": kind, "event_id": f"event_{next(numbers)}", **fields})


def message(item, role, **content):
    """A message as an item of the conversation."""
    kind = {"user": "input_audio", "assistant": "output_audio"}[role]
    fields = {"id": item, "type": "message", "role": role, "status": "completed"}
    return {**fields, "content": [{"type": kind, **content}]}


class Server:
    """Plays three turns, then waits for a deletion and plays the user's part of a fourth."""

    def __init__(self):
        self.items = {}
        self.heard = None

    async def requests(self, connection):
        """Answer what the client asks for."""
        try:
            async for text in connection:
                request = json.loads(text)
                item = request.get("item_id")
                if request["type"] == "conversation.item.retrieve":
                    asked[self.heard].append(item)
                    if item in self.items:
                        told = event("conversation.item.retrieved", item=self.items[item])
                    else:
                        error = {"type": "invalid_request_error", "message": f"no item {item}"}
                        told = event("error", error=error)
                    await connection.send(told)
                elif request["type"] == "conversation.item.delete":
                    del self.items[item]
                    await connection.send(event("conversation.item.deleted", item_id=item))
                    await self.user(connection, "user_4")
        except ConnectionClosed:
            pass

    async def user(self, connection, item):
        """The user has said something, and it is transcribed."""
        self.items[item] = message(item, "user", transcript="Hello")
        await connection.send(event("conversation.item.added", item=message(item, "user")))
        self.heard = item
        asked[item] = []
        kind = "conversation.item.input_audio_transcription.completed"
        fields = {"content_index": 0, "transcript": "Hello", "usage": USAGE}
        await connection.send(event(kind, item_id=item, **fields))

    async def reply(self, connection, number):
        """The assistant answers by sound."""
        item, response = f"reply_{number}", f"response_{number}"
        fields = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        self.items[item] = message(item, "assistant", transcript="Yes")
        status = {"object": "realtime.response", "id": response, "output": []}
        await connection.send(event("response.created", response={**status, "status": "in_progress"}))
        await connection.send(event("response.output_audio.delta", delta=SILENCE, **fields))
        await connection.send(event("response.output_audio.done", **fields))
        await connection.send(event("response.done", response={**status, "status": "completed"}))

    async def __call__(self, connection):
        reader = asyncio.create_task(self.requests(connection))
        await connection.send(event("session.created", session={"type": "realtime", "model": "m"}))
        for number in TURNS:
            await self.user(connection, f"user_{number}")
            await asyncio.sleep(0.3)  # for the client's request
            await self.reply(connection, number)
        await reader


async def main():
    errors = []
    async with serve(Server(), "127.0.0.1", 0) as server, asyncio.timeout(60):
        port = server.sockets[0].getsockname()[1]
        config = {"url": f"ws://127.0.0.1:{port}", "api_key": "none"}
        ended = 0
        async with await RealtimeRunner(RealtimeAgent(name="a")).run(model_config=config) as session:
            async for told in session:
                if told.type == "error":
                    errors.append(told.error.message)
                    break
                if told.type == "agent_end":
                    ended += 1
                    if ended == len(TURNS):
                        deletion = {
                            "type": "conversation.item.delete",
                            "other_data": {"item_id": "reply_3"},
                        }
                        send = RealtimeModelSendRawMessage(message=deletion)
                        await session.model.send_event(send)
    for item, retrieved in asked.items():
        print(f"{item} is transcribed: retrieved are {retrieved}")
    print("errors:", errors)
    expected = {"user_1": [], "user_2": ["reply_1"], "user_3": ["reply_2"], "user_4": ["reply_3"]}
    return asked == expected and errors == ["no item reply_3"]


set_tracing_disabled(True)
print("openai-agents", version("openai-agents"), "openai", version("openai"))
as_stated = asyncio.run(main())
print("as stated" if as_stated else "NOT as stated")
sys.exit(not as_stated)
PYTHON
code=0
"$folder/venv/bin/python" "$folder/show.py" || code=1
exit $code
