import functools
import platform
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.fake_portaudio import LAPTOP, FakePortAudio, Install, PortAudioError

from pipeline.audio import portaudio
from pipeline.audio.portaudio import DeviceKind, Owner, find_device, list_devices
from pipeline.errors import BadInput, CascadeError, StageError


def test_lists_what_there_is(install: Install) -> None:
    install(FakePortAudio(*LAPTOP))
    found = list_devices()
    assert [(device.index, device.kind, device.default) for device in found] == [
        (0, "input", True),
        (0, "output", True),
        (1, "input", False),
        (1, "output", False),
        (2, "input", False),
    ]
    assert str(found[0]) == ("microphone 0: HDA: ALC662 Analog (hw:0,0), ALSA, 48000 Hz (default)")


@pytest.mark.parametrize(
    ("kind", "wanted", "index"),
    [
        ("input", "", 0),
        ("output", "", 0),
        ("input", "2", 2),
        ("input", "camera", 2),
        ("input", "usb headset: audio (hw:1,0)", 1),
        ("output", "USB", 1),  # the camera has no loudspeaker
    ],
)
def test_finds_a_device(install: Install, kind: DeviceKind, wanted: str, index: int) -> None:
    install(FakePortAudio(*LAPTOP))
    device = find_device(kind, wanted)
    assert (device.index, device.kind, device.rate, device.channels) == (index, kind, 48000, 1)


@pytest.mark.parametrize(
    ("kind", "wanted", "words"),
    [
        ("input", "USB", r"may be any of 1 \(USB Headset.*, 2 \(USB Camera.*use the number"),
        ("input", "USB Heatset: Audio", "did you mean USB Headset"),
        ("input", "zzz", "no microphone 'zzz'.*cascade doctor"),
        ("output", "2", "no loudspeaker number 2.*cascade doctor"),
        ("input", "7", "no microphone number 7"),
    ],
)
def test_says_which_names_there_are(
    install: Install, kind: DeviceKind, wanted: str, words: str
) -> None:
    install(FakePortAudio(*LAPTOP))
    with pytest.raises(BadInput, match=words):
        find_device(kind, wanted)


def test_says_that_there_is_none(install: Install) -> None:
    install(FakePortAudio())
    assert list_devices() == []
    with pytest.raises(CascadeError, match=r"no microphone.*--input FILE"):
        find_device("input")
    fake = install(FakePortAudio(*LAPTOP))
    fake.hosts[0]["default_input_device"] = -1
    with pytest.raises(CascadeError, match=r"no default microphone.*audio\.input_device"):
        find_device("input")


def test_prefers_wasapi_on_windows(install: Install) -> None:
    name = {"name": "Headset", "max_input_channels": 1}
    install(
        FakePortAudio(
            {**name, "hostapi": 0}, {**name, "hostapi": 1}, hosts=("MME", "Windows WASAPI")
        )
    )
    assert find_device("input").index == 1
    assert find_device("input", "headset").index == 1


@pytest.mark.parametrize(
    ("accepts", "rate", "channels"),
    [
        (lambda rate, channels: rate == 44100 and channels == 1, 44100, 1),
        (lambda rate, channels: rate == 16000, 16000, 1),
        (lambda rate, channels: channels == 2, 48000, 2),
        (lambda rate, channels: channels == 8, 48000, 8),
    ],
)
def test_takes_what_a_device_accepts(
    install: Install, accepts: Callable[[int, int], bool], rate: int, channels: int
) -> None:
    fake = install(FakePortAudio({"name": "Odd", "max_input_channels": 8}))
    fake.accepts = accepts
    device = find_device("input")
    assert (device.rate, device.channels) == (rate, channels)


@pytest.mark.parametrize(("host", "rate"), [("ALSA", 48000), ("Core Audio", 44100)])
def test_what_alsa_converts_for_is_opened_at_the_rate_of_sound_servers(
    install: Install, host: str, rate: int
) -> None:
    own = {"name": "default", "max_input_channels": 1, "default_samplerate": 44100.0}
    install(FakePortAudio(own, hosts=(host,)))
    assert find_device("input").rate == rate


def test_says_why_a_device_does_not_open(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    fake.accepts = lambda rate, channels: False
    fake.error = PortAudioError("Device unavailable", -9985)
    with pytest.raises(StageError, match="Close the program that is using it") as caught:
        find_device("input")
    assert caught.value.fatal
    assert caught.value.stage == "audio"


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "sudo apt-get install libportaudio2"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "sudo apt-get install libportaudio2"),
        ({"ID": "fedora"}, "sudo dnf install portaudio"),
        ({"ID": "manjaro", "ID_LIKE": "arch"}, "sudo pacman -S portaudio"),
        ({}, "package portaudio of your system"),
    ],
)
def test_knows_the_line_for_each_system(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, str], line: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert line in portaudio._install()


def test_one_thread_does_all(install: Install) -> None:
    fake = install(FakePortAudio(*LAPTOP))
    own = Owner()
    calls: list[tuple[int, int]] = []

    def note(i: int, sounddevice: Any) -> None:
        assert sounddevice is fake
        calls.append((i, threading.get_ident()))

    for future in [own.submit(functools.partial(note, i)) for i in range(5)]:
        future.result()
    assert [i for i, _ in calls] == list(range(5))
    assert len({thread for _, thread in calls}) == 1
    assert calls[0][1] != threading.get_ident()


def test_errors_come_back_and_end_nothing(install: Install) -> None:
    install(FakePortAudio(*LAPTOP))
    own = Owner()

    def fail(sounddevice: Any) -> None:
        raise PortAudioError("no")

    with pytest.raises(PortAudioError):
        own.submit(fail).result()
    assert own.submit(lambda sounddevice: 5).result() == 5
