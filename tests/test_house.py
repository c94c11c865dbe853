"""What holds the project together: its requirements, its menu, its floors, its words, its notebooks."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import agentlab
import tests.figures

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = {path.parent.name: path.parent for path in (ROOT / "agentlab").glob("*/__init__.py")} | {
    "agentlab_widgets": ROOT / "widgets" / "agentlab_widgets",
    "tests": ROOT / "tests",
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MENU = {
    "Agent",
    "Assistant",
    "Backoff",
    "Budget",
    "Exit",
    "Lab",
    "Limit",
    "Ref",
    "Reply",
    "Supervisor",
    "Transcript",
    "child",
    "errors",
    "mcp",
    "mcp_server",
    "check",
    "open_store",
    "tool",
}
OWN_TO_CONDA = {"python", "pip"}
HEAVY = {"pandas", "altair", "anthropic", "IPython", "ipywidgets", "anywidget"}
TOP_LEVEL = {
    "agentlab",
    "notebooks",
    "tests",
    "widgets",
    "CHANGELOG.md",
    "DESIGN.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "environment.yml",
    "pyproject.toml",
}


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run ``command`` and return what it printed; a failure shows all of it."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"{command} failed\n{done.stdout}\n{done.stderr}"
    return done.stdout


def requirements(lines: list[str]) -> set[str]:
    """Return requirement lines in one spelling."""
    return {str(Requirement(line)).lower() for line in lines}


def code_cells(notebook: dict) -> list[dict]:
    """Return the code cells of ``notebook``."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def notebook(request):
    """Each committed notebook, as JSON."""
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_conda_gets_the_same_requirements_as_pip():
    """environment.yml lists what pyproject.toml requires, for use and for the tests, with the same bounds."""
    project = PYPROJECT["project"]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip_section = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    from_conda = [entry for entry in listed if isinstance(entry, str) and Requirement(entry).name not in OWN_TO_CONDA]
    from_pip = [entry for entry in pip_section if not entry.startswith("-e")]

    assert f"python{project['requires-python']}" in listed
    assert "-e ." in pip_section
    assert requirements(from_conda + from_pip) == requirements(
        project["dependencies"] + project["optional-dependencies"]["test"]
    )


def test_every_requirement_has_both_bounds():
    """A lower bound says what was tested, an upper one keeps the next major version out."""
    project = PYPROJECT["project"]

    for line in project["dependencies"] + project["optional-dependencies"]["test"]:
        operators = {specifier.operator for specifier in Requirement(line).specifier}
        assert operators == {">=", "<"}, line


