"""The cells of the report's tables: what the summary holds of one figure of one path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Cell = dict[str, Any]

UNDECIDED = "no difference shown"
"""The verdict of a difference that might as well be none."""


def row(label: str, unit: str, cells: Iterable[Cell | None], note: str = "") -> dict[str, Any]:
    """A line of a table: a figure of each path, and what it is."""
    return {"label": label, "unit": unit, "note": note, "cells": list(cells)}


def group(title: str, caption: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A table."""
    return {"title": title, "caption": caption, "rows": list(rows)}


def cell(
    value: float | None, ci: Any = None, note: str = "", difference: Any = None
) -> Cell | None:
    """A figure; None where there is neither a value nor something to say of it."""
    if value is None and not note:
        return None
    return {"value": value, "ci": ci, "note": note, "difference": difference}


def median(stats: Any, note: str = "", against: Any = None) -> Cell | None:
    """The median of a distribution, with what it is compared by."""
    if not stats:
        return None
    told = "; ".join(filter(None, (f"n {stats['n']}", note)))
    return cell(stats["median"], stats.get("ci95"), told, difference(against))


def share(stats: Any, note: str = "", against: Any = None) -> Cell | None:
    """How many of some things are so."""
    if not stats or not stats.get("n"):
        return None
    told = "; ".join(filter(None, (f"{stats['met']} of {stats['n']}", note)))
    return cell(stats["share"], stats["ci95"], told, difference(against))


def difference(found: Any) -> dict[str, Any] | None:
    """A difference of medians, or of shares."""
    if not found:
        return None
    return {
        "value": found.get("median", found.get("difference")),
        "ci": found.get("ci95"),
        "n": found.get("n"),
        "verdict": found["verdict"] + (", within the machine's noise" * _noisy(found)),
        "clear": found["verdict"] != UNDECIDED,
    }


def _noisy(found: Mapping[str, Any]) -> bool:
    return bool(found.get("within_noise")) and found["verdict"] != UNDECIDED


def of(variant: Mapping[str, Any], *names: str) -> Any:
    """A value inside nested mappings; None where it ends early."""
    found: Any = variant
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
