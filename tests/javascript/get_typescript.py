"""Fetch TypeScript's compiler, which only checks the types of the widgets' JavaScript; npm is not needed for it.

    python tests/javascript/get_typescript.py

puts the package, as its registry has it and by its SHA-512, into a folder of this environment, unless it is there, and
prints that folder. The registry is the one that npm is told to use here, else npm's own.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

VERSION = "5.9.3"
SHA512 = (
    "8e5d6f6733c38a72ebf5e52ddc9feded5e8580d130f508ef04f772b33f4a7d00"
    "c3e357d0ac2d98e2f290762694a454f86d795bd511e12e9a7cc2d9ba3394e04b"
)
FOLDER = Path(sys.prefix) / f"typescript-{VERSION}"
REGISTRY = "https://registry.npmjs.org/"
SECONDS = 60  # that the registry may be silent


def registry() -> str:
    """Where npm would look: its variable, else what an npm that is here says, else npm's own registry."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if chosen := os.environ.get(name):
            return chosen
    if npm := shutil.which("npm"):
        try:
            said = subprocess.run(
                [npm, "config", "get", "registry"], capture_output=True, text=True, timeout=SECONDS, check=False
            ).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return REGISTRY
        if said.startswith(("https://", "http://")):
            return said
    return REGISTRY


def get(folder: Path = FOLDER, source: str | None = None) -> Path:
    """Fetch the package into a folder, unless that is there; returns the folder.

    Args:
        folder: Where it is to be.
        source: The registry's address; None: ``registry()``.

    Raises:
        OSError: It could not be fetched, or is not what was meant; nothing was kept. Says what to do.
    """
    if folder.is_dir():
        return folder
    url = f"{(source or registry()).rstrip('/')}/typescript/-/typescript-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # npm's registry, and a checked sum
            data = answer.read()
    except (OSError, ValueError) as error:  # an address that is none is a ValueError
        raise OSError(
            f"{url} could not be fetched: {error}. Is there a network? Name a registry that can be reached: "
            "npm_config_registry=https://... make test"
        ) from error
    found = hashlib.sha512(data).hexdigest()
    if found != SHA512:
        raise OSError(f"{url} has the SHA-512 {found}, not {SHA512}: it was not kept. Name another registry.")
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            # Python 3.11.4 and newer: what would be written outside is refused; the sum above has said what comes.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(place)
        (Path(place) / "package").rename(folder)
    return folder


def main() -> None:
    """Print the folder, or say what to do."""
    try:
        print(get())  # what the command is asked for
    except OSError as error:
        sys.exit(f"python tests/javascript/get_typescript.py: {error}")


if __name__ == "__main__":
    main()
