"""Checkpoints that survive interruption: saving, keeping latest and best, and restoring."""

from magnifier_jax.checkpoints.reader import CheckpointReader, Restored
from magnifier_jax.checkpoints.store import CheckpointStore

__all__ = ["CheckpointReader", "CheckpointStore", "Restored"]
