"""The whole recipe: from nothing to the model whisper-mini-en, its reports and samples."""

from dataclasses import dataclass
from pathlib import Path
from shutil import which

from shared.recipe import (
    Step,
    check_debian,
    check_packages,
    command,
    festival_voices,
    parser,
    run_steps,
)

HERE = Path(__file__).parent
# One thread for NumPy, and an allocator that keeps large blocks instead of returning them to the
# system after every training step (fewer page faults).
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


@dataclass(frozen=True)
class Size:
    """The numbers of a recipe.

    Attributes:
        training: utterances of the training set.
        seen: held-out utterances with voices of the training set.
        unseen: held-out utterances with other voices.
        samples: utterances that samples are picked from, of either kind of voice.
        minutes: of training.
        report: training reports every so many steps.
        silences: seconds of each kind of audio without speech.
    """

    training: int
    seen: int
    unseen: int
    samples: tuple[int, int]
    minutes: float
    report: int
    silences: tuple[float, ...]


FULL = Size(
    training=28000,
    seen=400,
    unseen=300,
    samples=(100, 80),
    minutes=80,
    report=100,
    silences=(0.5, 1, 2, 3, 5, 8, 15, 29),
)
TINY = Size(
    training=200,
    seen=6,
    unseen=6,
    samples=(8, 8),
    minutes=0.4,
    report=10,
    silences=(0.5,),
)


def steps(work: Path, out: Path, size: Size, *, bf16: bool) -> list[Step]:
    """The steps of the recipe, in order."""
    data, tokenizer = work / "data", work / "tokenizer.json"
    checkpoint, model = work / "last.pt", out / "whisper-mini-en"
    held_out = [data / "heldout_seen", data / "heldout_unseen"]
    seen, unseen = size.samples

    def module(name: str, step: str, *arguments: object) -> Step:
        return Step(step, f"whisper_mini_en.{name}", arguments)

    def synthesis(name: str, n: int, split: str, voices: str, seed: int, p_random: float) -> Step:
        drawn = ["--split", split, "--voices", voices, "--seed", seed, "--random", p_random]
        return module("synthesis", name, data / name, n, *drawn)

    def evaluate(name: str, *arguments: object) -> Step:
        report = ["--report", out / f"{name}.json"]
        return module("evaluate", name, model, *arguments, *report)

    def samples(split: str) -> Step:
        folders = [data / f"{split}_samples_seen", data / f"{split}_samples_unseen"]
        return module("samples", f"{split}_samples", *folders, out / split, split)

    return [
        module("features", "features"),
        module("tokenizer", "tokenizer", work / "gpt2.tiktoken", tokenizer),
        synthesis("heldout_seen", size.seen, "heldout", "seen", 21, 0.15),
        synthesis("heldout_unseen", size.unseen, "heldout", "unseen", 22, 0.15),
        synthesis("heldout_samples_seen", seen, "heldout", "seen", 31, 0),
        synthesis("heldout_samples_unseen", unseen, "heldout", "unseen", 3131, 0),
        synthesis("dev_samples_seen", seen, "dev", "seen", 41, 0),
        synthesis("dev_samples_unseen", unseen, "dev", "unseen", 4141, 0),
        synthesis("train", size.training, "train", "seen", 1, 0.2),
        module(
            "train", "training", "--data", data / "train", "--tokenizer", tokenizer,
            "--out", checkpoint, "--minutes", size.minutes, "--report", size.report,
            *["--bf16"] * bf16,
        ),
        module("export", "export", checkpoint, tokenizer, model),
        evaluate("beam1", *held_out, "--beam", 1),
        evaluate("beam5", *held_out, "--beam", 5),
        evaluate("window500", *held_out, "--window", 500),
        module("evaluate", "silence", model, "--silence", "--seconds", *size.silences),
        samples("heldout"),
        samples("dev"),
    ]  # fmt: skip


def main() -> None:
    """Run the recipe."""
    args = parser("the folder whisper-mini-en", "Make the recogniser whisper-mini-en.").parse_args()
    check_debian(
        {
            "espeak-ng": lambda: which("espeak-ng") is not None,
            "flite": lambda: which("flite") is not None,
            "festival": lambda: which("festival") is not None,
            "festvox-us-slt-hts": lambda: "cmu_us_slt_arctic_hts" in festival_voices(),
            "festvox-kdlpc16k": lambda: "ked_diphone" in festival_voices(),
        }
    )
    check_packages(HERE / "requirements.txt")
    work, out = args.work.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    run_steps(steps(work, out, TINY if args.tiny else FULL, bf16=args.bf16), work, ENVIRONMENT)
    print(f"the recogniser is {out / 'whisper-mini-en'}")


if __name__ == "__main__":
    command(main)
