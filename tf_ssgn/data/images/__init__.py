"""From image files to tensors: guarded decode, views, reading and batching."""
