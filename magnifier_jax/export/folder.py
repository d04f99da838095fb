"""A folder as hubs of models want it: weights, their configuration, and a page about them."""

from __future__ import annotations

import json
import pathlib

from input_pipeline.files import write_json, write_text
from magnifier_jax.export.card import Description, describe, file_metadata, parse_metadata
from magnifier_jax.export.formats import write_weights
from magnifier_jax.export.function import DescriptorFunction

WEIGHTS, CONFIG, PAGE = "model.safetensors", "config.json", "README.md"


def write_folder(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes the folder.

    Raises:
        UserError: A file cannot be written.
    """
    path.mkdir()
    write_weights(function, path / WEIGHTS)
    whole = parse_metadata(file_metadata(function))
    write_json(path / CONFIG, {"model_type": "magnifier_net", **(whole or {})})
    write_text(path / PAGE, _page(describe(function)))


def _page(known: Description) -> str:
    given, found = known.input, known.output
    name = json.dumps(known.run)
    return f"""---
library_name: magnifier_jax
pipeline_tag: image-feature-extraction
tags:
- person-re-identification
- jax
---

# MagnifierNet: {name}

A network for person re-identification. It maps a cropped image of a person to a descriptor of
{found.dimension:,} numbers; those of one person point in similar directions.

- Network: MagnifierNet with a {known.backbone} backbone; branches {", ".join(found.branches)}
- Training: {known.step:,} steps on {known.identities:,} identities
- Input: {given.height} × {given.width} pixels (height × width), {given.colour_order}
- Files: {given.opening}
- Resizing: {given.interpolation}
- Normalization, which `mj.load` does itself: `(pixels / 255 - mean) / std` with
  mean {list(given.mean)} and std {list(given.std)}
- Distance: Euclidean or cosine, between descriptors of unit length

```python
import magnifier_jax as mj

model = mj.load("path/to/this/folder")
found = model.embed(["image.jpg"])
print(found.descriptors.shape)  # (1, {found.dimension})
```

`{WEIGHTS}` holds the weights under the names of the original PyTorch network, `{CONFIG}` the
configuration of the training.
"""
