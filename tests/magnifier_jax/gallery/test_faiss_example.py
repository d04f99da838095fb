"""The FAISS example of the documentation, run as it is written there."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

from magnifier_jax.gallery import Gallery

DOCUMENT = Path(__file__).parents[3] / "docs" / "retrieval.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_finds_what_search_finds(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    example = next(block for block in blocks if "import faiss" in block)
    generator = np.random.default_rng(0)
    gallery = Gallery.build(
        generator.standard_normal((70, 9)).astype(np.float32),
        names=[f"{row}.jpg" for row in range(70)],
    )
    monkeypatch.chdir(tmp_path)
    gallery.save("gallery.npz")
    scope, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, str(DOCUMENT), "exec"), scope)
    expected = gallery.search(gallery.descriptors[:2], top=5)
    np.testing.assert_array_equal(scope["found"], expected.indices)
    np.testing.assert_allclose(np.sqrt(scope["squared_distances"]), expected.distances, atol=1e-3)
    assert printed.getvalue().strip() == str(expected.names.tolist())
