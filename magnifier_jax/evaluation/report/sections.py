"""Sections of the report about robustness."""

from __future__ import annotations

import pathlib
import re


def robustness_file(workdir: pathlib.Path, *, test_set: str | None = None) -> pathlib.Path:
    """Where a run keeps its figures: of its own test set (None), or of another one."""
    suffix = "" if test_set is None else "-" + re.sub(r"[^\w.+-]+", "-", test_set)
    return workdir / f"robustness{suffix}.json"
