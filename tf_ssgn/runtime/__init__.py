"""The forward pass on this machine: exported models, and the cache of frozen features."""
