"""How much memory a process uses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
HAS_PROC = Path("/proc/self/statm").exists()  # Linux


def memory_of(pid: int, *, shared: bool = False) -> int | None:
    """Bytes of anonymous memory on Linux, or all if ``shared``; elsewhere of all; None if it is gone."""
    try:
        if HAS_PROC:
            _, resident, common, *_ = Path(f"/proc/{pid}/statm").read_text().split()
            return (int(resident) - (0 if shared else int(common))) * PAGE
        command = ["ps", "-o", "rss=", "-p", str(pid)]
        found = subprocess.run(command, capture_output=True, check=True, timeout=5)
        return int(found.stdout) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
