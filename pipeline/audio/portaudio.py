"""PortAudio: which microphones and loudspeakers there are, and the one thread that may ask."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import difflib
import functools
import logging
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

from pipeline.errors import BadInput, CascadeError, StageError

T = TypeVar("T")

log = logging.getLogger(__name__)

DeviceKind = Literal["input", "output"]

WORDS: dict[DeviceKind, str] = {"input": "microphone", "output": "loudspeaker"}
SETTINGS: dict[DeviceKind, str] = {"input": "audio.input_device", "output": "audio.output_device"}

RATES = (48000, 44100, 16000)
"""Sample rates to try where a device refuses the one that it calls its own (Hz)."""

PREFERRED_HOST = "Windows WASAPI"
"""PortAudio's own choice on Windows is MME: some 100 ms slower, and names are cut at 31 letters."""

UNAVAILABLE = -9985
"""PortAudio's `paDeviceUnavailable`."""

INSTALL = {
    "debian": "sudo apt-get install libportaudio2",
    "ubuntu": "sudo apt-get install libportaudio2",
    "fedora": "sudo dnf install portaudio",
    "rhel": "sudo dnf install portaudio",
    "suse": "sudo zypper install libportaudio2",
    "arch": "sudo pacman -S portaudio",
    "alpine": "sudo apk add portaudio",
}
"""How to get PortAudio, by `ID` or `ID_LIKE` of os-release; elsewhere the wheel brings it."""


ALSA = "ALSA"
"""The sound system of Linux, as PortAudio calls it; sound servers stand behind it."""


@dataclass(frozen=True, slots=True)
class Device:
    """One end of a sound card.

    Attributes:
        index: PortAudio's number for it, until something is plugged in or out.
        name: What the system calls it.
        host: The sound system it is reached through: ALSA, Core Audio, Windows WASAPI, …
        kind: `input` for a microphone, `output` for a loudspeaker.
        rate: Its sample rate (Hz): its own, so that only our resampler converts.
        channels: How many to open; more than 1 only where it refuses mono.
        default: Whether it is the system's choice.
    """

    index: int
    name: str
    host: str
    kind: DeviceKind
    rate: int
    channels: int
    default: bool

    def __str__(self) -> str:
        text = f"{WORDS[self.kind]} {self.index}: {self.name}, {self.host}, {self.rate} Hz"
        return f"{text} (default)" if self.default else text


def list_devices() -> list[Device]:
    """All microphones and loudspeakers; what can do both is there twice. None of them is opened.

    Raises:
        CascadeError: PortAudio is not installed, or does not start.
    """
    return owner().submit(_list).result()


def find_device(kind: DeviceKind, wanted: str = "") -> Device:
    """Choose a device, and the rate and channels at which it opens.

    Args:
        kind: `input` or `output`.
        wanted: Its number, its name, or a part of its name; empty for the system's choice.

    Raises:
        BadInput: No device, or more than one, goes by that name.
        CascadeError: There is none of that kind, or PortAudio is missing.
        StageError: Of stage `audio`, fatal: it cannot be opened.
    """
    return owner().submit(functools.partial(_find, kind, wanted)).result()


def _list(sounddevice: Any) -> list[Device]:
    hosts = list(sounddevice.query_hostapis())
    preferred = next((host for host in hosts if host["name"] == PREFERRED_HOST), None)
    if preferred is None and hosts:
        preferred = hosts[sounddevice.default.hostapi]
    kinds: tuple[DeviceKind, DeviceKind] = ("input", "output")
    return [
        Device(
            index=info["index"],
            name=info["name"],
            host=hosts[info["hostapi"]]["name"],
            kind=kind,
            rate=int(info["default_samplerate"]),
            channels=1,
            default=bool(preferred and info["index"] == preferred[f"default_{kind}_device"]),
        )
        for info in sounddevice.query_devices()
        for kind in kinds
        if info[f"max_{kind}_channels"] > 0
    ]


def _find(kind: DeviceKind, wanted: str, sounddevice: Any) -> Device:
    every = _list(sounddevice)
    device = _choose(kind, wanted, [device for device in every if device.kind == kind])
    most = sounddevice.query_devices(device.index)[f"max_{kind}_channels"]
    check = getattr(sounddevice, f"check_{kind}_settings")
    refused: Exception | None = None
    # Of what takes any rate, as sound servers do, PortAudio calls 44100 its own; they run at 48000.
    rates = RATES if device.host == ALSA else (device.rate, *RATES)
    for rate in dict.fromkeys((*rates, device.rate)):
        for channels in sorted({1, min(2, most), most}):
            try:
                check(device=device.index, channels=channels, dtype="int16", samplerate=rate)
            except sounddevice.PortAudioError as error:
                refused = refused or error
            else:
                return dataclasses.replace(device, rate=rate, channels=channels)
    assert refused is not None
    raise cannot_open(device, refused)


