"""One evaluation for people: HTML page, tables for the terminal, charts."""