def test_nothing_else_stands_at_the_top():
    """The top folder holds the few names that DESIGN.md and README.md speak of, and dot-files."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("only a git checkout knows which files are the project's")

    committed = {path.split("/")[0] for path in run("git", "ls-files").splitlines()}

    assert {name for name in committed if not name.startswith(".")} <= TOP_LEVEL


def test_wheel_and_sdist_carry_every_file_of_both_packages(tmp_path):
    """Python, JavaScript, style sheets and type markers are all installed, not only the modules."""
    wanted = {
        str(path.relative_to(base))
        for base, package in ((ROOT, "agentlab"), (ROOT / "widgets", "agentlab_widgets"))
        for path in (base / package).rglob("*")
        if path.suffix in {".py", ".js", ".css", ".cfg"} or path.name == "py.typed"
    }

    run(sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path))

    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1].removeprefix("widgets/") for name in archive.getnames()}
    assert wanted <= in_wheel
    assert wanted <= in_sdist


def test_the_menu_is_what_it_is():
    """A public name is added or removed on purpose, here and in ``agentlab.__all__``, never by accident."""
    assert set(agentlab.__all__) == MENU
    assert len(MENU) <= 25
    assert all(hasattr(agentlab, name) for name in MENU)


def test_what_is_drawn_and_simulated_is_found_by_tab_and_loaded_when_used():
    """``from agentlab import charts, sim``, or ``agentlab.charts``; who uses neither pays for neither."""
    code = (
        "import sys, agentlab; print({'agentlab.charts', 'agentlab.sim'} & set(sys.modules),"
        " {'charts', 'sim'} <= set(dir(agentlab)), agentlab.charts.restarts.__name__, agentlab.sim.control.__name__)"
    )

    assert run(sys.executable, "-c", code).split() == ["set()", "True", "restarts", "control"]


@pytest.mark.parametrize("name", sorted(MENU))
def test_every_public_name_is_explained(name):
    """It has a docstring, and README.md or DESIGN.md speaks of it."""
    documents = "".join((ROOT / file).read_text(encoding="utf-8") for file in ("README.md", "DESIGN.md"))

    assert inspect.getdoc(getattr(agentlab, name))
    assert re.search(rf"\b{name}\b", documents, re.IGNORECASE)


def test_importing_agentlab_imports_nothing_heavy():
    """Pandas, Altair, anthropic, IPython and widgets are imported where they are used, also once ``Lab`` was named."""
    loaded = run(sys.executable, "-c", "import agentlab, sys; agentlab.Lab; print(*sys.modules)").split()

    assert HEAVY.isdisjoint(loaded)


def test_the_floors_of_the_design_are_the_floors_that_are_checked():
    """DESIGN.md prints the floors from the ground up, import-linter holds the same list from the top down."""
    section = (ROOT / "DESIGN.md").read_text(encoding="utf-8").split("## Floors")[1]
    printed = section.split("```")[1].strip().splitlines()
    (contract,) = (c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers")

    assert printed == list(reversed(contract["layers"]))
    for name in re.findall(r"\w+", " ".join(printed)):
        assert re.search(rf"^\| `{name}/?` \|", section, re.MULTILINE), f"DESIGN.md does not say what {name} is"


def files_named_in(text: str) -> list[str]:
    """Files and folders of the house that a text names in backticks, as ``folder/file``."""
    return [f"{folder}/{name}" for folder, name in re.findall(r"`(\w+)/(\w+)(?:\.\w+)?`", text) if folder in FOLDERS]


def is_there(name: str) -> bool:
    """Whether there is such a file, or such a folder."""
    folder, file = name.split("/")
    return any((FOLDERS[folder] / f"{file}{end}").exists() for end in ("", ".py"))


def test_every_file_that_the_design_names_is_there():
    """Its walks lead from file to file, so a file that moved takes its name in DESIGN.md along."""
    named = files_named_in((ROOT / "DESIGN.md").read_text(encoding="utf-8"))

    assert len(named) > 50
    assert [name for name in named if not is_there(name)] == []


def test_every_file_that_a_docstring_names_is_there():
    """The same for what the files say of each other."""
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "agentlab").rglob("*.py")}
    gone = {
        str(path.relative_to(ROOT)): [name for name in files_named_in(text) if not is_there(name)]
        for path, text in sources.items()
    }

    assert {path: names for path, names in gone.items() if names} == {}


def test_the_figures_of_the_design_are_those_that_are_counted():
    """DESIGN.md has a row for each figure that ``tests/figures.py`` prints, and that counts this checkout."""
    counted = tests.figures.table({".": tests.figures.read_house(ROOT)}).splitlines()
    section = (ROOT / "DESIGN.md").read_text(encoding="utf-8").split("## The house in figures")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")]

    assert set(rows) >= {line.split(" | ")[0] for line in counted[2:]}


@pytest.mark.parametrize("folder", sorted(p.parent.name for p in (ROOT / "agentlab").glob("*/__init__.py")))
def test_a_folder_says_what_it_is(folder):
    """Five lines: what it is, what it may import, where to start, its invariant, how to add to it."""
    text = ast.get_docstring(ast.parse((ROOT / "agentlab" / folder / "__init__.py").read_text(encoding="utf-8")))

    assert text is not None
    lines = text.splitlines()
    assert [line.split(":")[0] for line in lines[2:6]] == ["May import", "Start with", "Invariant", "To add"]
    first = re.findall(r"``([a-z_]+)``", lines[3])[0]
    assert (ROOT / "agentlab" / folder / f"{first}.py").exists(), (
        f"{folder} says to start with {first}, which is not there"
    )


def test_the_readme_is_short():
    """README.md is read whole: at most 120 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_readme_does_what_it_says(tmp_path):
    """Every Python block of README.md runs, in order, and the values in its comments are the values."""
    run(sys.executable, str(ROOT / "tests" / "run_readme.py"), str(ROOT / "README.md"), cwd=tmp_path)


def test_the_licence_is_bsd_3_clause():
    """LICENSE is Jupyter's licence, and pyproject.toml says so."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")

    assert text.startswith("BSD 3-Clause License")
    assert "agentlab contributors" in text
    assert PYPROJECT["project"]["license"] == "BSD-3-Clause"


def test_a_notebook_carries_no_widget_state(notebook):
    """Saved widget state is megabytes of noise in a diff."""
    assert "widgets" not in notebook["metadata"]


def test_a_notebook_starts_with_its_question(notebook):
    """Text first, and exactly one heading of the first rank."""
    text = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]

    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert sum(len(re.findall(r"^# ", cell, re.MULTILINE)) for cell in text) == 1


BROUGHT = {"anthropic", "asyncio", "langgraph", "pydantic_ai", "typing"}
"""What the notebook about other frameworks brings along."""


def test_a_notebook_is_short_and_leaves_a_live_lab(notebook):
    """Cells have at most 12 lines, import only from the package, and were run; the end says how to close the lab."""
    cells = code_cells(notebook)
    sources = ["".join(cell["source"]) for cell in cells]

    assert max(len(source.splitlines()) for source in sources) <= 12
    assert all(cell["execution_count"] for cell in cells)
    imports = re.findall(r"^(?:import|from) +(?!agentlab)(\w+)", "\n".join(sources), re.MULTILINE)
    assert set(imports) <= (BROUGHT if "pydantic_ai" in imports else set())
    assert not re.search(r"\.close\(\)", "\n".join(sources))
    assert notebook["cells"][-1]["cell_type"] == "markdown"
    assert "`lab.close()`" in "".join(notebook["cells"][-1]["source"])
