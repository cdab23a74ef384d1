"""The page in the browser: its files, kept in memory, with the headers that keep it to itself."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from tf_ssgn.serving.core.faults import not_found
from tf_ssgn.serving.http import replies

FOLDER = Path(__file__).parents[1] / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Scripts, styles and answers come from this server only; pictures also from the page's own memory. Nothing is inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Page:
    """The files of the page. Only names that were there at the start are served, so no path of a request is opened."""

    def __init__(self) -> None:
        contents = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}
        self._files = {name: (content, replies.tag_of(content)) for name, content in contents.items()}

    def answer(self, request: Request, name: str) -> Response:
        """The file of that name; Fault NOT_FOUND for any other name."""
        if name not in self._files:
            raise not_found("the page has no such file")
        # Asked for each time, so that a new version of the server never meets scripts of the old one.
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        return replies.tagged(request, *self._files[name], TYPES[Path(name).suffix], headers)
