"""Run every benchmark beside this file and write what they found to results.md.

    python tests/benchmarks [name ...]

Each script prints one JSON line per figure: ``figure``, what it was measured with, and either ``agentlab`` (with
``peer``, ``peer_name`` and ``ratio`` where there is a peer) or its values by their units.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KNOWN = {"figure", "agentlab", "peer", "peer_name", "ratio", "unit", "versions", "machine", "python"}


def measured(script: Path) -> list[dict[str, Any]]:
    """Run one script; its figures, printed as they come."""
    found = []
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("{"):
                found.append(json.loads(line))
    if process.returncode:
        print(f"{script.name} ended with {process.returncode}", file=sys.stderr)
    return found


def row(line: dict[str, Any]) -> str:
    """One figure as a row of the table."""
    rest = {name: value for name, value in line.items() if name not in KNOWN}
    values = {name: value for name, value in rest.items() if isinstance(value, float) or "_per_" in name}
    about = ", ".join(f"{name} {value}" for name, value in rest.items() if name not in values)
    ours = f"{line['agentlab']:,}" if "agentlab" in line else ", ".join(f"{n} {v:,}" for n, v in values.items())
    theirs = f"{line['peer']:,} ({line['peer_name']})" if "peer" in line else ""
    figure = line["figure"] + (f" ({about})" if about else "")
    return f"| {figure} | {ours} {line.get('unit', '')} | {theirs} | {line.get('ratio', '')} |"


def versions(lines: list[dict[str, Any]]) -> str:
    """What was measured, and where."""
    found = {"python": platform.python_version()}
    for line in lines:
        found |= line.get("versions", {})
    words = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"{words}. {platform.system()} {platform.machine()}, {os.cpu_count()} cores."


def main() -> None:
    """Measure everything, or what is named."""
    scripts = [path for path in sorted(HERE.glob("*.py")) if path.stem != "__main__"]
    asked = [path for path in scripts if not sys.argv[1:] or path.stem in sys.argv[1:]]
    parts = {path.stem: measured(path) for path in asked}
    head = "| figure | agentlab | peer | ratio |\n| --- | --- | --- | --- |"
    tables = [f"## {name}\n\n{head}\n" + "\n".join(map(row, lines)) for name, lines in parts.items()]
    every = [line for lines in parts.values() for line in lines]
    text = "\n\n".join(
        [f"# What was measured\n\n{versions(every)} A ratio is agentlab's figure to the peer's.", *tables]
    )
    (HERE / "results.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
