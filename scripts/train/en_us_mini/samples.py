"""Write a few sample WAV files with a finished voice."""

import argparse
import wave
from pathlib import Path

from piper import PiperVoice

TEXTS = [
    "Hello! I am the mini voice. How can I help you today?",
    "The weather in Lisbon is sunny, with a high of 24 degrees and a light wind from the west.",
    "I am sorry, I could not find that file. Would you like me to try again?",
    "Your meeting with Doctor Smith is on Tuesday, March 3rd, at 10:45 in the morning.",
    "A rainbow appears when sunlight is bent and reflected inside drops of rain; each color "
    "leaves the drop at a slightly different angle.",
]


def main() -> None:
    """Write the samples."""
    ap = argparse.ArgumentParser(description="Write a few samples of a voice.")
    ap.add_argument("--voice", type=Path, required=True, help="the .onnx file")
    ap.add_argument("--out", type=Path, required=True, help="folder for the WAV files")
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    voice = PiperVoice.load(args.voice)
    for i, text in enumerate(TEXTS, 1):
        with wave.open(str(args.out / f"sample{i}.wav"), "wb") as file:
            voice.synthesize_wav(text, file)


if __name__ == "__main__":
    main()
