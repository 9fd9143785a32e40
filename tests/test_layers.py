"""Who may import whom. A new module or folder is given its layer here."""

import ast
import graphlib
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = "sklsdm"

# A unit is a module or a folder of sklsdm. It may import the units of lower layers only.
LAYERS = [
    {
        "exceptions",
        "_version",
        "blocks",
        "distributed",
        "noise",
        "on_cpu",
        "public_calls",
        "reading",
        "ridge",
        "stages",
        "starting",
    },
    {"_validation", "documentation", "functional", "progress", "randomness"},
    {"storage"},
    {"inputs", "parameters", "modules"},
    {"run", "batches", "datasets", "metrics", "shift"},
    {"nets"},
    {"parts"},
    {"autoencoders", "matchers", "encoders"},
    {"draws", "recommended"},
    {"fitting", "diagnosis"},
    {"diagnosing", "owner"},
    {"fitted", "warm_start"},
    {"base", "target_units"},
    {"conditioned"},
    {"streaming"},
    {"regressor", "generator"},
    {"forwarding"},
    {"pipeline"},
    {"ensemble", "scorers", "trials"},
    {"search"},
    {"displays", "dask", "onnx"},
    {"saving"},
]
# In these folders a module may import of its folder only base classes and what they share ...
SIBLINGS_BY_BASE = {
    "autoencoders": {"base", "residuals", "trained", "sharpening"},
    "matchers": {
        "base",
        "adversarial",
        "field",
        "generators",
        "likelihood",
        "linear_start",
        "label_loss",
        "classifying",
        "data",
        "noise_scale",
        "diffusion_start",
        "distillation",
    },
    "encoders": {"base", "boosting", "folds", "gaussian_process", "linear", "matern"},
}
# ... but for those that list or pick among the others.
REGISTRIES = {
    "autoencoders",
    "autoencoders.auto",
    "matchers",
    "matchers.diffusion_start",
    "encoders",
    "encoders.auto",
}
# Third-party packages with one home.
ONLY_IN = {"skorch": "nets"}
# What every installation has (`dependencies` in pyproject.toml). All others are optional, such as
# matplotlib and POT: imported inside functions, or under TYPE_CHECKING.
REQUIRED = {
    "joblib",
    "numpy",
    "safetensors",
    "scipy",
    "sklearn",
    "skorch",
    "threadpoolctl",
    "torch",
    "tqdm",
}

LAYER_OF = {unit: layer for layer, units in enumerate(LAYERS) for unit in units}
ROOT = Path(__file__).resolve().parents[1] / PACKAGE


def find_modules(root=ROOT):
    """Paths by dotted name below the package: "" is its __init__, "matchers" that of a folder."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def is_package(path):
    return path.name == "__init__.py"


def find_imports(source):
    """All import statements, as (node, at_import_time)."""

    def visit(node, at_import_time):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_import_time
        elif isinstance(node, ast.Call) and _imports_by_name(node):
            yield _as_statement(node), at_import_time
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, False)
            for child in node.orelse:
                yield from visit(child, at_import_time)
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import_time = False
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import_time)

    yield from visit(ast.parse(source), True)


def _imports_by_name(call):
    function = ast.unparse(call.func).rpartition(".")[2]
    return (
        function in {"import_module", "__import__"}
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    )


def _as_statement(call):
    """The statement that import_module("...") stands for, dots before the name included."""
    name = call.args[0].value
    level = len(name) - len(name.lstrip("."))
    if level:
        statement = ast.ImportFrom(name[level:], [ast.alias("*")], level)
    else:
        statement = ast.Import([ast.alias(name, "by_name")])
    return ast.copy_location(statement, call)


def targets(node, module, package, known):
    """Full names that an import statement reaches; ours are resolved to the module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.startswith(f"{PACKAGE}.") and alias.asname is None
            # `import sklsdm.metrics` binds the top package's name
            yield PACKAGE if top else alias.name
        return
    base = node.module or ""
    if node.level:
        here = [PACKAGE, *filter(None, module.split("."))]
        here = here[: len(here) - node.level + package]
        base = ".".join([*here, *filter(None, [base])])
    for alias in node.names:
        below = f"{base}.{alias.name}".removeprefix(f"{PACKAGE}.")
        yield f"{PACKAGE}.{below}" if base.startswith(PACKAGE) and below in known else base


def check(module, source, known, package=False):
    """Violations of the rules above in one module, as readable lines."""
    unit = module.partition(".")[0]
    if unit not in LAYER_OF:
        return [f"{module}: in no layer; place it in LAYERS of {Path(__file__).name}"]
    found = []
    for node, at_import_time in find_imports(source):
        for target in targets(node, module, package, known):
            complaint = _complaint(module, unit, target, at_import_time)
            if complaint:
                found.append(f"{module}, line {node.lineno}: {complaint}")
    return found


