"""Microphone and loudspeaker as real as they get without hardware: PortAudio on PulseAudio."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pulse import Pulse, result

from pipeline.audio.files import WavWriter
from pipeline.clock import NS_PER_S
from pipeline.events import Samples


def tone(seconds: float) -> Samples:
    return (12000 * np.sin(2 * np.pi * 440 * np.arange(int(48000 * seconds)) / 48000)).astype(
        np.int16
    )


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
        writer.write(tone(1.0))
    child = pulse.start_child(LISTEN)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    pulse.play_into_mic(tmp_path / "a.wav")
    heard = result(child)
    assert heard["hz"] == pytest.approx(440, abs=5)
    assert heard["lengths"] == [heard["rate"] // 50]
    assert set(np.diff(heard["offsets"])) == {heard["rate"] // 50}
    assert (np.diff(heard["times"]) > 0).all()


SPEAK = """
    import asyncio, json, time
    import numpy as np
    from pipeline.audio.devices import Speaker
    from pipeline.audio.playout import Playout
    from pipeline.audio.portaudio import find_device

    async def main():
        device = find_device("output")
        playout = Playout(device.rate)
        tone = (12000 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)).astype(np.int16)
        stops, firsts = [], []
        async with Speaker(playout, device):
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
            "underruns": playout.played("whole").underruns,
        }))

    asyncio.run(main())
"""
TIMES = 3


def speak(pulse: Pulse, times: int) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    with pulse.record() as heard:
        told = pulse.run(SPEAK % (times, times))
    return heard[0].stretches(gap_s=0.15), told


@pytest.mark.device
@pytest.mark.alone
def test_a_real_loudspeaker_plays_and_stops(pulse: Pulse) -> None:
    stretches, told = speak(pulse, TIMES)
    assert len(stretches) == TIMES + 1
    # What was handed out was heard, and no more: nothing is left in any buffer. A machine that is
    # too busy may interrupt it, which makes it longer.
    handed_s = [position / 22050 for position in told["positions"]] + [1.0]
    for (begin, end), seconds in zip(stretches, handed_s, strict=True):
        assert seconds - 0.03 < (end - begin) / NS_PER_S < seconds + 0.25
    assert told["underruns"] == 0
    # Measured: 25 ms. A sound server that buffers on its own account would take 2 s.
    after_ms = [
        (end - stop) / 1e6 for (_, end), stop in zip(stretches, told["stops"], strict=False)
    ]
    assert np.median(after_ms) < 250, after_ms


LOSE = """
    import asyncio, json
    from pipeline.audio.devices import Microphone, Speaker
    from pipeline.audio.portaudio import find_device
    from pipeline.audio.playout import Playout
    from pipeline.errors import StageError

    async def main():
        speaker_device = find_device("output")
        async with (
            Microphone(find_device("input")) as microphone,
            Speaker(Playout(speaker_device.rate), speaker_device) as speaker,
        ):
            watching = asyncio.create_task(speaker.watch())
            told = []
            try:
                async for frame in microphone.frames():
                    if frame.offset == 0:
                        print("ready", flush=True)
            except StageError as error:
                told.append([str(error), error.fatal])
            try:
                await watching
            except StageError as error:
                told.append([str(error), error.fatal])
        print(json.dumps(told))

    asyncio.run(main())
"""


@pytest.mark.device
def test_a_device_that_is_lost_ends_the_conversation(start_pulse: Callable[[], Pulse]) -> None:
    server = start_pulse()
    child = server.start_child(LOSE)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    server.server.send_signal(signal.SIGKILL)
    told = result(child)
    assert [fatal for _, fatal in told] == [True, True]
    assert "microphone default: is gone" in told[0][0]
    assert "loudspeaker default: is gone" in told[1][0]


@pytest.mark.device
def test_real_devices_are_listed_and_named(pulse: Pulse) -> None:
    told = pulse.run("""
        import json
        from pipeline.audio.portaudio import find_device, list_devices
        from pipeline.errors import BadInput
        try:
            find_device("input", "defualt")
        except BadInput as error:
            print(json.dumps([
                [str(device) for device in list_devices() if device.default],
                str(error),
                find_device("output", "pulse").name,
            ]))
    """)
    assert told[0][0].startswith("microphone ")
    assert told[0][1].startswith("loudspeaker ")
    assert "did you mean default?" in told[1]
    assert told[2] == "pulse"


@pytest.mark.device
def test_a_machine_without_devices(pulse: Pulse) -> None:
    told = pulse.run("""
        import json, os
        os.environ["PULSE_SERVER"] = "unix:/nowhere"
        from pipeline.audio.portaudio import find_device, list_devices
        from pipeline.errors import CascadeError
        if list_devices():
            print(json.dumps("hardware"))
        else:
            try:
                find_device("output")
            except CascadeError as error:
                print(json.dumps(str(error)))
    """)
    if told == "hardware":
        pytest.skip("this machine has a sound card")
    assert told.startswith("There is no loudspeaker. Plug one in, or use a file")
