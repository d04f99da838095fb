"""MagnifierNet, a semantic-aware network for person re-identification, in JAX."""

__version__ = "0.1.0"
