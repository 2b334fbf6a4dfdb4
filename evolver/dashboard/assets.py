"""Style, scripts and Plotly: files of this package and of the installed plotly, never of another host.

Their addresses hold a hash of their contents, so that browsers keep them for ever.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from evolver.errors import EnvironmentFault

STATIC = Path(__file__).parent / "static"


def _plotly() -> Path:
    found = find_spec("plotly")  # not imported: it takes long, and only a file of it is needed
    if found is None or found.origin is None:
        raise EnvironmentFault("plotly is not installed; run: pip install 'evolver[dashboard]'")
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


PLOTLY = _plotly()
FILES = {
    **{path.name: path for path in STATIC.iterdir() if path.suffix in (".css", ".js", ".svg")},
    "plotly.min.js": PLOTLY,
}
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


async def serve(request: Request) -> Response:
    """One file, by its name."""
    name = request.path_params["name"]
    if name not in FILES:
        raise HTTPException(404)
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            _packed(name), headers={**headers, "Content-Encoding": "gzip"}, media_type=_type(name)
        )
    return Response(FILES[name].read_bytes(), headers=headers, media_type=_type(name))


def _type(name: str) -> str:
    return TYPES[FILES[name].suffix]


@cache
def _packed(name: str) -> bytes:
    return gzip.compress(FILES[name].read_bytes(), 6)


@cache
def address(name: str) -> str:
    """Where a page finds a file."""
    return f"/static/{name}?v={hashlib.sha256(FILES[name].read_bytes()).hexdigest()[:12]}"


@cache
def plotly_style_id() -> str:
    """The id of the style element that this Plotly adds for its maps, which the security policy forbids.

    Where an element of that id is there already, it adds none. The style of charts is in ``dashboard.css``.
    """
    found = re.search(r'getElementById\("([0-9a-f]{64})"\)', PLOTLY.read_text(encoding="utf-8"))
    return found[1] if found else "no-style-of-maps"
