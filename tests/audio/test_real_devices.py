"""Microphone and loudspeaker as real as they get without hardware: PortAudio on PulseAudio."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pulse import Pulse, result
from support.sound import tone

from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_S

LISTEN = """
    import asyncio, json, sys
    import numpy as np
    from pipeline.audio.devices import Microphone
    from pipeline.audio.portaudio import find_device

    async def main():
        device = find_device("input")
        frames = []
        async with Microphone(device) as microphone:
            async for frame in microphone.frames():
                if not frames:
                    print("ready", flush=True)
                frames.append(frame)
                if sum(np.abs(frame.samples).max() > 1000 for frame in frames) >= 20:
                    break
        sound = np.concatenate([frame.samples for frame in frames]).astype(float)
        spectrum = np.abs(np.fft.rfft(sound))
        print(json.dumps({
            "rate": device.rate,
            "hz": float(np.argmax(spectrum) * device.rate / len(sound)),
            "lengths": sorted({len(frame.samples) for frame in frames}),
            "offsets": [frame.offset for frame in frames],
            "times": [frame.t_ns for frame in frames],
        }))

    asyncio.run(main())
"""


@pytest.mark.device
def test_a_real_microphone_hears(pulse: Pulse, tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a.wav", 48000) as writer:
        writer.write(tone(48000, 1.0))
    child = pulse.start_child(LISTEN)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    pulse.play_into_mic(tmp_path / "a.wav")
    heard = result(child)
    assert heard["hz"] == pytest.approx(440, abs=5)
    assert heard["rate"] == 48000  # the sound server's
    assert heard["lengths"] == [48, 1536]  # of the first frame the end
    assert np.diff(heard["offsets"]).tolist() == [48, *[1536] * (len(heard["offsets"]) - 2)]
    assert (np.diff(heard["times"]) > 0).all()


SPEAK = """
    import asyncio, json, time
    import numpy as np
    from pipeline.audio import devices
    from pipeline.audio.devices import Speaker
    from pipeline.audio.playout import Playout
    from pipeline.audio.portaudio import find_device

    async def main():
        device = find_device("output")
        playout = Playout(device.rate)
        tone = (12000 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)).astype(np.int16)
        stops, firsts = [], []
        devices.REST_S, devices.WAKES_S = 0.2, 60.0
        async with Speaker(playout, device) as speaker:
            for _ in range(100 if %s else 0):
                speaker.rest(quiet=True)
                await asyncio.sleep(0.01)
            rested = speaker._stopped
            speaker.rest(quiet=False)
            await asyncio.sleep(0.3)
            for i in range(%d):
                playout.write(str(i), tone, 22050)
                playout.finish(str(i))
                while playout.position(str(i)) < 6000 + 40 * i:
                    await asyncio.sleep(0.001)
                stops.append(time.monotonic_ns())
                playout.stop()
                firsts.append(playout.played(str(i)).audible_ns)
                await asyncio.sleep(0.3)
            playout.write("whole", tone, 22050)
            playout.finish("whole")
            while not playout.played("whole").done:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
        print(json.dumps({
            "stops": stops, "firsts": firsts,
            "positions": [playout.position(str(i)) for i in range(%d)],
            "underrun_ns": playout.played("whole").underrun_ns,
            "rested": rested,
        }))

    asyncio.run(main())
"""
TIMES = 3


def speak(pulse: Pulse, times: int, *, rests: bool) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    with pulse.record() as heard:
        told = pulse.run(SPEAK % (rests, times, times))
    return heard[0].stretches(gap_s=0.15), told


@pytest.mark.device
@pytest.mark.slow
@pytest.mark.parametrize("rests", [False, True])
def test_a_real_loudspeaker_plays_and_stops(pulse: Pulse, rests: bool) -> None:
    stretches, told = speak(pulse, TIMES, rests=rests)
    assert told["rested"] == rests
    assert len(stretches) == TIMES + 1
    # What was handed out was heard, and no more: nothing is left in any buffer. A machine that is
    # too busy may interrupt it, which makes it longer.
    handed_s = [position / 22050 for position in told["positions"]] + [1.0]
    for (begin, end), seconds in zip(stretches, handed_s, strict=True):
        assert seconds - 0.03 < (end - begin) / NS_PER_S < seconds + 0.25
    assert told["underrun_ns"] == 0
    # Measured: 25 ms. A sound server that buffers on its own account would take 2 s.
    after_ms = [
        (end - stop) / 1e6 for (_, end), stop in zip(stretches, told["stops"], strict=False)
    ]
    assert np.median(after_ms) < 250, after_ms
