"""Links to the documentation in the HTML pictures of estimators."""

import tomllib
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import autoencoders, documentation, encoders, matchers
from sklsdm.parameters import Declared

TABLES = (matchers.MATCHERS, autoencoders.AUTOENCODERS, encoders.ENCODERS)
PARTS = [kind for table in TABLES for kind in table.values()]
PICTURED = [
    sklsdm.LSDMRegressor(),
    sklsdm.LSDMGenerator(),
    sklsdm.SamplingEnsemble(),
    sklsdm.LSDMRegressorCV(),
    sklsdm.make_sampling_pipeline(StandardScaler(), sklsdm.LSDMRegressor()),
    *(kind() for kind in PARTS if kind.__name__ != "WrappedAutoencoder"),
]


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(documentation, "DOCUMENTATION_URL", "https://docs.example.org/{version}")
    return f"https://docs.example.org/{sklsdm.__version__}/generated"


@pytest.mark.parametrize("model", PICTURED, ids=lambda model: type(model).__name__)
def test_every_class_links_to_its_page(site, model):
    name = documentation.public_name(type(model))
    assert name.rpartition(".")[2] == type(model).__name__
    link = f"{site}/{name}.html"
    assert model._get_doc_link() == link
    assert f'href="{link}"' in model._repr_html_()


def test_names_are_those_that_users_import():
    assert documentation.public_name(sklsdm.LSDMRegressor) == "sklsdm.LSDMRegressor"
    wgan = "sklsdm.matchers.WGANMatcher"
    assert documentation.public_name(matchers.WGANMatcher) == wgan
    assert documentation.public_name(Declared) is None  # its module has no list of public names


def test_parts_and_steps_have_links_of_their_own(site):
    model = sklsdm.make_sampling_pipeline(
        StandardScaler(), sklsdm.LSDMRegressor(matcher=matchers.WGANMatcher())
    )
    shown = model._repr_html_()
    for name in ("SamplingPipeline", "LSDMRegressor", "matchers.WGANMatcher"):
        assert f'href="{site}/sklsdm.{name}.html"' in shown
    assert "scikit-learn.org" in shown  # that of the scaler


class Mine(matchers.EnergyMatcher):
    """A user's class, which has no page."""


@pytest.mark.parametrize("model", [Mine(), BaseEstimator()])
def test_other_classes_have_no_link_to_our_site(site, model):
    assert site not in model._repr_html_()


def test_no_address_no_link(monkeypatch):
    monkeypatch.setattr(documentation, "DOCUMENTATION_URL", None)
    for model in PICTURED:
        assert model._get_doc_link() == ""
        assert f"Documentation for {type(model).__name__}" not in model._repr_html_()


def test_the_address_is_that_of_the_project_file():
    path = Path(sklsdm.__file__).parents[1] / "pyproject.toml"
    if not path.is_file():
        pytest.skip("the project file does not come with the package")
    urls = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["urls"]
    address = documentation.DOCUMENTATION_URL
    named = None if address is None else address.format(version=sklsdm.__version__)
    assert urls.get("Documentation") == named
