"""PyTorch's half of `benchmarks/train_step.py`: the same network and losses, and its Adam."""

from __future__ import annotations

import pathlib
import platform
import time

import torch

from benchmarks import torch_magnifier
from benchmarks.racing import BACKBONES, Contestant, Entry, Settings

_DRAWS = 64  # of hidden parts, made ahead so that drawing costs nothing


def open_racer(contestant: Contestant, settings: Settings) -> TorchRacer:
    """Takes the first steps, which compile what is to be compiled."""
    torch.set_float32_matmul_precision("high")  # TF32, as JAX computes by default
    torch.backends.cudnn.benchmark = True
    return TorchRacer(contestant, settings)


class TorchRacer:
    """A training step on one batch, normalised and on the device already."""

    def __init__(self, contestant: Contestant, settings: Settings) -> None:
        torch.manual_seed(0)
        gpu = torch.cuda.is_available()
        self._device = torch.device("cuda" if gpu else "cpu")
        self._autocast = contestant.precision == "bf16"
        shape = BACKBONES[settings.backbone]
        network = torch_magnifier.MagnifierNet(
            settings.identities, blocks=shape.blocks, width=shape.width
        )
        network.to(self._device, memory_format=torch.channels_last).train()
        self._optimizer = torch_magnifier.make_optimizer(network, fused=gpu)
        self._network, self._losses = network, torch_magnifier.losses
        if contestant.way == "torch compiled":
            self._network = torch.compile(network)
            self._losses = torch.compile(torch_magnifier.losses)
        self._make_batch(settings)
        self._done = 0
        self._warm_steps = settings.warm_steps
        self._advance(max(1, self._warm_steps))
        trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
        self.entry = Entry(
            kind="gpu" if gpu else "cpu",
            device=torch.cuda.get_device_name() if gpu else platform.machine(),
            version=f"torch {torch.__version__}",
            parameters=sum(tensor.numel() for tensor in trained),
        )

    def run(self, steps: int) -> float:
        """Takes so many steps and returns the seconds that one took."""
        self._advance(self._warm_steps)
        start = time.perf_counter()
        self._advance(steps)
        return (time.perf_counter() - start) / steps

    def profile(self, folder: pathlib.Path) -> None:
        """Writes a trace of a few steps for Perfetto."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.profiler.profile() as profiler:
            self._advance(5)
        profiler.export_chrome_trace(str(folder / "trace.json"))

    def _make_batch(self, settings: Settings) -> None:
        height, width = settings.size
        count, parts = settings.batch, torch_magnifier.NUM_PARTS
        images = torch.randn(count, 3, height, width)
        self._images = images.to(self._device, memory_format=torch.channels_last)
        maps = torch.randint(parts, (count, height // 8, width // 8))
        self._part_labels = maps.to(self._device)
        people = torch.arange(count) // settings.images_per_identity
        self._labels = people.to(self._device)
        hidden = torch.zeros(_DRAWS, parts, dtype=torch.bool)
        for draw in hidden:  # two parts of the upper body and one of the lower, as published
            draw[1 + torch.randperm(4)[:2]] = True
            draw[5 + torch.randperm(3)[:1]] = True
        self._hidden = hidden.to(self._device)

    def _advance(self, steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast):
                hidden = self._hidden[self._done % _DRAWS]
                outputs = self._network(self._images, self._part_labels, hidden)
            total = self._losses(outputs, self._labels, self._part_labels)["total"]
            self._optimizer.zero_grad(set_to_none=True)
            total.backward()
            self._optimizer.step()
            self._done += 1
        if self._device.type == "cuda":
            torch.cuda.synchronize()
