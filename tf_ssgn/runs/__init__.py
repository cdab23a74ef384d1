"""Finished runs on a dataset: load one, evaluate one, evaluate several together."""
