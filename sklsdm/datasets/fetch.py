"""Loaders for real data, from a folder that the user names or from OpenML."""

from __future__ import annotations

import os
import warnings
import zipfile
from pathlib import Path

import numpy as np

from sklsdm._validation import check_choice
from sklsdm.datasets.problem import Array

DATA_VARIABLE = "SKLSDM_DATA"


def fetch_mnist(
    subset: str = "train", *, data_home: str | os.PathLike[str] | None = None
) -> tuple[Array, Array]:
    """Handwritten digits, from the folder ``SKLSDM_DATA`` or from OpenML.

    Where the environment variable ``SKLSDM_DATA`` names a folder with ``mnist.npz`` (arrays
    x_train, y_train, x_test, y_test), that file is read. Otherwise scikit-learn's
    ``fetch_openml`` downloads "mnist_784" and caches it.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        60,000 or 10,000 images, in the original order.
    data_home : path-like, optional
        scikit-learn's cache folder, for ``fetch_openml``.

    Returns
    -------
    images : ndarray of shape (n, 28, 28), uint8
    labels : ndarray of shape (n,), int64

    Raises
    ------
    OSError
        The file cannot be read, or there is none and the download fails.
    """
    return _fetch_images("mnist", "mnist_784", subset, data_home)


def fetch_fashion_mnist(
    subset: str = "train", *, data_home: str | os.PathLike[str] | None = None
) -> tuple[Array, Array]:
    """Pieces of clothing in the format of MNIST, from ``SKLSDM_DATA`` or from OpenML.

    Parameters
    ----------
    subset, data_home
        As for :func:`fetch_mnist`.

    Returns
    -------
    images : ndarray of shape (n, 28, 28), uint8
    labels : ndarray of shape (n,), int64
        0 to 9: T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle
        boot.

    Raises
    ------
    OSError
        As :func:`fetch_mnist`.
    """
    return _fetch_images("fashion_mnist", "Fashion-MNIST", subset, data_home)


def load_benchmark(name: str) -> dict[str, Array]:
    """All arrays of ``<name>.npz`` in the folder that ``SKLSDM_DATA`` names.

    Parameters
    ----------
    name : str
        Name of the data set, without folder and ending.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        ``name`` is not a plain name.
    OSError
        The variable is not set, there is no such file, or it cannot be read.
    """
    if not isinstance(name, str) or name in {"", ".", ".."} or Path(name).name != name:
        raise ValueError(f"name must be a plain file name without folder and ending, got {name!r}.")
    path = _data_file(name)
    if path is None:
        raise OSError(
            f"The environment variable {DATA_VARIABLE} is not set: set it to the folder that "
            f"holds {name}.npz."
        )
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.npz"))
        raise FileNotFoundError(
            f"There is no {path}; the folder ({DATA_VARIABLE}) holds {known or 'no .npz files'}."
        )
    return _read_npz(path)


def _data_file(name: str) -> Path | None:
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder) / f"{name}.npz" if folder else None


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        # np.load leaves a file that it opened itself open when it is not a zip archive
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise OSError(f"{path} is not a readable .npz file of plain arrays: {error}") from error


def _fetch_images(
    name: str, openml_name: str, subset: str, data_home: str | os.PathLike[str] | None
) -> tuple[Array, Array]:
    check_choice("subset", subset, ("train", "test"))
    path = _data_file(name)
    if path is not None and path.is_file():
        arrays = _read_npz(path)
        try:
            images, labels = arrays[f"x_{subset}"], arrays[f"y_{subset}"]
        except KeyError as error:
            raise OSError(f"{path} lacks the array {error}, it has {sorted(arrays)}.") from None
        return images.astype(np.uint8, copy=False), labels.astype(np.int64)
    from sklearn.datasets import fetch_openml  # with it come modules that only downloads need

    try:
        with warnings.catch_warnings():  # the error below says what the retries' warnings say
            warnings.filterwarnings("ignore", message="A network error occurred")
            bunch = fetch_openml(openml_name, version=1, as_frame=False, data_home=data_home)
    except (OSError, ValueError, ImportError) as error:
        tried = f"{DATA_VARIABLE} is not set" if path is None else f"there is no {path}"
        raise OSError(
            f"{openml_name} was found neither way: {tried}, and fetch_openml failed "
            f"({type(error).__name__}: {error}). Set {DATA_VARIABLE} to a folder that holds "
            f"{name}.npz with x_train, y_train, x_test and y_test, or allow the download."
        ) from None  # the message names the cause; urllib's traceback is 40 lines
    rows = slice(0, 60_000) if subset == "train" else slice(60_000, None)  # OpenML joins the two
    images = np.asarray(bunch.data[rows]).reshape(-1, 28, 28).astype(np.uint8)
    return images, np.asarray(bunch.target[rows]).astype(np.int64)
