"""The site without building it: every page has its place, and the gallery runs in small size.

`make docs` builds it, with warnings as errors, and checks each link of the result.
"""

import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import sklsdm

DOCS = Path(sklsdm.__file__).parents[1] / "docs"
if not (DOCS / "conf.py").exists():
    pytest.skip("the documentation does not come with the package", allow_module_level=True)

GALLERY = sorted((DOCS / "gallery").glob("plot_*.py"))
# A second or more of one core each, however few their steps: diagnoses, searches, many draws.
LONG = {
    "plot_arms",
    "plot_bad_fit",
    "plot_colour_images",
    "plot_conformal_intervals",
    "plot_dask",
    "plot_digits_by_class",
    "plot_displays",
    "plot_geyser",
    "plot_grid_search",
    "plot_load_curves",
    "plot_mixed_table",
    "plot_own_autoencoder",
    "plot_super_resolution",
    "plot_unpaired",
}
# Folders that are no interface: `save`, `load` and the displays are names of sklsdm itself, nets
# are internal, and the formulas are listed file by file.
INTERNAL = {"displays", "draws", "fitting", "functional", "inputs", "nets", "saving", "storage"}


@pytest.fixture
def extension(monkeypatch):
    """Imports a module of docs/_ext."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    return importlib.import_module


def toctree(page):
    """Pages that the toctrees of a page name."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line[:1] not in ("", ":")]
    return [re.sub(r".*<(.*)>", r"\1", line) for line in lines]


def test_every_page_is_in_one_toctree():
    named = [name for page in DOCS.glob("*.md") for name in toctree(page)]
    pages = {page.stem for kind in ("*.md", "*.rst") for page in DOCS.glob(kind)}
    pages -= {"index", "sg_execution_times"}
    assert sorted(named) == sorted(pages | {"auto_gallery/index"})


def test_api_lists_every_public_module(extension):
    """Every folder, every file of formulas, and modules with names that sklsdm itself lacks."""
    listed = set(extension("public_names").modules())
    units = list(pkgutil.iter_modules(sklsdm.__path__))
    public = {unit.name for unit in units if unit.ispkg} - INTERNAL
    for name in {unit.name for unit in units if not unit.ispkg and unit.name[0] != "_"}:
        names = getattr(importlib.import_module(f"sklsdm.{name}"), "__all__", [])
        public |= {name} - ({name} if set(names) <= set(sklsdm.__all__) else set())
    formulas = pkgutil.iter_modules(importlib.import_module("sklsdm.functional").__path__)
    public |= {f"functional.{module.name}" for module in formulas}
    assert listed >= {f"sklsdm.{name}" for name in public} | {"sklsdm"}
    for name in listed:
        importlib.import_module(name)


def test_api_lists_nothing_twice(extension):
    """Sphinx warns of an object that is on the pages of two modules."""
    api = extension("public_names")
    places = {}
    for name in api.modules():
        module = importlib.import_module(name)
        for public in api.public_names(module):
            if hasattr(found := getattr(module, public), "__qualname__"):
                places.setdefault((found.__module__, found.__qualname__), []).append(name)
    assert {found: names for found, names in places.items() if len(names) > 1} == {}


def test_public_names_of_a_module_come_from_all(extension):
    names = extension("public_names").public_names
    assert set(names(sklsdm)) >= {"LSDMRegressor", "sample", "load"}
    assert "__version__" not in names(sklsdm)
    assert "shift_between" in names(importlib.import_module("sklsdm.shift"))
    assert "linkage" not in names(importlib.import_module("sklsdm.shift"))  # imported


def test_links_of_the_code_host_become_links_of_the_site(extension):
    pytest.importorskip("sphinx")
    on_the_site = extension("repository_pages").on_the_site
    text = "[a](../benchmarks/README.md#arms) [b](saving.md) [c](https://x.org/d.md) [d](#here)"
    expected = "[a](benchmarks.md#arms) [b](saving.md) [c](https://x.org/d.md) [d](#here)"
    assert on_the_site(text, "docs/faq.md") == expected
    assert on_the_site("[a](docs/intervals.md#b)", "CHANGELOG.md") == "[a](intervals.md#b)"
    assert on_the_site("[a](../docs/examples/taxi.py)", "benchmarks/README.md") == (
        "[a](examples/taxi.py)"
    )


def test_pages_of_the_repository_exist(extension):
    pytest.importorskip("sphinx")
    for page, file in extension("repository_pages").PAGES.items():
        assert (DOCS.parent / file).is_file()
        assert f"../{file}" in (DOCS / f"{page}.md").read_text(encoding="utf-8")


def test_broken_links_of_a_built_site_are_found(tmp_path):
    broken_links = runpy.run_path(str(DOCS / "check_links.py"))["broken_links"]
    (tmp_path / "a.html").write_text('<a href="b.html#one"><a href="b.html#two"><img src="c.png">')
    (tmp_path / "b.html").write_text('<p id="one"><a href="https://x.org/"><a href="a.html">')
    assert broken_links(tmp_path) == ["a.html: b.html#two (no such anchor)", "a.html: c.png"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONG else [])
        for path in GALLERY
    ],
)
def test_gallery_runs_with_small_budgets(script, extension, capsys):
    for name, package in {"plot_eight_gaussians": "ot", "plot_dask": "dask.array"}.items():
        if script.stem == name:
            pytest.importorskip(package)
    with extension("small_budgets").small_budgets(steps=2):
        runpy.run_path(str(script), run_name="__main__")
    assert plt.get_fignums(), "an example of the gallery has a picture"
    assert capsys.readouterr().out
    plt.close("all")


def test_gallery_has_titles_and_ten_examples():
    assert len(GALLERY) >= 10
    assert {path.stem for path in GALLERY} >= LONG
    for path in GALLERY:
        title, line = path.read_text(encoding="utf-8").splitlines()[1:3]
        assert line == "=" * len(title), path


def test_description_for_an_index_has_no_links_of_the_repository():
    text = runpy.run_path(str(DOCS.parent / "setup.py"))["long_description"]()
    assert not re.findall(r"\]\((?!https://)", text)
    assert "```python" in text
    assert "`docs/digits.png`" in text
    assert "(https://arxiv.org/abs/2603.04223)" in text


def test_versions_agree():
    """The version is written in _version.py; the citation has to repeat it."""
    citation = (DOCS.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == sklsdm.__version__


def test_changelog_keeps_its_form():
    """One heading a version, newest first, with the kinds of change that the form knows."""
    text = (DOCS.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert all(re.match(r"\d+\.\d+\.\d+", version) for version in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        found = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert set(found) <= kinds
        assert len(found) == len(set(found))
