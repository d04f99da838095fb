"""The public command, killed at a given moment: `killed_run MOMENT PLACE options …`.

| moment | place | it is killed |
|---|---|---|
| `change` | `N PATTERN` | before the Nth file of such a path is made or gets its name |
| `log` | a step | when half of the line of that step is in the log |
| `save` | a step | while the checkpoint of that step is being saved |
"""

import fnmatch
import os
import signal
import sys
from typing import Any, NoReturn

from magnifier_jax import main
from magnifier_jax.checkpoints import CheckpointStore
from magnifier_jax.training.log import RunLog


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("the signal cannot be ignored")


def die_before_change(number: int, pattern: str) -> None:
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "os.rename":
            path = arguments[1]
        elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = arguments[0]
        else:
            return
        if fnmatch.fnmatch(str(path), pattern):
            seen += 1
            if seen == number:
                die()

    sys.addaudithook(watch)


def die_in_line(step: int) -> None:
    append = RunLog._append

    def half(self: RunLog, line: str) -> None:
        if f'"step": {step},' in line:
            self._file.write(line[: len(line) // 2].encode())
            die()
        append(self, line)

    RunLog._append = half


def die_in_save(step: int) -> None:
    save = CheckpointStore.save

    def start(self: CheckpointStore, number: int, **what: Any) -> bool:
        started = save(self, number, **what)
        if number == step:
            die()
        return started

    CheckpointStore.save = start


def start() -> None:
    moment, place = sys.argv[1:3]
    del sys.argv[1:3]
    if moment == "change":
        number, _, pattern = place.partition(" ")
        die_before_change(int(number), pattern)
    else:
        {"log": die_in_line, "save": die_in_save}[moment](int(place))
    main.start()
