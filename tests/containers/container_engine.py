"""The image that build.sh made, run as strictly as a laboratory might: podman without a daemon."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE = "localhost/fmmtc:test"
UID = 54321
"""Of nobody: the image has no such user."""
STRICT = ("--network", "none", "--read-only", "--passwd=false", "--user", f"{UID}:{UID}")
"""No network, a root that nothing can be written to, a user without a name."""

_LIMITS = (("nofile", resource.RLIMIT_NOFILE, 20_000), ("nproc", resource.RLIMIT_NPROC, 32_768))
_HERE = Path(__file__).parent


def place() -> Path:
    """Name the folder that the scripts build in."""
    words = ["bash", "-c", 'source "$0" && echo "$place"', str(_HERE / "place.sh")]
    return Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip())


@dataclass(frozen=True)
class Engine:
    """Podman on the storage of the container tests."""

    folder: Path

    def podman(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of podman's commands."""
        return subprocess.run(self._spell(*words), capture_output=True, text=True, check=False)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Begin one of podman's commands and leave it open to be talked with."""
        pipe = subprocess.PIPE
        return subprocess.Popen(self._spell(*words), stdin=pipe, stdout=pipe, text=True)

    def run(
        self,
        *words: str | Path,
        options: Sequence[str] = STRICT,
        binds: Mapping[str, str | Path] | None = None,
        program: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the image.

        Parameters
        ----------
        words
            What the program is told.
        options
            Podman's.
        binds
            Folders of this machine by their place inside, ``/data:ro``.
        program
            Instead of the entrypoint.
        """
        bound = [f"--volume={there}:{inside}" for inside, there in (binds or {}).items()]
        chosen = [] if program is None else ["--entrypoint", program]
        return self.podman("run", "--rm", *options, *bound, *chosen, IMAGE, *words)

    def _spell(self, *words: str | Path) -> list[str]:
        storage = ["--root", self.folder / "storage", "--runroot", self.folder / "run"]
        how = ["--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
        limits = _limits() if words[0] == "run" else []
        return list(map(str, ["podman", *storage, *how, words[0], *limits, *words[1:]]))


def _limits() -> list[str]:
    """Ask for no more than this machine allows, as podman would by default."""
    found = {name: min(most, resource.getrlimit(number)[1]) for name, number, most in _LIMITS}
    return [f"--ulimit={name}={most}:{most}" for name, most in found.items()]
