"""The commands, thin over the functions of the library: `magnifier COMMAND …`."""

from __future__ import annotations

import magnifier_jax
from input_pipeline.command_table import CommandTable

# Each command, its module, and what it does. Nothing is imported before its command is called.
COMMANDS = {
    "train": ("magnifier_jax.commands.train", "train a network, or resume a run"),
    "evaluate": ("magnifier_jax.commands.evaluate", "measure a trained network on test sets"),
    "adapt": ("magnifier_jax.commands.adapt", "fit a network to other cameras without labels"),
    "embed": ("magnifier_jax.commands.embed", "embed a folder of images into a gallery"),
    "gallery": ("magnifier_jax.commands.gallery", "look after a gallery that grows"),
    "search": ("magnifier_jax.commands.search", "find the images of a gallery most like a query"),
    "serve": ("magnifier_jax.commands.serve", "open a search page in the browser, and an API"),
    "rank": ("magnifier_jax.commands.rank", "evaluate descriptors of any model"),
    "robustness": ("magnifier_jax.commands.robustness", "hide body parts, and see what it costs"),
    "explain": ("magnifier_jax.commands.explain", "say why two images match"),
    "report": ("magnifier_jax.commands.report", "renew a run's report, or compare runs"),
    "export": ("magnifier_jax.commands.export", "write a network for another framework"),
    "prepare": ("input_pipeline.prepare", "check a dataset and make it ready for training"),
    "labels": ("input_pipeline.part_labels.commands", "make part labels, or convert a parser's"),
    "draw": ("input_pipeline.synthetic.__main__", "draw a dataset of synthetic people"),
}

main = CommandTable(
    program="magnifier",
    description="MagnifierNet: person re-identification in JAX.",
    commands=COMMANDS,
    version=magnifier_jax.__version__,
).main
