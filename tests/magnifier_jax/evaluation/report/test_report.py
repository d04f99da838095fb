import html.parser

import jax
import numpy as np
import pytest

from magnifier_jax.datasets import open_test_sets
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.evaluation import Evaluator, rank
from magnifier_jax.evaluation.report.drawing import Mark
from magnifier_jax.evaluation.report.report import pick_examples, write_report
from magnifier_jax.training.log import RunLog
from magnifier_jax.workdir import WorkDirectory


class Page(html.parser.HTMLParser):
    """Counts classes, and remembers what the page refers to and says."""

    def __init__(self, text):
        super().__init__()
        self.classes, self.sources, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.classes.append(given.get("class"))
        self.sources += [given[name] for name in ("src", "href") if name in given]

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:1])


@pytest.fixture(scope="module")
def trained(tiny_run, mesh):
    return load_trained(tiny_run.workdir.path, mesh)


@pytest.fixture(scope="module")
def test_set(tiny_run):
    return open_test_sets(tiny_run.config, progress=False)[0]


@pytest.fixture(scope="module")
def ranked(tiny_run, trained, test_set, mesh):
    evaluator = Evaluator(tiny_run.config, trained.model, [test_set], mesh, progress=False)
    evaluator(trained.variables)
    return evaluator.first


def test_report_is_one_file_with_everything(tiny_run, trained, test_set, ranked, mesh, tmp_path):
    workdir = WorkDirectory(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(tiny_run.workdir.metrics.read_bytes())
    with RunLog(workdir, resume_step=3) as log:
        path = write_report(
            workdir,
            trained,
            scores=tiny_run.result.scores,
            ranked=ranked,
            untrained=tiny_run.result.untrained,
            mesh=mesh,
            log=log,
        )
    assert path == tmp_path / "report.html"
    page = Page(path.read_text("utf-8"))
    said = " ".join(page.text)
    assert "synthetic_tiny, untrained" in said
    assert f"{100 * tiny_run.result.scores[0].plain.mAP:.1f}" in said
    assert "Total loss" in said
    assert "upper arm" in said
    assert "Identity loss of each part" in said
    assert "true positives" in said
    assert "camera 2" in said
    assert page.classes.count("explained") >= 4
    assert "Robustness" not in said
    assert page.classes.count("ranking") == min(12, len(test_set.query))
    assert page.classes.count("right")
    assert page.classes.count("wrong")
    assert all(source.startswith("data:image/") for source in page.sources)
    events = b"".join(file.read_bytes() for file in workdir.tensorboard.iterdir())
    assert b"part_maps" in events
    assert b"ranking" in events


@pytest.mark.filterwarnings("ignore:.*in the gallery themselves")
def test_worst_queries_come_first_and_junk_is_left_out(trained, test_set):
    # Each identity is a direction of its own, except that the first query points elsewhere.
    def directions(identities):
        return np.eye(64, dtype=np.float32)[np.asarray(identities) % 64]

    query, gallery = (directions(s.identities) for s in (test_set.query, test_set.gallery))
    query[0] = -query[0]
    embedded = [Embeddings(vectors) for vectors in (query, gallery)]
    found = rank(trained.config, test_set, query=embedded[0], gallery=embedded[1])
    examples = pick_examples(trained, test_set, found)
    precisions = [example.average_precision for example in examples]
    assert precisions == sorted(precisions)
    assert precisions[0] < 0.5
    assert precisions[-1] == 1
    first = test_set.query
    assert examples[0].ranking.query.captions[0].startswith(str(first.identities[0]))
    for example in examples[1:]:
        assert example.ranking.matches[0].mark is Mark.RIGHT
        for match in example.ranking.matches:
            assert match.captions[1] != example.ranking.query.captions[0]
