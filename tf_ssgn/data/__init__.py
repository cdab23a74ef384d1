"""From files to tensors: names, splits, datasets, drawings, guarded decode, batches, class vectors."""
