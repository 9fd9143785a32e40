"""Wheel and sdist: built, installed into an environment of their own, and used there.

What they require comes from the present environment; `make dist-check` installs that too.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import sklsdm

ROOT = Path(sklsdm.__file__).parents[1]
pytestmark = pytest.mark.slow
if not (ROOT / "pyproject.toml").exists():
    pytest.skip("there is nothing to build from", allow_module_level=True)


def run(*command, cwd):
    """Output of a command that does not see the package at hand."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(part) for part in command]
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with wheel and sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_installs_and_draws(built, kind, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    (file,) = built.glob(kind)
    run(python, "-m", "pip", "install", "--no-deps", file, cwd=tmp_path)
    purelib = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    )
    (Path(purelib.strip()) / "others.pth").write_text(sysconfig.get_path("purelib"))
    assert "draws of shape (5, 3, 2)" in run(
        python, "-I", ROOT / "tests" / "smoke.py", cwd=tmp_path
    )


def test_wheel_holds_the_package_alone(built):
    (file,) = built.glob("*.whl")
    names = zipfile.ZipFile(file).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sklsdm"}
    assert "sklsdm/py.typed" in names
    (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
    text = zipfile.ZipFile(file).read(metadata).decode()
    assert "Description-Content-Type: text/markdown" in text
    assert "# sklsdm" in text
    assert "](docs/" not in text


def test_sdist_holds_what_builds_tests_and_documents_it(built):
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    wanted = ("Makefile", "CITATION.cff", "SECURITY.md", "CODE_OF_CONDUCT.md", "docs/conf.py")
    assert names >= {*wanted, "docs/_static/site.css", "tests/smoke.py", "benchmarks/README.md"}
    assert not [name for name in names if "/_build" in name or "auto_gallery" in name]
