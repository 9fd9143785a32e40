"""`save` and `load`: fitted estimators as single files that are safe to open."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.pipeline import Pipeline
from torch import nn

from sklsdm._validation import warn_user
from sklsdm._version import __version__
from sklsdm.forwarding import inner
from sklsdm.parameters import path_like
from sklsdm.public_calls import in_own_modes
from sklsdm.saving.classes import MODELS
from sklsdm.saving.container import pack, read_file, unpack
from sklsdm.saving.decode import Decoder
from sklsdm.saving.encode import Encoder
from sklsdm.storage.files import write_atomically

FORMAT = 2  # raised by a change after which older versions of this package cannot read the file


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write an estimator, fitted or not, to a file that :func:`sklsdm.load` reads safely.

    The file is a safetensors file: weights and other arrays, a JSON document with parameters and
    all else that the estimator holds, the versions of the packages, and a checksum. It holds no
    code. It is written whole or not at all, with ordinary permissions, and replaces an older one at
    once.

    Parameters
    ----------
    estimator : LSDMRegressor, LSDMGenerator, SamplingEnsemble, LSDMRegressorCV or Pipeline
        A Pipeline (or `SamplingPipeline`) ends in one of the others; docs/saving.md lists the
        transformers that it may hold.
    path : path-like
        The file, such as "model.safetensors".

    Raises
    ------
    TypeError
        `estimator` is of another class, or holds something that is not saved: an object of another
        package, a function, a Generator as `random_state`. The message names it.
    ValueError
        Settings and names take more than 8 MiB.
    OSError
        The file cannot be written.

    Warns
    -----
    UserWarning
        `callbacks`, `checkpoint` or a pipeline's `memory` are set. They are left out of the file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import sklsdm
    >>> arms = sklsdm.datasets.make_arms(100, random_state=0)
    >>> est = sklsdm.LSDMRegressor(matcher="energy", random_state=0)
    >>> est = est.set_params(matcher__max_steps=20).fit(arms.X, arms.y)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "arms.safetensors"
    >>> sklsdm.save(est, path)
    >>> same = sklsdm.load(path)
    >>> draws = est.sample(arms.X, random_state=0)
    >>> bool((same.sample(arms.X, random_state=0) == draws).all())
    True
    """
    _check_model(estimator, "estimator")
    path_like().check("path", path)
    encoder = Encoder()
    model = encoder.encode(estimator, "model")
    document = {"format": FORMAT, "versions": _versions(), "model": model}
    data = pack(json.dumps(document, allow_nan=False), encoder.arrays)
    if encoder.left_out:
        names = ", ".join(sorted(encoder.left_out))
        warn_user(f"Not saved, and None after load: {names}. Set them again before another fit.")
    write_atomically(Path(path), data, private=False)


@in_own_modes
def load(
    path: str | os.PathLike[str],
    *,
    modules: Sequence[nn.Module] = (),
    classes: Sequence[type] = (),
) -> Any:
    """Read an estimator from a file of :func:`sklsdm.save`.

    No code of the file is run, and nothing is imported that it names. An altered or damaged file
    is refused. The checksum is no signature: who alters a file on purpose can renew it, and the
    estimator then draws what that person wants, but still runs no code of theirs.

    Parameters
    ----------
    path : path-like
        The file.
    modules : sequence of torch.nn.Module, default=()
        Your own modules that the estimator was fitted with, such as an encoder and a decoder. The
        weights are loaded into copies of them, found by class and shapes.
    classes : sequence of type, default=()
        Your own classes that the estimator holds: matchers, autoencoders, condition encoders, and
        networks that derive from `sklsdm.modules.RebuildableModule`.

    Returns
    -------
    object
        The estimator, on its device or, where that is not to be had, on the CPU.

    Raises
    ------
    ValueError
        The file is truncated, altered, of another program or of a newer format, or needs `modules`
        or `classes`. The message begins with the path.
    TypeError
        `modules` or `classes` is no list of modules or classes.
    OSError
        The file cannot be read.
    """
    path_like().check("path", path)
    path = Path(path)
    modules = _check_all("modules", modules, nn.Module, "torch.nn.Module objects")
    classes = _check_all("classes", classes, type, "classes")
    try:
        document, arrays = unpack(read_file(path))
        content = _parse(document)
        decoder = Decoder(arrays, modules, classes)
        try:
            model = decoder.decode(content["model"])
            _check_model(model, "the model in it")
            if decoder.arrays:
                raise ValueError("it holds arrays that belong to nothing")
        except Exception as error:
            raise ValueError(_explained(error, content)) from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}.") from error
    return model


def _check_model(model: Any, name: str) -> None:
    last = inner(model)
    if not isinstance(model, MODELS) or isinstance(last, Pipeline):
        kinds = ", ".join(kind.__name__ for kind in MODELS)
        raise TypeError(
            f"{name} must be one of {kinds}, got a {type(model).__name__}; of a search save its "
            f"best_estimator_"
        )
    if isinstance(model, Pipeline) and not isinstance(last, MODELS):
        raise TypeError(f"{name} is a Pipeline that ends in a {type(last).__name__}, not in sklsdm")


def _check_all(name: str, given: Any, kind: type, what: str) -> Sequence[Any]:
    if not isinstance(given, list | tuple) or not all(isinstance(each, kind) for each in given):
        raise TypeError(f"{name} must be a list of {what}, got {given!r}.")
    return given


def _versions() -> dict[str, str]:
    return {
        "sklsdm": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
    }


def _parse(document: str) -> dict[str, Any]:
    """The document of a file in a format that this version reads."""
    try:
        content = json.loads(document, parse_constant=_refuse_constant)
        found, versions = content["format"], content["versions"]
        known = type(found) is int and found >= 1 and isinstance(versions, dict)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its document is none of sklsdm.save") from error
    if not known:
        raise ValueError("its document is none of sklsdm.save")
    if found > FORMAT:
        raise ValueError(
            f"it has format {found}, of sklsdm {str(versions.get('sklsdm'))[:50]}; this is sklsdm "
            f"{__version__}, which reads formats up to {FORMAT}: upgrade sklsdm"
        )
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _explained(error: Exception, content: dict[str, Any]) -> str:
    """Why a model could not be built, and where another version may be the reason."""
    reason = f"its content is not what sklsdm.save writes ({error!r})"
    if isinstance(error, ValueError | TypeError):
        reason = str(error).rstrip(".")
    written = content["versions"].get("sklsdm")
    if written == __version__:
        return reason
    return f"{reason} (it was written by sklsdm {str(written)[:50]}; this is {__version__})"