def _choose(kind: DeviceKind, wanted: str, devices: Sequence[Device]) -> Device:
    """The device that goes by a name or a number."""
    word, setting = WORDS[kind], SETTINGS[kind]
    if not devices:
        raise CascadeError(
            f"There is no {word}. Plug one in, or use a file: cascade talk --{kind} FILE.wav"
        )
    listing = "cascade doctor lists what there is."
    if not wanted:
        for device in devices:
            if device.default:
                return device
        raise CascadeError(f"The system has no default {word}. Set {setting}; {listing}")
    if wanted.isdecimal():
        for device in devices:
            if device.index == int(wanted):
                return device
        raise BadInput(f"{setting}: there is no {word} number {wanted}; {listing}")
    key = wanted.casefold()
    found = [device for device in devices if device.name.casefold() == key]
    found = found or [device for device in devices if key in device.name.casefold()]
    if not found:
        names = {device.name.casefold(): device.name for device in devices}
        close = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
        hint = "; did you mean " + " or ".join(names[name] for name in close) + "?" if close else ""
        raise BadInput(f"{setting}: there is no {word} {wanted!r}{hint or '; ' + listing}")
    if len({device.name for device in found}) > 1:
        some = ", ".join(f"{device.index} ({device.name})" for device in found[:5])
        raise BadInput(f"{setting}: {wanted!r} may be any of {some}; use the number")
    # One device, seen through several sound systems of Windows.
    return next((device for device in found if device.host == PREFERRED_HOST), found[0])


def cannot_open(device: Device, error: Exception) -> StageError:
    """Say that a device does not open, from what PortAudio said."""
    why = str(error.args[0]) if error.args else type(error).__name__
    what = "Choose another one"
    if len(error.args) > 1 and error.args[1] == UNAVAILABLE:
        what = "Close the program that is using it, or choose another one"
    return StageError(
        "audio",
        f"{WORDS[device.kind]} {device.name}: does not open: {why.strip()}. "
        f"{what} with {SETTINGS[device.kind]}; cascade doctor lists what there is.",
        fatal=True,
    )


class Owner:
    """The thread in which every call into PortAudio happens.

    PortAudio is not thread-safe, and on Windows (WASAPI, which is COM) only the thread that
    initialised it may open a stream. Being nobody's loop, it may also hang in a broken driver
    without taking the program with it.
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[Any], Any]]] = SimpleQueue()
        threading.Thread(target=self._run, name="portaudio", daemon=True).start()

    def submit(self, work: Callable[[Any], T]) -> Future[T]:
        """Have `work(sounddevice)` done; the first one loads the library."""
        future: Future[T] = Future()
        self._waiting.put((future, work))
        return future

    def _run(self) -> None:
        while True:
            future, work = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work(_load()))
            except BaseException as error:
                future.set_exception(error)


@functools.cache
def owner() -> Owner:
    """The process's one owner of PortAudio, which is itself one per process."""
    return Owner()


def _alsa_says(file: bytes, line: int, function: bytes, error: int, message: bytes) -> None:
    log.debug("ALSA: %s: %s", function.decode(), message.decode(errors="replace"))


_ALSA_SAYS = ctypes.CFUNCTYPE(None, *(ctypes.c_char_p, ctypes.c_int) * 2, ctypes.c_char_p)(
    _alsa_says
)


@functools.cache
def _quieten_alsa() -> None:
    """Keep ALSA from printing on the terminal what it gets over by itself, such as an underrun."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_ALSA_SAYS)


def _load() -> Any:
    try:
        import sounddevice
    except OSError:
        raise CascadeError(
            "The PortAudio library is missing, without which there is no microphone and no "
            f"loudspeaker.\nInstall it: {_install()}"
        ) from None
    except ImportError:
        raise CascadeError(
            "The Python package sounddevice is missing.\nInstall it: pip install sounddevice"
        ) from None
    except Exception as error:
        raise CascadeError(
            f"PortAudio does not start: {error}. Is a sound system running?"
        ) from error
    _quieten_alsa()
    return sounddevice


def _install() -> str:
    """The line that installs PortAudio on this system."""
    if sys.platform != "linux":
        return "pip install --force-reinstall sounddevice"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    for system in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if system in INSTALL:
            return INSTALL[system]
    return f"{INSTALL['debian']} (Debian, Ubuntu), or the package portaudio of your system"
