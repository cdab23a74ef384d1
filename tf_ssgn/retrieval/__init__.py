"""The gallery: from photos on the disk to answers."""
