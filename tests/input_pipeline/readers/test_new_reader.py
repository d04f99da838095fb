"""The reader that docs/datasets.md shows is a whole one."""

import pathlib
import re

import pytest

from input_pipeline import readers
from input_pipeline.errors import DataError
from tests import layouts

DOCS = pathlib.Path(__file__).parents[3] / "docs" / "datasets.md"


@pytest.fixture
def with_example(tmp_path, monkeypatch) -> pathlib.Path:
    """A folder of readers with the documented one in it, beside the package's own."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 20
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "corridor.py").write_text(example, "utf-8")
    (tmp_path / "more" / "_shared.py").write_text('"""What several readers need."""\n', "utf-8")
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path / "more")])
    return tmp_path


def test_one_file_is_enough_for_a_new_dataset(with_example):
    for shot in layouts.shots():
        name = f"p{shot.identity}-cam{shot.camera}-{shot.index:04d}.jpg"
        layouts.save(shot, with_example / "corridor" / shot.split / name)
    assert "corridor" in readers.available()
    assert "_shared" not in readers.available()
    dataset = readers.read_dataset("corridor", with_example)
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (16, 4, 8)
    expected = {(shot.identity, shot.camera) for shot in layouts.shots() if shot.split == "train"}
    assert {(sample.identity, sample.camera) for sample in dataset.train} == expected
    with pytest.raises(DataError, match="corridor has no variant 'small'"):
        readers.read_dataset("corridor:small", with_example)
    layouts.save(layouts.shots()[0], with_example / "corridor" / "query" / "me.jpg")
    with pytest.raises(DataError, match=r"me.jpg: its name is not like p12-cam3-0001.jpg"):
        readers.read_dataset("corridor", with_example)
