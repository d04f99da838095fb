"""Trains and evaluates: `python -m magnifier_jax.main --config configs/quickstart.py`."""

from __future__ import annotations

import logging
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

import configs
from input_pipeline.errors import DataError, UserError
from input_pipeline.files import check_output, user_path
from magnifier_jax import weights
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.config import Config, suggest
from magnifier_jax.devices import enable_compilation_cache, keep_freed_memory, start_distributed
from magnifier_jax.evaluation import table
from magnifier_jax.evaluation.run import measure_run
from magnifier_jax.training.interruption import Terminated, raise_on_sigterm
from magnifier_jax.training.loop import TrainingResult, train
from magnifier_jax.workdir import WorkDirectory

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, such as configs/cuhk03.py or configs/cuhk03.py:detected."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Folder of the run; runs/<the configuration's name> if not given."
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "What to do.")
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "latest", ["latest", "best"], "Which checkpoint --mode=evaluate takes."
)
_DATA = flags.DEFINE_string(
    "data",
    "",
    "What --mode=evaluate measures on, as config.data.test names it, such as folders@/my/set; the "
    "network's own test sets if not given.",
)
_REPORT = flags.DEFINE_bool("report", False, "Whether --mode=evaluate writes a report too.")
_OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "Where --mode=evaluate writes its numbers; evaluation.json of the run where it measures the "
    "same, and evaluation-<test set>.json for other sets, if not given.",
)
_FORCE = flags.DEFINE_bool("force", False, "Whether --output may replace a file.")
_RESUME = flags.DEFINE_bool(
    "resume_with_changes",
    False,
    "Resume a run although its configuration or images changed.",
)


def main(argv: Sequence[str]) -> int:
    """Does what the flags say."""
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} is not understood; options look like --config=FILE.")
    keep_freed_memory()
    start_distributed()
    enable_compilation_cache()
    with raise_on_sigterm():
        return _evaluate() if _MODE.value == "evaluate" else _train()


def _train() -> int:
    if _CONFIG.value is None:
        raise UserError("--config is missing: name a file, such as configs/quickstart.py.")
    config = Config.from_mapping(_CONFIG.value.to_dict())
    workdir = WorkDirectory(user_path(_WORKDIR.value or f"runs/{config.name}"))
    _say(f"Work directory: {workdir.path}   Devices: {_devices()}")
    result = train(config, workdir, resume_with_changes=_RESUME.value, tell=_tell)
    if not result.finished:
        _say(f"Stopped at step {result.step:,} and saved. The same command resumes from there.")
    elif result.report is not None:
        _say(f"Curves, rankings and part maps: {result.report}")
    return 0


def _tell(result: TrainingResult) -> None:
    """Shows what came of the training, before anything else can go wrong."""
    if result.scores:
        _say(table(result.scores, untrained=result.untrained))
    else:
        _say(f"Trained to step {result.step:,}, without evaluation.")


def _evaluate() -> int:
    if not _WORKDIR.value and _CONFIG.value is None:
        raise UserError("--workdir is missing: name the work directory of a run, or `drawn`.")
    given = None if _CONFIG.value is None else Config.from_mapping(_CONFIG.value.to_dict())
    path = _WORKDIR.value or f"runs/{given.name if given else ''}"
    if _OUTPUT.value:
        check_output(user_path(_OUTPUT.value), force=_FORCE.value)
    which: Which = "best" if _CHECKPOINT.value == "best" else "latest"
    place = weights.find(path)
    network = place if place.is_file() else None
    if network is not None:
        # What is measured of a network without a work directory goes to where runs are.
        place = pathlib.Path("runs") / f"evaluate-{place.stem}"
    found = measure_run(
        WorkDirectory(place), network=network, given=given, test=_DATA.value, which=which
    )
    _say(f"{network or found.workdir.path}, step {found.trained.step:,}")
    _say(table(found.scores, untrained=found.untrained))
    numbers = found.workdir.evaluation
    if jax.process_index() == 0:
        numbers = found.save(_OUTPUT.value, force=_FORCE.value)
        _say(f"Numbers: {numbers}")
    if _REPORT.value:
        _say(f"Report: {found.save_report(numbers)}")
    return 0


def _devices() -> str:
    devices = jax.devices()
    return f"{len(devices)} × {devices[0].device_kind}"


def _say(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is said in one line."""
    argv = _find_file(argv)
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(_explain(error)) from error
    # Libraries tell what files they open; the terminal is for what the run itself says.
    if flags.FLAGS["verbosity"].using_default_value:
        absl_logging.set_verbosity(absl_logging.WARNING)
    return rest


def _explain(error: Exception) -> str:
    near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(error))
    if near:
        return f"the configuration has no field {near[2]!r}, did you mean {near[1]!r}?"
    field = re.search(r"Unknown command line flag '(config\.[\w.]+)'", str(error))
    if field:
        return f"--{field[1]} changes a configuration, so --config=FILE has to be given too."
    if re.search(r"get_config\(\) takes 0 positional arguments", str(error)):
        return "--config: this configuration has no variants: leave out the colon and what follows."
    wrong = re.search(r"flag (--config\.[\w.]+)=(.*?): \('Non-boolean argument", str(error))
    if wrong:
        return f"{wrong[1]} must be True or False, not {wrong[2]!r}."
    if isinstance(error, (AttributeError, KeyError)):
        name = str(error.args[0]).strip("'\"")
        return f"the configuration has no field {name!r}; docs/configuration.md lists them all."
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if "parsing config file" in lines[0] and len(lines) > 1:
        return f"{lines[0].split(':')[0]} has a mistake; {lines[-1]}"
    return lines[0]


def _find_file(argv: Sequence[str]) -> list[str]:
    """Names a configuration by its file; refuses one that is not there, with the nearest name."""
    arguments = list(argv)
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not name.startswith("-") or name.lstrip("-") != "config":
            continue
        if not equals:
            value = next(iter(arguments[index + 1 :]), "")
        found = configs.find(value)
        path = pathlib.Path(found.partition(":")[0])
        if not path.is_file():
            known = [str(other) for other in path.parent.glob("*.py") if other.stem[0] != "_"]
            known += configs.names()
            near = suggest(str(path), known)
            hint = near or f"; give a file or one of {', '.join(configs.names())}."
            raise UserError(f"--config: there is no file {path}{hint}")
        if equals:
            arguments[index] = f"{name}={found}"
        else:
            arguments[index + 1] = found
    return arguments


def run(command: Callable[[Sequence[str]], Any], parse: Callable[..., Any]) -> None:
    """Runs a command; a problem that its user can fix is one line and exit status 2."""
    absl_logging.get_absl_handler().setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    try:
        app.run(command, flags_parser=parse)
    except (UserError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Terminated:
        print("terminated; the same command resumes from what is saved", file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def start() -> None:
    """Does what the command line of this process says, and ends it."""
    run(main, _parse)


if __name__ == "__main__":
    start()
