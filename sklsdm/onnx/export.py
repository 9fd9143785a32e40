"""Writing the sampler of a fitted estimator to an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.fixes import parse_version
from torch import Tensor, nn

from sklsdm._version import __version__
from sklsdm.autoencoders import TransformerAutoencoder
from sklsdm.draws.out_of_memory import is_out_of_memory
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.generator import LSDMGenerator
from sklsdm.onnx.graph import CodeGraph, ConditionGraph, DrawGraph, ResponseGraph, has_torch_form
from sklsdm.onnx.operators import translations
from sklsdm.public_calls import as_it_is, own_modes
from sklsdm.regressor import LSDMRegressor
from sklsdm.storage.files import write_atomically

OLDEST_TORCH = "2.13"  # that of 2.9 stops at these networks; those between were not tried
_EXAMPLE_ROWS = 3  # not 1, which the exporter would take for a fixed length


def export(est: LSDMRegressor | LSDMGenerator, path: str | Path) -> None:
    """Write the sampler of a fitted estimator to an ONNX file, with the noise as an input.

    The file computes what `est.sample` computes, in the same steps: X standardised, the
    condition encoder, the matcher with all its passes, the decoder, and the way back to the units
    of y. Its inputs and its output share the first axis, whose length n is free:

    - "X", float32, (n, p) or (n, c, h, w): conditions as `est.sample` takes them. Nothing is
      checked: NaN give NaN. Images of bytes are divided by 255 first. Left out for
      :class:`sklsdm.LSDMGenerator`.
    - "noise", float32, (n, d): independent standard normal numbers, new ones for every draw.
    - "draws", (n, *y_shape), in the dtype of `est.sample`.

    For several draws given one x, repeat its row. The metadata of the file has, under "sklsdm", a
    JSON document with the version of the package, the names of both stages, `latent_dim`,
    `noise_shape` (None stands for n), `y_shape` and the names of the columns of X and y.

    Parameters
    ----------
    est : LSDMRegressor or LSDMGenerator
        A fitted estimator, on any device.
    path : str or Path
        File to write; one that is there is replaced at once.

    Raises
    ------
    TypeError
        The estimator, or a part of it that the message names, cannot be exported: a Pipeline or an
        ensemble, the condition encoder "trees", a scikit-learn transformer as autoencoder, or a
        module of your own that PyTorch's exporter does not follow.
    NotFittedError
        `est` is not fitted.
    ImportError
        onnx or onnxscript is not installed: ``pip install "sklsdm[onnx]"``; or torch is older
        than 2.13.

    Examples
    --------
    >>> import numpy as np, sklsdm.onnx
    >>> arms = sklsdm.datasets.make_arms(100, random_state=0)
    >>> est = sklsdm.LSDMRegressor(matcher="energy", condition_encoder="flatten")
    >>> est = est.set_params(matcher__max_steps=50).fit(arms.X, arms.y)
    >>> sklsdm.onnx.export(est, "arms.onnx")  # doctest: +SKIP
    >>> import onnxruntime  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("arms.onnx")  # doctest: +SKIP
    >>> noise = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
    >>> X = arms.X.astype("float32")
    >>> draws, = session.run(["draws"], {"X": X, "noise": noise})  # doctest: +SKIP
    """
    _import_exporter()
    if not isinstance(est, LSDMRegressor | LSDMGenerator):
        raise TypeError(_refusal(est))
    est = as_it_is(est)
    est._fitted_format()
    _check_parts(est)
    with own_modes(), torch.no_grad():
        content = _content(est)
    write_atomically(Path(path), content, private=False)


def _import_exporter() -> None:
    """Raise an ImportError that says what to install, unless all is there."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"sklsdm.onnx needs the packages onnx and onnxscript, and {error.name!r} is not "
            f"installed; run: pip install 'sklsdm[onnx]'"
        ) from error
    if parse_version(torch.__version__) < parse_version(OLDEST_TORCH):
        raise ImportError(
            f"sklsdm.onnx needs torch {OLDEST_TORCH} or later, whose exporter follows these "
            f"networks, got {torch.__version__}; run: pip install --upgrade torch"
        )


def _refusal(model: Any) -> str:
    """Why something that is no single estimator is not exported, and what to do."""
    name = type(model).__name__
    if isinstance(model, Pipeline):
        return (
            f"est is a {name}, whose transformers have no part in the file; export its last step, "
            f"sklsdm.onnx.export(model[-1], path), and give it transformed conditions."
        )
    if isinstance(model, SamplingEnsemble):
        return f"est is a {name}, which holds several fits; export each of its estimators_."
    return f"est must be an LSDMRegressor or LSDMGenerator, got {name}."


