"""Distances of every picture to every other, with half of the products where that pays.

The product of pictures i and j is that of j and i. On a CPU, where a product costs more than moving
its result, tiles of it are kept until they are needed a second time, within a bound on memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from magnifier_jax.retrieval.descriptors import Descriptors
from magnifier_jax.retrieval.distances import (
    LANES,
    Blocks,
    Layout,
    Metric,
    RowBlock,
    column_terms,
    place,
    product,
    round_up,
    stream_rows,
)

# Smaller tiles cost more in calls than they save in products.
_LEAST_TILE = 512


@dataclasses.dataclass(frozen=True)
class Plan:
    """How all pairs are gone through.

    Attributes:
      layout: Sizes of the blocks.
      band: After each block of rows, products with so many of the next blocks are kept; 0 computes
        everything.
    """

    layout: Layout
    band: int

    @classmethod
    def make(cls, total: int, *, blocks: Blocks, mesh: Mesh, kept_bytes: int) -> Plan:
        """The widest band that `kept_bytes` allow.

        Args:
          total: Pictures, N.
          blocks: How much is worked on at a time.
          mesh: The devices.
          kept_bytes: Bound on the products that are kept.
        """
        layout = Layout.plan(queries=total, gallery=total, blocks=blocks, devices=mesh.size)
        rows = layout.query_rows
        # At most band · (band + 1) / 2 tiles are alive at a time.
        tiles = kept_bytes // (4 * rows**2)
        band = min((math.isqrt(8 * tiles + 1) - 1) // 2, -(-total // rows) - 1)
        only_cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
        if not only_cpu or band < 1 or rows < _LEAST_TILE:
            return cls(layout=layout, band=0)
        columns = round_up(round_up(total, rows), LANES)
        return cls(layout=Layout(query_rows=rows, gallery_rows=rows, columns=columns), band=band)


def stream_all_pairs(
    everyone: Descriptors, *, metric: Metric, plan: Plan, mesh: Mesh
) -> Iterator[RowBlock]:
    """Yields what `stream_rows` yields of a set against itself."""
    if not plan.band:
        yield from stream_rows(everyone, everyone, metric=metric, layout=plan.layout, mesh=mesh)
        return
    layout = plan.layout
    step = layout.query_rows
    base, scale = column_terms(everyone, metric=metric, columns=layout.columns)
    count = -(-len(everyone) // step)
    kept: dict[tuple[int, int], jax.Array] = {}
    rows = jnp.full((step, layout.columns), jnp.inf, jnp.float32)
    for own in range(count):
        mine = jax.device_put(everyone.block(own * step, rows=step))
        for other in range(count):
            mirrored = (other, own) in kept
            if mirrored:
                tile = kept.pop((other, own))
            else:
                tile = product(mine, jax.device_put(everyone.block(other * step, rows=step)))
                if 0 < other - own <= plan.band:
                    kept[own, other] = tile
            columns = slice(other * step, (other + 1) * step)
            terms = base[columns], scale[columns], np.int32(columns.start)
            rows = place(rows, tile, *terms, mirrored=mirrored)
        real = min(step, len(everyone) - own * step)
        yield RowBlock(start=own * step, count=real, values=rows)
