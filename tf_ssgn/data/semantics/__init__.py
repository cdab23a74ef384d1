"""From class names and words to vectors."""
