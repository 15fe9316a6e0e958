"""What of a profile's header its report and its trace need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.measure.record import Record


def variants(header: Mapping[str, Any], records: Iterable[Record]) -> list[str]:
    """Names of the variants: as the header lists them, then those that only records have."""
    listed = header.get("variants")
    names = list(listed) if isinstance(listed, Mapping) else []
    return list(dict.fromkeys([*names, *(record.variant for record in records)]))
