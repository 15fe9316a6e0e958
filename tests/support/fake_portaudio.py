"""A PortAudio without devices: the module sounddevice on a machine of the test's choice."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

LAPTOP = (
    {
        "name": "HDA: ALC662 Analog (hw:0,0)",
        "max_input_channels": 2,
        "max_output_channels": 2,
    },
    {"name": "USB Headset: Audio (hw:1,0)", "max_input_channels": 1, "max_output_channels": 2},
    {"name": "USB Camera: Audio (hw:2,0)", "max_input_channels": 1},
)


class PortAudioError(Exception):
    pass


class FakeStream:
    """What PortAudio gives out; the test calls back."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.latency = 0.05
        self.log: list[str] = []
        self.callback = settings["callback"]
        self.finished = settings["finished_callback"]

    def start(self) -> None:
        self.log.append("start")

    def abort(self, ignore_errors: bool) -> None:
        self.log.append("abort")

    def close(self, ignore_errors: bool) -> None:
        self.log.append("close")


class FakePortAudio(ModuleType):
    """The module sounddevice; to be put into `sys.modules`."""

    PortAudioError = PortAudioError

    def __init__(self, *listed: dict[str, Any], hosts: tuple[str, ...] = ("ALSA",)) -> None:
        super().__init__("sounddevice")
        self.devices = [
            {"index": i, "hostapi": 0, "default_samplerate": 48000.0, **info}
            for i, info in enumerate(listed)
        ]
        for info in self.devices:
            info.setdefault("max_input_channels", 0)
            info.setdefault("max_output_channels", 0)
        self.hosts = [
            {
                "name": name,
                "default_input_device": self._first(i, "input"),
                "default_output_device": self._first(i, "output"),
            }
            for i, name in enumerate(hosts)
        ]
        self.default = SimpleNamespace(hostapi=0)
        self.accepts: Callable[[int, int], bool] = lambda rate, channels: True
        self.error = PortAudioError("Invalid sample rate", -9997)
        self.opening: Callable[[dict[str, Any]], object] = lambda settings: None
        self.streams: list[FakeStream] = []

    def _first(self, host: int, kind: str) -> int:
        for info in self.devices:
            if info["hostapi"] == host and info[f"max_{kind}_channels"]:
                return int(info["index"])
        return -1

    def query_devices(self, index: int | None = None) -> Any:
        return self.devices if index is None else self.devices[index]

    def query_hostapis(self) -> Any:
        return tuple(self.hosts)

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        if not self.accepts(samplerate, channels):
            raise self.error

    check_output_settings = check_input_settings

    def InputStream(self, **settings: Any) -> FakeStream:  # noqa: N802
        if not self.accepts(settings["samplerate"], settings["channels"]):
            raise self.error
        self.opening(settings)
        self.streams.append(FakeStream(**settings))
        return self.streams[-1]

    RawInputStream = OutputStream = InputStream


Install = Callable[[FakePortAudio], FakePortAudio]
