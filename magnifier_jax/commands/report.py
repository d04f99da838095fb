"""`magnifier report`: the page of a run, made anew, or several runs side by side."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.errors import UserError
from input_pipeline.files import claim_output, read_json, reading, user_path, write_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_report, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier report",
        description="Writes report.html of a run anew, with what magnifier robustness has measured "
        "since; or, of several runs, one page that compares them.",
    )
    add = parser.add_argument
    add("workdir", type=pathlib.Path, nargs="+", help="work directories of training runs")
    add("--root", type=pathlib.Path, help="folder of the datasets, if not where they were")
    add("--checkpoint", choices=["latest", "best"], default="latest", help="which checkpoint")
    add(
        "--output",
        type=pathlib.Path,
        metavar="FILE.html",
        help="page that compares several runs (comparison.html)",
    )
    add("--force", action="store_true", help="replace that page if it is there")
    return parser


def _report(options: argparse.Namespace) -> None:
    workdirs = [user_path(path) for path in options.workdir]
    missing = [path for path in workdirs if not path.is_dir()]
    if missing:
        raise UserError(f"There is no work directory {missing[0]}.")
    if len(workdirs) == 1:
        if options.output is not None:
            raise UserError("--output is for several runs; one run's page is its report.html")
        _renew(workdirs[0], options)
    else:
        output = options.output or pathlib.Path("comparison.html")
        with claim_output(output, force=options.force) as page:
            _compare(workdirs, page)


def _renew(path: pathlib.Path, options: argparse.Namespace) -> None:
    from magnifier_jax.datasets import open_test_sets
    from magnifier_jax.devices import enable_compilation_cache, make_mesh
    from magnifier_jax.embedding.network import load_trained
    from magnifier_jax.evaluation.evaluate import Evaluator
    from magnifier_jax.evaluation.report.report import write_report
    from magnifier_jax.training.untrained import read_untrained
    from magnifier_jax.workdir import WorkDirectory

    enable_compilation_cache()
    mesh = make_mesh()
    workdir = WorkDirectory(path)
    trained = load_trained(path, mesh, which=options.checkpoint)
    config = trained.config
    if options.root is not None:
        data = dataclasses.replace(config.data, root=str(user_path(options.root)))
        config = dataclasses.replace(config, data=data)
    show = sys.stderr.isatty()
    with workdir.lock():
        sets = open_test_sets(config, progress=show)
        evaluator = Evaluator(config, trained.model, sets, mesh, progress=show)
        scores = evaluator(trained.variables)
        assert evaluator.first is not None
        page = write_report(
            workdir,
            dataclasses.replace(trained, config=config),
            scores=scores,
            ranked=evaluator.first,
            untrained=read_untrained(workdir, config),
            mesh=mesh,
        )
    print(f"Report: {page}")


def _compare(workdirs: Sequence[pathlib.Path], output: pathlib.Path) -> None:
    from magnifier_jax.evaluation.evaluate import Score
    from magnifier_jax.evaluation.report.comparison import Run, compare_runs
    from magnifier_jax.evaluation.report.sections import robustness_file
    from magnifier_jax.evaluation.robustness.results import read_robustness
    from magnifier_jax.training.log import read_records
    from magnifier_jax.workdir import WorkDirectory, distinct_names

    names = distinct_names(workdirs)
    runs = []
    for name, path in zip(names, workdirs, strict=True):
        workdir = WorkDirectory(path)
        if not workdir.evaluation.exists():
            raise UserError(f"{path} has no evaluation.json: train to the end, or evaluate it")
        advice = "evaluate the run again"
        with reading(workdir.evaluation, what="evaluation", advice=advice):
            record = read_json(workdir.evaluation, what="evaluation", advice=advice)
            scores = [Score.from_mapping(each) for each in record.get("test_sets", [record])]
        runs.append(
            Run(
                name,
                tuple(scores),
                read_records(workdir.metrics),
                read_robustness(robustness_file(path)),
            )
        )
    write_text(output, compare_runs(runs))
    print(f"Comparison: {output}")


if __name__ == "__main__":
    sys.exit(main())
