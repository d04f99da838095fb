"""Galleries that grow: on disk or in object storage, as tables of Lance (extra `gallery`)."""

from magnifier_jax.gallery.store.gallery_store import GalleryStore

__all__ = ["GalleryStore"]
