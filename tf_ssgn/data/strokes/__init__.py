"""Drawings kept as strokes, QuickDraw's and SVG, to rasters."""
