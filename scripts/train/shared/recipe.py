"""What a recipe's ``run`` command is made of: checking what it needs, and running its steps.

A recipe is a list of steps, each a command.  A finished step leaves a mark in the work folder
and is not run again, unless its command changed or an earlier step had to run again.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1]
"""The folder that holds the recipes' packages."""


class RecipeError(Exception):
    """Something a person has to put right; the message says what and how."""


@dataclass(frozen=True)
class Step:
    """One command of a recipe.

    Attributes:
        name: what the step makes; names its mark in the work folder.
        module: the Python module to run (``python -m module``).
        arguments: its command line.
    """

    name: str
    module: str
    arguments: Sequence[object] = field(default=())

    def command(self) -> list[str]:
        """The whole command line, for this interpreter."""
        return [sys.executable, "-m", self.module, *map(str, self.arguments)]


def check_packages(requirements: Path) -> None:
    """See that every package of a requirements file with exact versions is installed.

    A different version only gives a note: it may work, but it is not what the recipe was
    tried with.

    Raises:
        RecipeError: packages are missing; says which, and the line that installs them.
    """
    missing = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        match = re.match(r"([\w.-]+)==(\S+)", line)
        if not match:
            continue
        name, wanted = match.groups()
        try:
            version = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            missing.append(f"{name} {wanted}")
            continue
        if version != wanted:
            print(f"note: {name} is {version}, the recipe was tried with {wanted}", file=sys.stderr)
    if missing:
        raise RecipeError(
            f"Python packages are missing: {', '.join(missing)}\n"
            f"install them with: {sys.executable} -m pip install -r {requirements}"
        )


def check_debian(needed: Mapping[str, Callable[[], bool]]) -> None:
    """See that what some Debian packages provide is there.

    Args:
        needed: for each Debian package, a function that tells whether what it provides is found.

    Raises:
        RecipeError: names the packages that are missing and the line that installs them.
    """
    missing = [package for package, found in needed.items() if not found()]
    if missing:
        raise RecipeError(
            f"Debian packages are missing: {', '.join(missing)}\n"
            f"install them with: sudo apt-get install {' '.join(missing)}"
        )


def festival_voices() -> set[str]:
    """The voices that Festival has; none where Festival is not installed."""
    try:
        answer = subprocess.run(
            ["festival", "-b", "(print (voice.list))"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return set()
    return set(answer.stdout.strip().strip("()").split())


def run_steps(
    steps: Iterable[Step], work: Path, environment: Mapping[str, str] | None = None
) -> None:
    """Run the steps that are not done yet, in order.

    Args:
        steps: the recipe.
        work: where the marks of finished steps are kept, in ``done/``.
        environment: variables to add to the steps' environment.

    Raises:
        RecipeError: a step failed; names it and its command.
    """
    marks = work / "done"
    marks.mkdir(parents=True, exist_ok=True)
    path = os.environ.get("PYTHONPATH", "")
    if str(TRAIN) not in path.split(os.pathsep):
        path = os.pathsep.join(filter(None, [str(TRAIN), path]))
    variables = {**os.environ, **(environment or {}), "PYTHONPATH": path}
    rerun = False
    for step in steps:
        mark, command = marks / f"{step.name}.json", step.command()
        if not rerun and mark.exists() and json.loads(mark.read_text()) == command[1:]:
            print(f"[{step.name}] done before", flush=True)
            continue
        rerun = True
        mark.unlink(missing_ok=True)
        print(f"[{step.name}] {shlex.join(command[1:])}", flush=True)
        begun = time.monotonic()
        status = subprocess.run(command, env=variables).returncode
        if status:
            raise RecipeError(
                f"the step {step.name!r} failed with exit status {status}; its command was:\n"
                f"PYTHONPATH={shlex.quote(path)} {shlex.join(command)}"
            )
        mark.write_text(json.dumps(command[1:]))
        print(f"[{step.name}] took {time.monotonic() - begun:.0f} s", flush=True)


def parser(model: str, description: str) -> argparse.ArgumentParser:
    """The command line that both recipes share."""
    ap = argparse.ArgumentParser(prog="run", description=description)
    ap.add_argument("work", type=Path, metavar="WORK_DIR", help="for everything in between")
    ap.add_argument("out", type=Path, metavar="OUT_DIR", help=f"where {model} is put")
    ap.add_argument(
        "--tiny",
        action="store_true",
        help="the whole recipe with tiny numbers, in a few minutes: shows that it works; "
        "the model it makes is useless",
    )
    ap.add_argument(
        "--bf16",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train in bfloat16: faster on processors with AVX512-BF16 or AMX, slower on others",
    )
    return ap


def command(main: Callable[[], None]) -> None:
    """Call a recipe's main function; a `RecipeError` becomes a message and exit status 1."""
    try:
        main()
    except RecipeError as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
