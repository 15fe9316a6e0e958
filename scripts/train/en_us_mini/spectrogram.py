"""Spectrogram and F0 of teacher and student, one above the other, as a PNG."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from piper import PiperVoice

from en_us_mini import teacher
from en_us_mini.evaluate import say
from en_us_mini.examples import Example, load
from en_us_mini.features import SR, pitch


def draw(voice: PiperVoice, items: list[Example], folder: Path) -> Figure:
    """Two spectrograms per sentence: the teacher's and the voice's."""
    figure = Figure(figsize=(13, 6 * len(items)), layout="tight")
    axes = figure.subplots(2 * len(items), 1)
    noise = np.random.default_rng(0)
    for k, item in enumerate(items):
        speakers = {
            "teacher": teacher.recording(folder, item["number"]),
            "student": say(voice, item["text"]),
        }
        for axis, (name, x) in zip(axes[2 * k :], speakers.items(), strict=False):
            # a little noise, as silence has no logarithm
            x = x + 1e-6 * noise.standard_normal(len(x))
            axis.specgram(x, NFFT=512, Fs=SR, noverlap=448, vmin=-130, vmax=-35, cmap="magma")
            f0, times = pitch(x, 5.0)
            axis.plot(times, np.where(f0 > 0, f0 * 10, np.nan), color="cyan", lw=1.5)
            axis.set_title(f"{name}: {item['text']}  (cyan: F0 x 10)", fontsize=9)
    return figure


def main() -> None:
    """Write the picture."""
    ap = argparse.ArgumentParser(description="Spectrograms of teacher and student.")
    ap.add_argument("--voice", type=Path, required=True, help="the .onnx file")
    ap.add_argument("--data", type=Path, required=True)
    ap.add_argument("--teacher", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True, help="the PNG file")
    ap.add_argument("--which", type=int, nargs="+", default=[0, 1], help="held-out sentences")
    args = ap.parse_args()
    data = load(args.data)
    figure = draw(PiperVoice.load(args.voice), [data[i] for i in args.which], args.teacher)
    figure.savefig(args.out, dpi=75)


if __name__ == "__main__":
    main()
