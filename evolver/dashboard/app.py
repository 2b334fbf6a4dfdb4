"""The application: which address shows what, and how a view becomes an answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from evolver import __version__
from evolver.dashboard import assets, comparing, fronts, genomes, lineage, overview, pairs
from evolver.dashboard.security import Access, Guard
from evolver.dashboard.views import Answer, Asked, Elsewhere, Figure, Page, View
from evolver.dashboard.words import FILTERS
from evolver.errors import EvolverError, InvalidInput, NotFound
from evolver.store.db import DatabaseUnavailable
from evolver.store.reading import Reader

log = logging.getLogger("evolver.dashboard")

CONNECTIONS = 4
"""So many views are read at a time, each over a connection of its own; the others wait."""
REFRESH_S = 3
"""How often a page asks for what has changed."""

TITLES = {400: "That cannot be shown", 404: "Not found", 503: "The database does not answer"}
"""What stands over an answer of this status."""

VIEWS: Mapping[str, View] = {
    "/": overview.overview,
    "/experiment/{id:int}": overview.experiment,
    "/experiment/{id:int}/growth.json": overview.growth,
    "/experiment/{id:int}/front": fronts.front,
    "/experiment/{id:int}/front.json": fronts.figure,
    "/experiment/{id:int}/lineage": lineage.of_front,
    "/genome": genomes.find,
    "/genome/{id:int}": genomes.genome,
    "/genome/{id:int}/curves.json": genomes.curves,
    "/genome/{id:int}/lineage": lineage.of_genome,
    "/compare": comparing.experiments,
    "/compare/growth.json": comparing.growth,
    "/compare/genomes": pairs.genomes,
    "/compare/curves.json": pairs.curves,
}


def application(reader: Reader, access: Access) -> ASGIApp:
    """All pages, for who has access."""
    site = _Site(reader, _environment(), CapacityLimiter(CONNECTIONS))
    routes = [Route(path, partial(site.answer, view)) for path, view in VIEWS.items()]
    pages = Starlette(
        routes=[*routes, Route("/static/{name}", assets.serve)],
        exception_handlers={HTTPException: site.refuse, Exception: site.refuse},
    )
    return Guard(GZipMiddleware(pages, minimum_size=2_000, compresslevel=4), access)


def _environment() -> Environment:
    """Templates, in which every value is escaped and a misspelt one is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals.update(
        version=__version__,
        refresh_s=REFRESH_S,
        asset=assets.address,
        plotly_style_id=assets.plotly_style_id(),
    )
    return made


@dataclass(frozen=True)
class _Site:
    reader: Reader
    environment: Environment
    limiter: CapacityLimiter

    async def answer(self, view: View, request: Request) -> Response:
        """What a view shows, read in a thread."""
        asked = Asked(request.path_params, request.query_params)
        try:
            return await to_thread.run_sync(self._read, view, asked, limiter=self.limiter)
        except EvolverError as error:
            return self._sorry(str(error), _status(error))

    def _read(self, view: View, asked: Asked) -> Response:
        with self.reader.read() as connection:
            answer = view(connection, asked)
        return self._response(answer)

    def _response(self, answer: Answer) -> Response:
        match answer:
            case Figure():
                return JSONResponse(answer.to_json(), headers=_NO_STORE)
            case Elsewhere():
                return RedirectResponse(answer.address, 303)
            case Page():
                return self._page(answer.template, answer.values)

    def _page(self, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
        text = self.environment.get_template(template).render(values)
        return HTMLResponse(text, status, _NO_STORE)

    def _sorry(self, message: str, status: int) -> Response:
        title = TITLES.get(status, "This page failed")
        return self._page("error.html", {"message": message, "title": title}, status)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """An address that does not exist, or a mistake of ours, which the log has in full."""
        if isinstance(error, HTTPException):
            return self._sorry("there is no such page", error.status_code)
        log.error("%s failed", request.url.path, exc_info=error)
        return self._sorry("this page failed; the log of 'evolver dashboard' says why", 500)


_NO_STORE = {"Cache-Control": "no-store"}


def _status(error: EvolverError) -> int:
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, InvalidInput):
        return 400
    return 503 if isinstance(error, DatabaseUnavailable) else 500
