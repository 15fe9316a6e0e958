"""The page to talk to, at `/`: files of this package, which a browser may do nothing else with.

It is a client of the Realtime endpoint beside it like any other.
"""

from __future__ import annotations

from importlib import resources

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

SCRIPTS = (
    *("main", "view", "conversation", "connection", "pictures", "sound"),
    *("capture", "playback"),
)
"""The modules of the page; the last two run in the browser's audio thread."""

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(self), display-capture=(self)",
    # What is served belongs to the server that runs; an older one's script may not fit it.
    "Cache-Control": "no-cache",
}
"""With every file. The page speaks to its own server only, and shows nothing inside others."""


def routes() -> list[BaseRoute]:
    """The page at `/` and what it is made of below `/page/`; its links are relative."""
    own = resources.files(__package__).joinpath("page")
    look = resources.files("pipeline.measure").joinpath("templates")
    files = {
        "/": (own.joinpath("index.html"), "text/html"),
        "/page/look.css": (look.joinpath("look.css"), "text/css"),
        "/page/page.css": (own.joinpath("page.css"), "text/css"),
    }
    for name in SCRIPTS:
        files[f"/page/{name}.js"] = (own.joinpath(f"{name}.js"), "text/javascript")
    return [
        Route(path, Response(file.read_bytes(), 200, HEADERS, kind), methods=["GET"])
        for path, (file, kind) in files.items()
    ]
