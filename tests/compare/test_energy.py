"""The processor's energy, from a folder that looks as Linux makes it."""

from __future__ import annotations

from pathlib import Path

from pipeline.compare import energy


def counter(folder: Path, package: int, spent: int, limit: int = 1_000_000) -> None:
    zone = folder / f"intel-rapl:{package}"
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{spent}\n")
    (zone / "max_energy_range_uj").write_text(f"{limit}\n")


def test_all_packages_count(tmp_path: Path) -> None:
    counter(tmp_path, 0, 100)
    counter(tmp_path, 1, 200)
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of package 0
    before = energy.read(tmp_path)
    counter(tmp_path, 0, 500_100)
    counter(tmp_path, 1, 250_200)
    assert energy.since(before, tmp_path) == 0.75


def test_a_counter_begins_again(tmp_path: Path) -> None:
    counter(tmp_path, 0, 900_000)
    before = energy.read(tmp_path)
    counter(tmp_path, 0, 100_000)
    assert energy.since(before, tmp_path) == 0.2


def test_nothing_is_told_where_nothing_is_known(tmp_path: Path) -> None:
    assert energy.since(energy.read(tmp_path), tmp_path) is None
    before = energy.read(tmp_path)
    counter(tmp_path, 0, 1)
    assert energy.since(before, tmp_path) is None
    assert energy.read(tmp_path / "nowhere") == {}


def test_a_counter_that_is_no_number_is_none(tmp_path: Path) -> None:
    counter(tmp_path, 0, 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("denied")
    assert energy.read(tmp_path) == {}
