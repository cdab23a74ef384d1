"""Finding the nearest items: exact, ScaNN, grouping, and what a search may ask for."""
