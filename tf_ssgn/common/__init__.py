"""What every room uses: atomic files, command lines, archives, names to print, progress, status codes."""
