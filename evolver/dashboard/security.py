"""Who may see the pages: the token, the host names that are answered, and what browsers are told.

Everything is one ASGI middleware around the application, so that no page can be without it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import URL, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
PARAMETER = "token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer: nothing is loaded from elsewhere, nothing inline is run, nobody frames a page."""


@dataclass(frozen=True)
class Access:
    """Who is answered: requests for one of these ``hosts``, and with ``token`` those who know it.

    An address of numbers is answered as well unless ``is_local``: only names can be bound anew to another
    address (DNS rebinding), by whoever owns the name.
    """

    hosts: frozenset[str]
    token: str | None
    is_local: bool

    @classmethod
    def to(cls, host: str, token: str | None, allowed: Iterable[str] = ()) -> Access:
        """For a server that listens on ``host``; a token is made up where one is needed and none given."""
        is_local = is_loopback(host)
        names = {host.casefold(), *LOCAL_NAMES, *(name.casefold() for name in allowed)}
        if not is_local:
            names |= {socket.gethostname().casefold(), socket.getfqdn().casefold()}
            token = token or secrets.token_urlsafe(24)
        return cls(frozenset(names), token, is_local)

    def answers(self, host: str) -> bool:
        """Whether a request with this Host header is answered."""
        name = _without_port(host).casefold()
        return name in self.hosts or (not self.is_local and _is_address(name))

    def knows(self, token: str) -> bool:
        """Whether this is the token, told in a time that does not depend on where they differ."""
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    @property
    def proof(self) -> str:
        """What the cookie holds: it proves that the token was known, and does not tell it."""
        return hmac.new((self.token or "").encode(), b"evolver dashboard", hashlib.sha256).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


class Guard:
    """The middleware."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self.application = application
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._instead(Request(scope)) or self.application
        await answer(scope, receive, send_with_headers)

    def _instead(self, request: Request) -> Response | None:
        """What is answered instead of the page, if anything."""
        access = self.access
        if not access.answers(request.headers.get("host", "")):
            return _line("this host name is not answered; see --allow-host of 'evolver dashboard'", 421)
        if request.method not in ("GET", "HEAD"):
            return _line("these pages can only be read", 405)
        if access.token is None:
            return None
        given = request.query_params.get(PARAMETER)
        if given is not None and access.knows(given):
            return self._admitted(request)
        cookie = request.cookies.get(_cookie_name(request.url), "")
        if given is None and hmac.compare_digest(cookie.encode(), access.proof.encode()):
            return None
        return _line("wrong or missing token; open the address that 'evolver dashboard' printed", 401)

    def _admitted(self, request: Request) -> Response:
        """To the same page without the token in its address, which histories and logs would keep."""
        url = request.url.remove_query_params(PARAMETER)
        path = "/" + url.path.lstrip("/")  # two slashes would name another host
        answer = RedirectResponse(f"{path}?{url.query}" if url.query else path, 303)
        answer.set_cookie(
            _cookie_name(request.url), self.access.proof,
            httponly=True, samesite="lax", secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer


def _cookie_name(url: URL) -> str:
    """Of each port its own: cookies are shared by all ports of a host."""
    return f"evolver-dashboard-{url.port or 'default'}"


def _line(message: str, status: int) -> Response:
    return PlainTextResponse(f"evolver: {message}\n", status, {"Cache-Control": "no-store"})
