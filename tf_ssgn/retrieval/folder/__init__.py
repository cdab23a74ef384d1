"""The gallery in a folder."""
