"""REST, our own API and the page."""
