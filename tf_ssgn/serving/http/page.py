"""The page in the browser: its files, kept in memory, with the headers that keep it to itself."""

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from tf_ssgn.serving.core.faults import not_found

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


class PageFile:
    """One file of the page, and the ETag of its content."""

    def __init__(self, content: bytes, kind: str):
        self.content, self.type, self.tag = content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class Page:
    """The files of the page. Only names that were there at the start are served, so no path of a request is opened."""

    def __init__(self, folder: Path = FOLDER):
        self._files = {
            path.name: PageFile(path.read_bytes(), TYPES[path.suffix])
            for path in folder.iterdir()
            if path.suffix in TYPES
        }

    @property
    def size(self) -> int:
        """Bytes of all files: what a first visit loads before any photo."""
        return sum(len(file.content) for file in self._files.values())

    def answer(self, request: Request, name: str) -> Response:
        """The file of that name, or 304 where the browser has it already; Fault NOT_FOUND for any other name."""
        file = self._files.get(name)
        if file is None:
            raise not_found("the page has no such file")
        # Asked for each time, so that a new version of the server never meets scripts of the old one.
        headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.type, headers=headers)
