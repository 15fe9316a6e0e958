"""`cascade talk`: a written reply is spoken as people read it, in the voice's language."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from servers.llm_server import reply
from support.cli_child import recording, run, scripted

from pipeline.models.catalogue import Catalogue

# (espeak-ng's voice, what the model writes, the clauses of the voice)
TALKS = [
    (
        "en-us",
        r"<sigh> At -5 °C the root is \( x = \frac{1}{2} \). King George VI paid $49.95 at 120 "
        "km/h. [pause] *Very* good: the code is 4821, and it is open 24/7.",
        [
            "At minus 5 degrees Celsius the root is x equals 1 half.",
            "King George the 6th paid 49 dollars 95 at 120 kilometers per hour.",
            "Very good: the code is 4 8 2 1, and it is open 24 7.",
        ],
    ),
    (
        "de",
        "Das kostet ca. 20 €, z. B. im Geschäft Nr. 5. Dr. Meier kommt am 3. Mai um 14.30 Uhr. Es "
        "sind −5 °C.",
        [
            "Das kostet circa 20 Euro, zum Beispiel im Geschäft Nummer 5.",
            "Doktor Meier kommt am dritten Mai um 14 Uhr 30.",
            "Es sind minus 5 Grad Celsius.",
        ],
    ),
    (
        "pt-br",
        "O Sr. Silva paga R$ 3,50 na Av. Paulista, etc. Hoje faz –5 °C, amanhã 10–20 °C.",
        [
            "O senhor Silva paga 3 reais e 50 na avenida Paulista, etcétera.",
            "Hoje faz menos 5 graus Celsius, amanhã 10 a 20 graus Celsius.",
        ],
    ),
]


@pytest.mark.parametrize(("language", "written", "said"), TALKS, ids=[talk[0] for talk in TALKS])
def test_a_reply_is_spoken_as_people_read_it(
    tmp_path: Path, language: str, written: str, said: list[str]
) -> None:
    model = Catalogue.load().resolve("tts", "en_US-mini").path
    voice = tmp_path / "voice.onnx"
    shutil.copy(model, voice)
    config = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
    config["espeak"]["voice"] = language
    Path(f"{voice}.json").write_text(json.dumps(config), encoding="utf-8")
    trace = tmp_path / "trace.jsonl"
    letters = [written[i : i + 3] for i in range(0, len(written), 3)]
    with scripted(otherwise=reply(*letters)) as llm:
        done = run(
            *("talk", "--fast", "--mode", "sequential", "--llm", llm.url, "--voice", voice),
            *(f"--input={recording(5)}", f"--output={tmp_path / 'out.wav'}", f"--trace={trace}"),
        )
    assert done.code == 0, done.err
    marks = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    assert [mark["text"] for mark in marks if mark.get("mark") == "clause"] == said
