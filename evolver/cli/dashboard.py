"""``evolver dashboard``: pages that show searches while they run."""

from __future__ import annotations

import socket

import click

from evolver.cli.options import db_option, examples
from evolver.cli.output import say
from evolver.errors import EnvironmentFault, EvolverError, InvalidInput

NEEDED = ("jinja2", "plotly", "starlette", "uvicorn")


@click.command(
    epilog=examples(
        "evolver dashboard --open",
        "evolver dashboard --port 0 --db postgresql://reader@db.example.org/evolver",
        "evolver dashboard --host 0.0.0.0 --allow-host gpu1.example.org",
    )
)
@db_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST",
              help="Address to listen on; another than this machine's own needs a token.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8050, show_default=True, metavar="N",
              help="Port to listen on; 0 for any that is free.")  # fmt: skip
@click.option("--token", metavar="TOKEN", envvar="EVOLVER_DASHBOARD_TOKEN",
              help="What a browser must know, also "
              "EVOLVER_DASHBOARD_TOKEN. [default: made up where needed]")  # fmt: skip
@click.option("--allow-host", "allowed", multiple=True, metavar="NAME",
              help="Another name of this server, as a proxy has it; may be repeated.")  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
def dashboard(
    db_url: str | None, host: str, port: int, token: str | None, allowed: tuple[str, ...], opens: bool
) -> None:
    """Show searches in a browser: progress, fronts, genomes, lineage, comparisons.

    The pages update by themselves and never write: a reader's rights to the database are enough. Ctrl-C
    ends it. See docs/dashboard.md for access from other machines.
    """
    _require_packages()
    import uvicorn

    from evolver.dashboard.app import application
    from evolver.dashboard.security import Access
    from evolver.store.reading import Reader

    if token is not None and not token.strip():
        raise InvalidInput("--token must not be empty; leave it out where none is needed")
    reader = Reader.open(db_url)
    try:
        listening = _listen(host, port)
        access = Access.to(host, token, allowed)
        address = _address(host, listening.getsockname()[1], access.token)
        config = uvicorn.Config(
            application(reader, access),
            log_level="error", access_log=False, server_header=False, proxy_headers=False, lifespan="off",
        )  # fmt: skip
        say(f"the dashboard of {reader} is at {address}")
        if opens:
            click.launch(address)
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        reader.dispose()


def _require_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise EnvironmentFault(
            f"'evolver dashboard' needs {', '.join(missing)}; run: pip install 'evolver[dashboard]'"
        )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises EvolverError with one line where that cannot be."""
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        made = socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise InvalidInput(f"--host '{host}' is no address of this machine: {error.strerror}") from None
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    return made


def _cannot_listen(host: str, port: int, error: OSError) -> EvolverError:
    import errno

    if error.errno == errno.EADDRINUSE:
        return EnvironmentFault(f"port {port} of {host} is in use; choose another one, or --port 0 for any")
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidInput(f"--host '{host}' is no address of this machine")
    return EnvironmentFault(f"cannot listen on port {port} of {host}: {error.strerror}")


def _address(host: str, port: int, token: str | None) -> str:
    """What to open; a server on all addresses is told by the name of the machine."""
    from urllib.parse import quote

    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")
