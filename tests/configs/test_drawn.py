"""The network that comes with the package: its stages, and the command that trains them."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
from collections.abc import Sequence

import pytest

from configs import drawn
from magnifier_jax import weights
from magnifier_jax.config import Config
from magnifier_jax.export.reader import read_exported


def test_the_configuration_of_the_drawn_network_is_that_of_its_weights() -> None:
    config = Config.from_mapping(drawn.get_config(drawn.STAGES[-1]).to_dict())
    trained = read_exported(weights.find("drawn")).config
    assert trained.model == config.model
    assert trained.data.train == config.data.train
    assert trained.data.image_size == config.data.image_size
    assert (trained.augment, trained.loss) == (config.augment, config.loss)
    assert trained.optimizer == config.optimizer
    assert trained.train == config.train


def test_later_stages_have_the_network_of_the_first() -> None:
    first, *later = (
        Config.from_mapping(drawn.get_config(stage).to_dict()) for stage in drawn.STAGES
    )
    for stage in later:
        assert (stage.model, stage.data.image_size) == (first.model, first.data.image_size)
    assert first == Config.from_mapping(drawn.get_config().to_dict())
    with pytest.raises(ValueError, match="no stage 'third'"):
        drawn.get_config("third")


@dataclasses.dataclass(eq=False)
class Commands:
    """Stands for `subprocess.run`; trainings end at once.

    Attributes:
        seen: The arguments of each command, without the interpreter.
        stops: The stage that is stopped before its end.
    """

    seen: list[list[str]] = dataclasses.field(default_factory=list)
    stops: str = ""

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        """Notes the command, and leaves what a finished training leaves."""
        _, minus_m, *arguments = command
        assert minus_m == "-m"
        self.seen.append(arguments)
        workdir = pathlib.Path(arguments[arguments.index("--workdir") + 1])
        if workdir.name != self.stops:
            workdir.mkdir(parents=True, exist_ok=True)
            (workdir / "report.html").touch()
        return subprocess.CompletedProcess(command, 0)

    def stages(self) -> list[str]:
        """The stages that were trained, in turn."""
        named = [arguments[1] for arguments in self.seen if arguments[0] == "magnifier_jax.main"]
        return [name.rpartition(":")[2] for name in named]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands()
    monkeypatch.setattr(subprocess, "run", found.run)
    return found


def test_one_command_trains_every_stage_from_the_one_before(
    tmp_path: pathlib.Path, commands: Commands
) -> None:
    assert drawn.main(["--workdir", str(tmp_path), "--config.train.max_steps=3"]) == 0
    assert commands.stages() == list(drawn.STAGES)
    before: list[str] = []
    for stage, training, export in zip(
        drawn.STAGES, commands.seen[::2], commands.seen[1::2], strict=True
    ):
        assert "--config.train.max_steps=3" in training
        starts = [name for name in training if name.startswith("--config.init.checkpoint=")]
        assert starts == before
        assert export[:4] == ["magnifier_jax", "export", "--workdir", str(tmp_path / stage)]
        assert "--no-classifiers" in export
        before = [f"--config.init.checkpoint={export[export.index('--output') + 1]}"]
    assert before == [f"--config.init.checkpoint={tmp_path / 'drawn.safetensors'}"]


def test_a_stage_that_was_stopped_is_gone_on_with(
    tmp_path: pathlib.Path, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.stops = "more"
    assert drawn.main(["--workdir", str(tmp_path)]) == 1
    assert commands.stages() == ["first", "more"]
    assert "the same command goes on" in capsys.readouterr().out
    commands.stops = ""
    commands.seen.clear()
    assert drawn.main(["--workdir", str(tmp_path)]) == 0
    assert commands.stages() == ["more", "others"]
    first = tmp_path / "first.safetensors"
    assert f"--config.init.checkpoint={first}" in commands.seen[1]  # After the export of `first`.
