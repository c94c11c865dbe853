"""The peers, each in a process of its own that prints one JSON object and ends.

``beam/*.erl`` runs on the Erlang VM of this machine, ``peers/by_*.py`` on this interpreter. A peer that is not
installed, fails or takes too long is a value that says so.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kit.report import Values

HERE = Path(__file__).parents[1]
PATIENCE = 90.0  # seconds for one round of one peer


def beam(call: str, *flags: str) -> Values:
    """What a function of ``beam/`` measures: ``beam("calls:pairs(100, 1000)")``; ``flags`` are the VM's."""
    folder = _compiled()
    if folder is None:
        return {"missing": "the Erlang VM is not installed (Debian: apt-get install erlang-base)"}
    return _run(["erl", "-noshell", *flags, "-pa", folder, "-eval", f"{call}, halt()."])


def python(peer: str, what: str, *, patience: float = PATIENCE, **sizes: int | str) -> Values:
    """What ``peers/by_<peer>.py <what> name=value ...`` measures within so many seconds."""
    arguments = [f"{name}={value}" for name, value in sizes.items()]
    return _run([sys.executable, str(HERE / "peers" / f"by_{peer}.py"), what, *arguments], patience)


@functools.cache
def _compiled() -> str | None:
    """The folder with the compiled modules; it goes when this process ends."""
    if not shutil.which("erl") or not shutil.which("erlc"):
        return None
    folder = tempfile.mkdtemp(prefix="agentlab-beam-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run(["erlc", "-o", folder, *map(str, sorted((HERE / "beam").glob("*.erl")))], check=True)
    return folder


def _run(command: Sequence[str], patience: float = PATIENCE) -> Values:
    """Run it in a process group that is gone afterwards; its last JSON line."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            said, complaint = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            said, complaint = "", f"no answer within {patience:g} s"
        finally:
            _end_group(process.pid)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        return {"missing": (complaint.strip().splitlines() or ["it printed nothing"])[-1][:200]}
    values: Values = json.loads(lines[-1])
    return values


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
