"""`mj.load(…).embed(…)` by each runtime, next to bare loops over the same network, interleaved.

    python -m benchmarks.embedding --batch 1 8 32
    python -m benchmarks.embedding --batch 32 --only "embed openvino"      # its memory alone

The bare loops have their pixels in an array and give descriptors only; `embed` decodes and resizes
JPEG files of 128 × 64 and gives parts, too. Times are of the process's processors, which do not
change when other programs run, divided by the images; rounds of all contestants alternate.
PyTorch, eager in float32, takes part where it is installed.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import pathlib
import resource
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
from PIL import Image

import magnifier_jax as mj
from configs import market1501
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import Trained
from magnifier_jax.embedding.runtimes import check_runtime
from magnifier_jax.export.verification import sample_images
from magnifier_jax.tables import table
from magnifier_jax.training.step import build_model, initial_state

_SIZE = (384, 192)
_IDENTITIES = 751
Pass = Callable[[], object]


def write_network(folder: pathlib.Path) -> None:
    """The published network with random weights, as weights and as an ONNX file."""
    config = Config.from_mapping(market1501.get_config().to_dict())
    model = build_model(config, num_identities=_IDENTITIES)
    variables = jax.device_get(initial_state(config, model, make_mesh()).variables)
    names = tuple(map(str, range(_IDENTITIES)))
    trained = Trained(config, model, variables, names, 1)
    mj.export(trained, folder / "network.safetensors", format="safetensors")
    mj.export(trained, folder / "network.onnx", format="onnx")


def write_images(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """JPEG files of the size that Market-1501 has."""
    paths = [folder / f"{number:04d}.jpg" for number in range(count)]
    for path, image in zip(paths, sample_images(count, (128, 64)), strict=True):
        Image.fromarray(image).save(path, quality=90)
    return paths


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the contestants share: the folder with the network, the files and their pixels."""

    folder: pathlib.Path
    paths: list[pathlib.Path]
    pixels: np.ndarray


def _by_embed(runtime: str) -> Callable[[Setting], Pass]:
    def start(setting: Setting) -> Pass:
        model = mj.load(setting.folder / "network.safetensors", runtime=runtime)  # type: ignore[arg-type]
        return lambda: model.embed(setting.paths, batch_size=len(setting.paths))

    return start


def _bare_onnxruntime(setting: Setting) -> Pass:
    import onnxruntime

    path, providers = str(setting.folder / "network.onnx"), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, providers=providers)
    return lambda: session.run(None, {"images": setting.pixels})


def _bare_openvino(setting: Setting) -> Pass:
    check_runtime("openvino", None)  # imports it without its telemetry
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    path = str(setting.folder / "network.onnx")
    compiled = openvino.Core().compile_model(path, "CPU", options)
    return lambda: compiled(setting.pixels)


def _bare_torch(setting: Setting) -> Pass:
    import torch

    from benchmarks.torch_magnifier import MagnifierNet

    model = MagnifierNet(_IDENTITIES).eval()
    images = torch.from_numpy(setting.pixels.transpose(0, 3, 1, 2) / np.float32(255))

    def run() -> object:
        with torch.inference_mode():
            return model(images)

    return run


CONTESTANTS: dict[str, Callable[[Setting], Pass]] = {
    "bare onnxruntime": _bare_onnxruntime,
    "bare openvino": _bare_openvino,
    "bare torch": _bare_torch,
    "embed jax": _by_embed("jax"),
    "embed onnxruntime": _by_embed("onnxruntime"),
    "embed openvino": _by_embed("openvino"),
}


def race(setting: Setting, chosen: list[str], *, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time an image, of each contestant in each round."""
    passes = {name: CONTESTANTS[name](setting) for name in chosen}
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for number in range(rounds + 1):
        for name, run in passes.items():
            start = time.process_time()
            run()
            if number:  # The first pass prepares.
                taken = time.process_time() - start
                found[name].append(1e3 * taken / len(setting.pixels))
    return found


def main() -> None:
    """Prints a table for each batch size, and the process's memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--batch", type=int, nargs="+", default=[1, 32])
    add("--rounds", type=int, default=5)
    add("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    add("--network", type=pathlib.Path, metavar="DIR", help="where it is kept between calls")
    options = parser.parse_args()
    chosen = [n for n in options.only if n != "bare torch" or importlib.util.find_spec("torch")]
    with tempfile.TemporaryDirectory() as name:
        folder = options.network or pathlib.Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "network.onnx").exists():
            write_network(folder)
        for batch in options.batch:
            paths = write_images(pathlib.Path(name), batch)
            setting = Setting(folder, paths, sample_images(batch, _SIZE))
            found = race(setting, chosen, rounds=options.rounds)
            rows = [
                [name, *(f"{f(times):.0f}" for f in (np.median, min, max))]
                for name, times in found.items()
            ]
            print(table([f"ms an image, batch {batch}", "median", "least", "most"], rows))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"Largest memory of this process: {memory:.2f} GB")


if __name__ == "__main__":
    main()
