"""From a folder to items: layouts, file lists, splits, published counts, checks."""