def _check_parts(est: Any) -> None:
    """Raise for fitted parts that are no torch modules."""
    encoder = getattr(est, "condition_encoder_", None)
    if encoder is not None and not has_torch_form(encoder):
        raise TypeError(
            f"condition_encoder={type(encoder).__name__} has no form in ONNX; fit with "
            f"condition_encoder='flatten', 'periodic' or, for images, 'conv' (categories in X as "
            f"columns of 0 and 1, such as OneHotEncoder gives)."
        )
    if isinstance(est.autoencoder_, TransformerAutoencoder):
        kind = type(est.autoencoder_.transformer).__name__
        raise TypeError(
            f"autoencoder={kind} is no torch module and is not exported; fit with "
            f"autoencoder='pca', 'mlp' or a pair of torch modules (encoder, decoder)."
        )


def graph_of(est: Any) -> tuple[DrawGraph, list[Tensor]]:
    """What is written of a fitted estimator, and inputs of the right shapes for it."""
    sampler, conditions, examples = est._sampler(), None, []
    if isinstance(est, LSDMRegressor):
        form = est._conditions_
        conditions = ConditionGraph(form.standardiser, est.condition_encoder_)
        examples.append(torch.zeros((_EXAMPLE_ROWS, *form.shape), dtype=torch.float32))
    codes, responses = CodeGraph(sampler, conditions), ResponseGraph(sampler)
    noise_dims = sampler.noise_dims
    examples.append(torch.zeros((_EXAMPLE_ROWS, sum(noise_dims)), dtype=torch.float32))
    return DrawGraph(codes, responses, noise_dims), examples


def _content(est: Any) -> bytes:
    """The bytes of the file."""
    graph, examples = graph_of(est)
    try:
        program = _program(graph, *examples)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        *conditions, noise = examples
        for_matcher = noise[:, : graph.noise_dims[0]]
        fails_later = _works(graph.codes, conditions[0] if conditions else None, for_matcher)
        part = "autoencoder" if fails_later else "matcher"
        raise TypeError(
            f"{part}={getattr(est, part)!r} cannot be exported: PyTorch's exporter does not "
            f"follow its network ({_first_line(error)}). Fit with another {part}, or change the "
            f"network until torch.export.export takes it."
        ) from error
    program.model.metadata_props["sklsdm"] = json.dumps(_facts(est, sum(graph.noise_dims)))
    return program.model_proto.SerializeToString()


def _program(module: nn.Module, *inputs: Tensor | None) -> Any:
    """The ONNX program of a module, whose inputs share a first axis of any length."""
    rows = torch.export.Dim("n", min=1)
    exported = torch.export.export(
        module.requires_grad_(False).eval(),
        inputs,
        dynamic_shapes=_shapes(module, inputs, rows),
        strict=True,
    )
    return torch.onnx.export(
        exported,
        dynamo=True,
        verbose=False,
        custom_translation_table=translations(),
        input_names=["X", "noise"][-len(inputs) :],
        output_names=["draws"],
    )


def _shapes(module: nn.Module, inputs: tuple[Tensor | None, ...], rows: Any) -> Any:
    """Which axes are free, in the form of the module's arguments."""
    free = tuple(None if each is None else {0: rows} for each in inputs)
    return (free,) if isinstance(module, DrawGraph) else free


def _works(module: nn.Module, *inputs: Tensor | None) -> bool:
    try:
        _program(module, *inputs)
    except Exception:
        return False
    return True


def _first_line(error: BaseException) -> str:
    """What the exporter says, from the innermost error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _facts(est: Any, noise_dim: int) -> dict[str, Any]:
    """What the metadata tells of the estimator."""
    return {
        "version": __version__,
        "estimator": type(est).__name__,
        "matcher": type(est.matcher_).__name__,
        "autoencoder": type(est.autoencoder_).__name__,
        "latent_dim": est.latent_dim_,
        "noise_shape": [None, noise_dim],
        "y_shape": list(est._response_format_.shape),
        "feature_names": _names(est, "feature_names_in_"),
        "target_names": _names(est, "target_names_in_"),
    }


def _names(est: Any, attribute: str) -> list[str] | None:
    names = getattr(est, attribute, None)
    return None if names is None else [str(name) for name in names]
