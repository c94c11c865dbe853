"""Print the other Pythons of this machine that agentlab runs on, one a line: ``3.12=/usr/bin/python3.12``.

With ``--ends`` those are left out that lie between the oldest of all and the newest of the others.

They are looked for on the PATH, as ``python3.12``, and among the versions that pyenv has installed. One per minor
version is enough; the version that runs this script is left out, since it has the whole suite.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

OLDEST = (3, 11)
ASK = "import sys; print(*sys.version_info[:2], getattr(sys, '_is_gil_enabled', lambda: True)())"


def candidates() -> Iterator[Path]:
    """Files that may be Pythons: shims of pyenv answer only for the version that is switched on."""
    for folder in map(Path, os.get_exec_path()):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if re.fullmatch(r"python3\.\d+", path.name))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/*/bin/python3"))


def version_of(python: Path) -> tuple[int, int] | None:
    """Its version; None for what does not answer, cannot make environments, or runs without the interpreter's lock."""
    command = [str(python), "-c", f"import ensurepip, venv; {ASK}"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.fullmatch(r"(\d+) (\d+) True", said.stdout.strip())
    return (int(found[1]), int(found[2])) if found and said.returncode == 0 else None


def others() -> dict[tuple[int, int], Path]:
    """The first Python of each promised version but this one, oldest first."""
    found: dict[tuple[int, int], Path] = {}
    for python in candidates():
        version = version_of(python)
        if version is not None and version >= OLDEST and version != sys.version_info[:2]:
            found.setdefault(version, python)
    return dict(sorted(found.items()))


def ends(versions: Collection[tuple[int, int]], own: tuple[int, int]) -> list[tuple[int, int]]:
    """The newest of the others, and the oldest of all unless that is one's own. Pure."""
    return sorted({min(*versions, own), max(versions)} - {own}) if versions else []


if __name__ == "__main__":
    found = others()
    for version in ends(found, sys.version_info[:2]) if "--ends" in sys.argv else found:
        print(f"{version[0]}.{version[1]}={found[version]}")