def _complaint(module, unit, target, at_import_time):
    """What is wrong with `module` importing `target`, or None."""
    top, _, name = target.partition(".")
    if top != PACKAGE:
        home = ONLY_IN.get(top)
        if home is not None and unit != home:
            return f"imports {top}, which only {home}/ may"
        if at_import_time and top not in REQUIRED and top not in sys.stdlib_module_names:
            return f"imports {top}, which is optional, outside a function"
        return None
    if not name:
        return "imports the top package"
    other = name.partition(".")[0]
    if other not in LAYER_OF:
        return f"imports {name}, which is in no layer"
    if other == unit:
        bases = {f"{unit}.{base}" for base in SIBLINGS_BY_BASE.get(unit, ())}
        if bases and module not in REGISTRIES and name not in bases:
            return f"imports its sibling {name}; siblings meet in {', '.join(sorted(bases))}"
        return None
    if LAYER_OF[other] >= LAYER_OF[unit]:
        return f"(layer {LAYER_OF[unit]}) imports {name} (layer {LAYER_OF[other]})"
    return None


MODULES = find_modules()


@pytest.mark.parametrize("module", sorted(set(MODULES) - {""}))
def test_module_imports_only_what_its_layer_may(module):
    path = MODULES[module]
    found = check(module, path.read_text(encoding="utf-8"), set(MODULES), is_package(path))
    assert not found, "\n".join(found)


def test_no_import_cycles():
    graph = {}
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        graph[module] = {
            target.partition(".")[2]
            for node, _ in find_imports(source)
            for target in targets(node, module, is_package(path), set(MODULES))
            if target.partition(".")[0] == PACKAGE and target != PACKAGE
        } - {module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


KNOWN = {
    "",
    "_validation",
    "autoencoders",
    "autoencoders.auto",
    "autoencoders.base",
    "autoencoders.mlp",
    "functional",
    "functional.scores",
    "functional.transport",
    "matchers",
    "matchers.base",
    "matchers.flow",
    "matchers.wgan",
    "metrics",
    "nets",
    "nets.single",
    "persistence",
    "regressor",
    "scorers",
}


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("metrics", "from .regressor import LSDMRegressor", "imports regressor (layer"),
        ("metrics", "def f():\n    from .regressor import x", "line 2: (layer"),
        ("metrics", "from . import regressor", "imports regressor (layer"),
        ("metrics", "from sklsdm import regressor", "imports regressor (layer"),
        ("metrics", "import sklsdm.regressor as r", "imports regressor (layer"),
        ("metrics", "import importlib\nimportlib.import_module('sklsdm.regressor')", "regressor"),
        ("metrics", "def f():\n    import_module('.regressor', __package__)", "imports regressor"),
        ("metrics", "from .datasets import make_arms", "imports datasets (layer"),
        ("nets.single", "from ..matchers.base import Matcher", "imports matchers.base (layer"),
        ("functional.scores", "from .._validation import x", "imports _validation (layer"),
        ("matchers.wgan", "from ..autoencoders import base", "imports autoencoders.base (layer"),
        ("matchers.wgan", "from ..fitting import pairing", "imports fitting (layer"),
        ("matchers.wgan", "from .flow import x", "imports its sibling matchers.flow"),
        ("matchers.wgan", "from . import flow", "imports its sibling matchers.flow"),
        ("matchers.wgan", "from . import MATCHERS", "imports its sibling matchers;"),
        ("matchers.base", "from .wgan import WGANMatcher", "imports its sibling matchers.wgan"),
        ("scorers", "from .persistence import save", "imports persistence, which is in no layer"),
        ("scorers", "from . import __version__", "imports the top package"),
        ("scorers", "from sklsdm import LSDMRegressor", "imports the top package"),
        ("scorers", "import sklsdm", "imports the top package"),
        ("scorers", "import sklsdm.metrics", "imports the top package"),
        ("matchers.wgan", "def f():\n    import skorch", "imports skorch, which only nets/ may"),
        ("regressor", "from skorch.callbacks import Callback", "imports skorch"),
        ("scorers", "import matplotlib.pyplot as plt", "imports matplotlib, which is optional"),
        ("scorers", "try:\n    import dask\nexcept ImportError:\n    dask = None", "line 2: "),
        ("scorers", "class A:\n    import ot", "imports ot, which is optional"),
        ("brand_new", "", "in no layer"),
        ("metrics", "from .brand_new import x", "imports brand_new, which is in no layer"),
    ],
)  # fmt: skip
def test_planted_violation_is_caught(module, source, complaint):
    found = check(module, source, KNOWN | {"brand_new", "datasets"})
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "source", "package"),
    [
        ("regressor", "from .matchers import MATCHERS\nfrom .nets import single", False),
        ("scorers", "from .pipeline import sample\nfrom sklsdm import metrics", False),
        ("nets.single", "import skorch\nfrom .callbacks import Checkpoint", False),
        ("functional.transport", "from .scores import energy\nfrom . import scores", False),
        ("matchers.wgan", "from .base import Matcher\nfrom . import base", False),
        ("matchers.wgan", "from ..functional import scores\nfrom .. import metrics", False),
        ("matchers", "from .wgan import WGANMatcher\nfrom . import flow", True),
        ("autoencoders.auto", "from .mlp import MLPAutoencoder", False),
        ("scorers", "def plot():\n    import matplotlib.pyplot as plt", False),
        ("scorers", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ot", False),
        ("metrics", "import math\nfrom collections.abc import Callable\nimport torch.nn", False),
    ],
)
def test_allowed_import_passes(module, source, package):
    assert check(module, source, KNOWN | {"pipeline"}, package) == []


def test_required_packages_are_those_of_the_project_file():
    path = ROOT.parent / "pyproject.toml"
    wanted = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {line.partition(">=")[0].replace("scikit-learn", "sklearn") for line in wanted}
    assert names == REQUIRED
