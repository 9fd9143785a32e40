"""What the documents show runs: README and docs pages block by block, docstrings' examples."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn
from helpers import slow_but

import sklsdm

ROOT = Path(sklsdm.__file__).parents[1]
BUILT = ("_build", "auto_gallery", "generated")  # by `make docs`
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if not set(page.parts) & set(BUILT)),
]
# Modules whose docstrings hold an example.
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "sklsdm").rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Sections of recipes.md, each a program by itself, with the package that it needs.
RECIPES = {"Optuna": "optuna", "MLflow": "mlflow", "MAPIE": "mapie"}
# Pages and examples that take seconds also with small budgets.
SLOW_PAGES = {
    "callbacks.md",
    "choosing.md",
    "scaling.md",
    "scoring.md",
    "trusting.md",
    "unpaired.md",
}
SLOW_EXAMPLES = {"sklsdm.ensemble", "sklsdm.forwarding", "sklsdm.search"}
# What is done less of with small budgets besides: diagnoses, choices, comparisons of laws.
SMALLER = {
    "sklsdm.metrics.classifier.N_TREES": 5,
    "sklsdm.encoders.boosting._MANY_FOLDS": 2,
    "sklsdm.fitting.choosing._MOST_TO_PAIR": 100,
    "sklsdm.fitting.choosing._MOST_TO_LABEL": 100,
    "sklsdm.fitting.holding_out.N_FOLDS": 2,
    "sklsdm.fitting.noise_by_folds._N_FOLDS": 2,
    "sklsdm.shift._N_RELABELLINGS": 199,
}


def blocks(page):
    """(section, first line, code) of a page's python blocks; a section's name ends at a colon."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        before = text[: block.start(1)]
        section = re.findall(r"^## ([^:\n]*)", before, re.MULTILINE)[-1:]
        found.append(("".join(section), before.count("\n") + 1, block[1]))
    return found


def programs():
    """(page, section) of all that runs: pages as a whole, of recipes.md each section."""
    for page in filter(blocks, PAGES):
        for section in RECIPES if page.name == "recipes.md" else [""]:
            marks = [pytest.mark.slow] if section or page.name in SLOW_PAGES else []
            yield pytest.param(page, section, id=f"{page.name} {section}".strip(), marks=marks)


PROGRAMS = pytest.mark.parametrize(("page", "section"), list(programs()))


def run(page, section):
    """All blocks of a page or section, one after another, as a reader who copies them would."""
    if section:
        pytest.importorskip(RECIPES[section])
    names = {"__name__": "__main__"}
    with sklearn.config_context():
        for found, line, code in blocks(page):
            if not section or found == section:
                exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)


@pytest.fixture
def small_budgets(monkeypatch):
    """Trainings of two steps, and few folds."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    for name, value in SMALLER.items():
        monkeypatch.setattr(name, value)
    with importlib.import_module("small_budgets").small_budgets(steps=2):
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_budgets")
@PROGRAMS
def test_pages_run_with_small_budgets(page, section, tmp_path, monkeypatch):
    with monkeypatch.context() as within:
        within.chdir(tmp_path)
        run(page, section)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@PROGRAMS
def test_pages_run(page, section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page, section)


def test_every_recipe_is_run():
    (page,) = (page for page in PAGES if page.name == "recipes.md")
    assert {section for section, _, _ in blocks(page)} == set(RECIPES)


def test_readme_shows_code_early():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "```python" in lines[:35]
    assert len(lines) <= 140


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Relative links and pictures of a page exist."""
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    broken = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not broken


def run_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_budgets")
@pytest.mark.parametrize("name", slow_but(set(MODULES) - SLOW_EXAMPLES, MODULES))
def test_docstring_examples_run_with_small_budgets(name):
    run_examples(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    run_examples(name)


@pytest.mark.parametrize("name", sklsdm.__all__)
def test_public_objects_are_documented(name):
    found = getattr(sklsdm, name)
    assert found.__doc__
    if isinstance(found, type) and not issubclass(found, Exception):
        assert ">>>" in found.__doc__


def test_no_docstring_is_unfinished():
    for path in sorted((ROOT / "sklsdm").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "PLACEHOLDER" not in text, path
        assert "TODO" not in text, path


@pytest.mark.slow
def test_the_demo_runs(tmp_path):
    """What `make demo` runs; the other examples take minutes, or data that is not bundled."""
    script = ROOT / "docs" / "examples" / "digits.py"
    command = [sys.executable, str(script), "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "labelled only" in done.stdout
    assert (tmp_path / "digits.png").stat().st_size > 10_000
