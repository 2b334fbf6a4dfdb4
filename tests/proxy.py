"""A TCP proxy that can stop answering, and cut connections: a network in trouble."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK = 65_536
LOOK_S = 0.05


class Proxy:
    """Listens on 127.0.0.1 at ``port`` and forwards to ``target``: (host, port), or a Unix socket's path."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._open = threading.Event()
        self._open.set()
        self._cut = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._open.set()
        self._thread.join()
        self._server.close()

    def stall(self) -> None:
        """Keep all connections, and forward nothing."""
        self._open.clear()

    def go_on(self) -> None:
        """Forward again, first what came meanwhile."""
        self._open.set()

    def cut(self) -> None:
        """Close all connections, and wait until that is done."""
        self._cut.set()
        while self._cut.is_set():
            self._end.wait(LOOK_S / 10)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            while not self._end.is_set():
                for key, _ in selector.select(LOOK_S):
                    self._open.wait()
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is self._server:
                        self._accept(selector)
                    elif sock in self._peers:
                        self._forward(selector, sock)
                if self._cut.is_set():
                    for sock in list(self._peers):
                        self._close(selector, sock)
                    self._cut.clear()
            for sock in list(self._peers):
                self._close(selector, sock)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._server.accept()
        family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
        behind = socket.socket(family, socket.SOCK_STREAM)
        try:
            behind.connect(self._target)
        except OSError:  # the server is away: so is this connection
            client.close()
            behind.close()
            return
        for sock, peer in ((client, behind), (behind, client)):
            self._peers[sock] = peer
            selector.register(sock, selectors.EVENT_READ)

    def _forward(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        try:
            data = sock.recv(CHUNK)
            if data:
                self._peers[sock].sendall(data)
                return
        except OSError:
            pass
        self._close(selector, sock)

    def _close(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        peer = self._peers.pop(sock, None)
        for one in (sock, peer):
            if one is not None:
                self._peers.pop(one, None)
                with suppress(KeyError, ValueError):
                    selector.unregister(one)
                one.close()
