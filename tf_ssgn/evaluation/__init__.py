"""Retrieval metrics and protocols over plain arrays, with NumPy alone: usable with features from any framework."""

from tf_ssgn.evaluation.metrics import (
    FAMILIES,
    PerQuery,
    per_query_features,
    per_query_rankings,
    score_features,
    score_rankings,
)

__all__ = ["FAMILIES", "PerQuery", "per_query_features", "per_query_rankings", "score_features", "score_rankings"]
