"""What a branch loses where the evidence of a part is missing, and nothing foreign stands there.

    python benchmarks/absent_parts.py --workdir runs/ablation/baseline-0 runs/ablation/sab-0

Zeroes the cells of parts in the feature map that each branch pools, as semantic occlusion does in
training, for the queries alone; the parts are those of the dataset's part labels. Beside
`benchmarks/robustness.py`, which paints objects, it tells missing evidence from foreign.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from input_pipeline.dataset import LOWER_BODY, PART_NAMES, UPPER_BODY
from input_pipeline.images.codec import decode_image
from input_pipeline.store.splits import PreparedSplit
from magnifier_jax import retrieval
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import Trained, load_trained
from magnifier_jax.evaluation.branches import branch_alone, branch_slices
from magnifier_jax.evaluation.robustness.ground_truth import Study, open_study
from magnifier_jax.tables import table
from magnifier_jax.training.augmentation import normalize

_BATCH = 80
ABSENT = {
    "nothing": (),
    **{name: (part,) for part, name in enumerate(PART_NAMES) if part},
    "upper body": UPPER_BODY,
    "lower body": LOWER_BODY,
    "torso, lower arm, lower leg": (2, 4, 6),
}


EmbedFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_embed(trained: Trained) -> EmbedFunction:
    """Descriptors `[n, D]` of images, with the cells kept where `keep` `[n, h, w]` is 1."""

    @jax.jit
    def embed(variables: Any, images: jax.Array, keep: jax.Array) -> jax.Array:
        def zero(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            path = context.module.path
            if context.method_name != "__call__":
                return call(*args, **kwargs)
            if path == ("global_branch",):
                return call(args[0] * keep[..., None], *args[1:], **kwargs)
            if path in (("adversarial", "bottleneck"), ("fusion", "bottleneck")):
                return call(*args, **kwargs) * keep[..., None]
            return call(*args, **kwargs)

        with nn.intercept_methods(zero):
            outputs = trained.model.apply(variables, normalize(images), train=False)
        return outputs.descriptor / jnp.linalg.norm(outputs.descriptor, axis=1, keepdims=True)

    return lambda images, keep: np.asarray(
        embed(trained.variables, images, jnp.asarray(keep, jnp.float32))
    )


def embed_split(
    embed: EmbedFunction,
    trained: Trained,
    study: Study,
    split: PreparedSplit,
    absent: tuple[int, ...],
) -> np.ndarray:
    """Descriptors of a split with some parts absent."""
    size, stride = trained.config.data.image_size, trained.model.backbone.trunk_stride
    grid = (size[0] // stride, size[1] // stride)
    found = []
    for start in range(0, len(split), _BATCH):
        ids = range(start, min(start + _BATCH, len(split)))
        images = np.stack(
            [decode_image(sample.image, image_size=size) for sample in split.read(ids)]
        )
        keep = np.ones((len(images), *grid))
        if absent:
            maps = [study.truth.part_map(split.names[i], image_size=grid) for i in ids]
            keep = ~np.isin(np.stack(maps), absent)
        found.append(embed(images, keep))
    return np.concatenate(found)


def measure(name: str, trained: Trained) -> None:
    """Prints a network's table."""
    study = open_study(trained.config, progress=False)
    asked, searched = study.test_set.query, study.test_set.gallery
    if not set(asked.names) <= set(study.truth.part_labels):
        sys.exit("the queries of this set have no part labels")
    embed = make_embed(trained)
    gallery = embed_split(embed, trained, study, searched, ())
    columns = {"whole": slice(None), **branch_slices(trained.config)}
    rows, clean = [], {}
    for title, parts in ABSENT.items():
        query = embed_split(embed, trained, study, asked, parts)
        cells = []
        for view, some in columns.items():
            found = retrieval.evaluate(
                branch_alone(query, some),
                branch_alone(gallery, some),
                asked.identities,
                searched.identities,
                asked.cameras,
                searched.cameras,
            )
            clean.setdefault(view, found.mAP)
            cells.append(f"{100 * found.mAP:.1f} ({found.mAP / clean[view]:.0%})")
        rows.append([title, *cells])
        print(name, title, *cells, file=sys.stderr)
    print(table([f"{name}, absent", *columns], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=pathlib.Path, nargs="+", required=True)
    options = parser.parse_args()
    mesh = make_mesh()
    for workdir in options.workdir:
        measure(workdir.name, load_trained(workdir, mesh))
    print("mAP in percent (share of the mAP with nothing absent)")


if __name__ == "__main__":
    main()
