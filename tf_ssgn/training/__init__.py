"""Losses, the trainer, and a run from its first batch to its best weights."""
