"""Counts, saving every step without a pause, until it is killed; goes on from what it finds.

Prints `resumed <step>` and then every step whose checkpoint is on disk. Ends with an error if
what it finds is not exactly what was saved.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from magnifier_jax.checkpoints import CheckpointStore

LAYERS = 20


def main(directory: pathlib.Path) -> None:
    state = {str(layer): jnp.full((64, 64), layer, jnp.float32) for layer in range(LAYERS)}
    abstract = jax.eval_shape(lambda: state)
    step = 0
    with CheckpointStore(directory) as store:
        if store.latest_step() is not None:
            restored = store.restore(variables=abstract, optimizer=abstract)
            step = restored.step
            for tree in (restored.variables, restored.optimizer):
                for layer in range(LAYERS):
                    np.testing.assert_array_equal(tree[str(layer)], np.float32(layer + step))
            state = restored.variables
        print("resumed", step, flush=True)
        while True:
            step += 1
            state = jax.tree.map(lambda x: x + 1, state)
            store.save(step, variables=state, optimizer=state, metadata={}, score=step % 7)
            store.wait()
            print(step, flush=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
