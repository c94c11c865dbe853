"""Run notebooks from top to bottom and store their outputs, for those who changed one.

    python tests/store_outputs.py notebooks/*.ipynb

What a browser would add at every run (widget models, times) is left out, so that a diff shows what changed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def store(path: Path) -> None:
    """Run one notebook and write it back; a cell that fails raises, and nothing is written."""
    notebook = nbformat.read(path, as_version=4)

    NotebookClient(notebook, timeout=60, store_widget_state=False, record_timing=False).execute(cwd=str(path.parent))

    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)  # its model is gone; the static HTML beside it is not
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        store(Path(name))
