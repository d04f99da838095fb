"""Galleries whose tracklets are searched rather than their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.file_names import who_is_named
from input_pipeline.identities.unknown import UNKNOWN_TRACKLET, is_unknown_tracklet
from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.thresholds import without_thresholds
from magnifier_jax.retrieval.pooling import Groups, Weighting, pool

if TYPE_CHECKING:
    from magnifier_jax.gallery.store import GalleryStore


def gallery_of_tracklets(
    gallery: Gallery | GalleryStore, *, where: str | None = None, weights: Weighting = "visible"
) -> Gallery:
    """A gallery in memory that has one descriptor for each tracklet, named after its first image.

    Which images are a tracklet is told by the column `tracklet`, else by names such as
    `0001C1T0002F003.jpg`. Images of different people or cameras are never one; an image of no known
    tracklet stays by itself. Thresholds stay behind: they are those of single images.

    Args:
        gallery: A gallery of images.
        where: Which images of a gallery that grows; see `GalleryStore.search`.
        weights: How the images of a tracklet are weighted; see `retrieval.pool`.

    Raises:
        UserError: No tracklet of any image is known.
    """
    images = gallery if isinstance(gallery, Gallery) else gallery.to_gallery(where=where)
    return pooled_gallery(images, tracklets_of(gallery, images), weights=weights)


def tracklets_of(gallery: Gallery | GalleryStore, images: Gallery) -> Groups:
    """Which images are one tracklet, as `gallery_of_tracklets` tells it.

    Args:
        gallery: What knows the tracklets.
        images: Its images, or some of them.

    Raises:
        UserError: No tracklet of any image is known.
    """
    return Groups.of(
        _tracklets(gallery, images),
        within=[values for values in (images.identities, images.cameras) if values is not None],
    )


def pooled_gallery(images: Gallery, groups: Groups, *, weights: Weighting = "visible") -> Gallery:
    """A gallery of groups of images, each named after its first image."""
    first = groups.first
    return Gallery.build(
        pool(images, groups, weights=weights),
        names=images.names[first],
        identities=None if images.identities is None else images.identities[first],
        cameras=None if images.cameras is None else images.cameras[first],
        metric=images.metric,
        model=images.model,
        notes=without_thresholds(images.notes),
    )


def _tracklets(gallery: Gallery | GalleryStore, images: Gallery) -> NDArray[np.str_]:
    """The tracklet of each image [N]; empty where it is not known."""
    known = gallery.known("tracklet")
    found = []
    for name in images.names.tolist():
        tracklet = known.get(name)
        if is_unknown_tracklet(tracklet):
            who = who_is_named(name)
            tracklet = None if who is None else who.tracklet
        found.append(UNKNOWN_TRACKLET if tracklet is None else str(tracklet))
    if not any(found):
        raise UserError(
            "The gallery does not say which images are a tracklet: give it a column 'tracklet', or "
            "search without --tracklets."
        )
    return np.array(found, np.str_)
