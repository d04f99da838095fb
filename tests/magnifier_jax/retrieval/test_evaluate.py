"""Evaluation against golden numbers and a plain float64 implementation."""

from pathlib import Path

import numpy as np
import pytest

from magnifier_jax import retrieval

GOLDEN = Path(__file__).parents[2] / "golden" / "retrieval_seed0.npz"
ARGUMENTS = (
    "query",
    "gallery",
    "query_ids",
    "gallery_ids",
    "query_cameras",
    "gallery_cameras",
)


@pytest.mark.parametrize("case", ["easy", "hard", "ties", "small"])
def test_golden(case):
    golden = np.load(GOLDEN)
    result = retrieval.evaluate(*(golden[f"{case}_{name}"] for name in ARGUMENTS))
    cmc = golden[f"{case}_cmc"]
    np.testing.assert_allclose(result.cmc[: len(cmc)], cmc, atol=1e-6)
    np.testing.assert_allclose(result.mAP, golden[f"{case}_mAP"], atol=1e-9)
    np.testing.assert_allclose(result.mINP, golden[f"{case}_mINP"], atol=1e-9)
    assert result.cmc.shape == (50,)
