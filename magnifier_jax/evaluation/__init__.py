"""Measuring a network, and showing what it does and why."""

from magnifier_jax.evaluation.evaluate import (
    Evaluator,
    Measures,
    Ranked,
    Score,
    evaluation_record,
    rank,
    table,
)

__all__ = ["Evaluator", "Measures", "Ranked", "Score", "evaluation_record", "rank", "table"]
