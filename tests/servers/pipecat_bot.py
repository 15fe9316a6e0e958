"""A Pipecat bot behind Pipecat's own transport, voice detector and framings of telephone services.

    python pipecat_bot.py twilio|exotel|vonage PORT

Needs pipecat-ai 1.14, fastapi and uvicorn. What the user says is answered, `DELAY_S` after the
detector has heard its end, with a voice-like sound of `SECONDS`; whoever speaks over that
interrupts it. Only this is written here.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.serializers.exotel import ExotelFrameSerializer
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.serializers.vonage import VonageFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

STOP_S = 0.3
DELAY_S = 0.4
SECONDS = 3.0
RATE = 16_000


class Answering(FrameProcessor):
    """Says something when the user has finished; is silent when the user begins."""

    def __init__(self) -> None:
        super().__init__()
        self._saying: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            if self._saying is not None:
                self._saying.cancel()
            await self.broadcast_interruption()
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            self._saying = asyncio.create_task(self._say())
        await self.push_frame(frame, direction)

    async def _say(self) -> None:
        await asyncio.sleep(DELAY_S)
        t = np.arange(round(SECONDS * RATE)) / RATE
        voice = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 12))
        sound = (6000 * voice * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype("<i2").tobytes()
        await self.push_frame(TTSAudioRawFrame(sound, RATE, 1))


async def framing(kind: str, websocket: WebSocket) -> FrameSerializer:
    """Pipecat's serializer of a service, for the call that begins."""
    if kind == "vonage":
        return VonageFrameSerializer()
    found, call = await parse_telephony_websocket(websocket)
    if found != kind:
        raise ValueError(f"a call by {found}, not by {kind}")
    if kind == "exotel":
        return ExotelFrameSerializer(call.stream_id, call.call_id)
    params = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    return TwilioFrameSerializer(call.stream_id, call.call_id, params=params)


def application(kind: str) -> FastAPI:
    app = FastAPI()

    @app.websocket("/")
    async def call(websocket: WebSocket) -> None:
        await websocket.accept()
        transport = FastAPIWebsocketTransport(
            websocket,
            FastAPIWebsocketParams(
                serializer=await framing(kind, websocket),
                audio_in_enabled=True,
                audio_out_enabled=True,
            ),
        )
        voice = VADProcessor(vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=STOP_S)))
        pipeline = Pipeline([transport.input(), voice, Answering(), transport.output()])
        rates = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
        worker = PipelineWorker(pipeline, params=rates, enable_rtvi=False)

        @transport.event_handler("on_client_disconnected")
        async def gone(transport: object, client: object) -> None:
            await worker.cancel()

        await WorkerRunner(handle_sigint=False).run(worker)

    return app


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
