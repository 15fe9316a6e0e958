"""The whole recipe: from nothing to en_US-mini.onnx, its report, samples and spectrograms."""

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
WORDNET = Path("/usr/share/wordnet")
VOICE = "cmu_us_slt_arctic_hts"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore:pkg_resources is deprecated:UserWarning",
}


@dataclass(frozen=True)
class Helping:
    """How much of each source a corpus takes, and how long it is trained on.

    Attributes:
        templates: sentences of templates.
        examples: examples of WordNet.
        docs: sentences of prose.
        steps: training steps.
        limit: use at most this many utterances.
    """

    templates: int
    examples: int
    docs: int
    steps: int
    limit: int

    def corpus(self) -> list[object]:
        """The arguments of `corpus` that say how much of each source."""
        counts = ["--templates", self.templates, "--examples", self.examples, "--docs", self.docs]
        return ["--wordnet", WORDNET, *counts]


@dataclass(frozen=True)
class Size:
    """The numbers of a recipe.

    Attributes:
        first: the first helping of sentences.
        second: another helping, for durations and pitch.
        held_out: utterances of the first helping that are only measured with.
        batch: utterances per training step.
        measured: at most how many sentences are measured with.
    """

    first: Helping
    second: Helping
    held_out: int
    batch: int
    measured: int


FULL = Size(
    first=Helping(templates=1900, examples=2200, docs=500, steps=9000, limit=10000),
    second=Helping(templates=1200, examples=2400, docs=500, steps=1300, limit=2550),
    held_out=64,
    batch=24,
    measured=64,
)
TINY = Size(
    first=Helping(templates=40, examples=40, docs=10, steps=20, limit=120),
    second=Helping(templates=20, examples=20, docs=5, steps=10, limit=30),
    held_out=8,
    batch=8,
    measured=4,
)


def steps(work: Path, out: Path, size: Size, *, bf16: bool) -> list[Step]:
    """The steps of the recipe, in order."""
    voice = out / "en_US-mini.onnx"
    first, second = size.first, size.second
    corpus, more = work / "corpus.txt", work / "more.txt"
    data, more_data = work / "data.pt", work / "more.pt"
    early, student = work / "first.pt", work / "student.pt"
    training = ["--batch", size.batch, "--held-out", size.held_out, *["--bf16"] * bf16]
    measured = ["--voice", voice, "--data", data, "--teacher", work / "teacher"]

    def module(name: str, step: str, *arguments: object) -> Step:
        return Step(step, f"en_us_mini.{name}", arguments)

    def examples(step: str, sentences: Path, teacher: Path, result: Path, limit: int) -> Step:
        read = ["--corpus", sentences, "--teacher", teacher, "--out", result, "--limit", limit]
        return module("examples", step, *read)

    return [
        module("corpus", "corpus", "--out", corpus, *first.corpus()),
        module("teacher", "teacher", "--corpus", corpus, "--out", work / "teacher"),
        examples("examples", corpus, work / "teacher", data, first.limit),
        module(
            "train", "train", "--data", data, "--out", early, "--steps", first.steps, *training
        ),
        module(
            "corpus", "more-corpus", "--out", more, "--seed", 8, "--exclude", corpus,
            *second.corpus(),
        ),
        module("teacher", "more-teacher", "--corpus", more, "--out", work / "teacher2"),
        examples("more-examples", more, work / "teacher2", more_data, second.limit),
        module(
            "train", "more-train", "--data", data, "--more", more_data, "--init", early,
            "--out", student, "--steps", second.steps, "--lr", 5e-4, *training,
        ),
        module("export", "export", "--checkpoint", student, "--data", data, "--out", voice),
        module(
            "evaluate", "evaluate", *measured, "--held-out", size.held_out,
            "--unseen", HERE / "sentences" / "unseen.txt", "--limit", size.measured,
            "--report", out / "report.json",
        ),
        module("samples", "samples", "--voice", voice, "--out", out / "samples"),
        module("spectrogram", "spectrogram", *measured, "--out", out / "spectrogram.png"),
    ]  # fmt: skip


def main() -> None:
    """Run the recipe."""
    ap = parser("en_US-mini.onnx", "Make the voice en_US-mini.")
    args = ap.parse_args()
    check_debian(
        {
            "festival": lambda: which("festival") is not None,
            "festvox-us-slt-hts": lambda: VOICE in festival_voices(),
            "wordnet-base": lambda: any(WORDNET.glob("data.*")),
        }
    )
    check_packages(HERE / "requirements.txt")
    work, out = args.work.resolve(), args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    run_steps(steps(work, out, TINY if args.tiny else FULL, bf16=args.bf16), work, ENVIRONMENT)
    print(f"the voice is {out / 'en_US-mini.onnx'}")


if __name__ == "__main__":
    command(main)
