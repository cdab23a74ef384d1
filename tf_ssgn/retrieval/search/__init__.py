"""Finding the nearest items: exact, ScaNN, and what a search may ask for."""
