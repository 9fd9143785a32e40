"""Pictures of drawn images: what is shown where, in which range, and what cannot be shown."""

import itertools
import sys

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklsdm import ImageGridDisplay, LSDMGenerator, SamplingEnsemble
from sklsdm.blocks import row_slices

pyplot = pytest.importorskip("matplotlib.pyplot")

pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")  # tiny fits

RNG = np.random.default_rng(0)
X = np.eye(3)[np.arange(30) % 3]
BYTES = RNG.integers(60, 256, size=(30, 3, 6, 5), dtype=np.uint8)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


class Echo:
    """An estimator whose draws are known: condition i gives the value i, draw j adds j / 10."""

    def __init__(self, shape):
        self.shape = shape

    def sample(self, X, n_samples=1, *, random_state=None):
        values = np.arange(len(X))[:, None] + np.arange(n_samples) / 10
        return np.broadcast_to(
            values.reshape(len(X), n_samples, *[1] * len(self.shape)),
            (len(X), n_samples, *self.shape),
        )

    def reconstruct(self, Y):
        return Y / 2


def fitted(y, **params):
    est = plain_regressor(2, "energy", autoencoder="pca", random_state=0, **params)
    return est.set_params(matcher__max_steps=10).fit(X, y)


@pytest.fixture(scope="module")
def of_bytes():
    return fitted(BYTES)


# ---------------------------------------------------------------------------- what is shown
def test_all_groups_of_an_estimator(of_bytes):
    real = BYTES[:6].reshape(2, 3, 3, 6, 5).swapaxes(0, 1)
    display = ImageGridDisplay.from_estimator(
        of_bytes,
        np.eye(3),
        4,
        real=real,
        reconstructions=True,
        nearest=BYTES,
        labels="abc",
        random_state=0,
    )
    draws = of_bytes.sample(np.eye(3), 4, random_state=0)
    shown = display.images_
    assert list(shown) == ["real", "reconstructed", "draws", "nearest in training"]
    assert_allclose(shown["real"], np.moveaxis(real, 2, -1) / 255, atol=1e-6)
    assert_allclose(shown["draws"], np.moveaxis(draws, 2, -1), atol=1e-6)
    again = of_bytes.reconstruct(real[1])
    assert_allclose(shown["reconstructed"][1], np.moveaxis(again, 1, -1), atol=1e-6)
    gaps = np.square(draws[2, 3] - BYTES / 255).sum(axis=(1, 2, 3))
    wanted = np.moveaxis(BYTES[gaps.argmin()], 0, -1) / 255
    assert_allclose(shown["nearest in training"][2, 3], wanted, atol=1e-6)
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == ["a", "b", "c"]
    titles = [tick.get_text().replace("\n", " ") for tick in display.ax_.get_xticklabels()]
    assert titles == list(shown)
    assert display.figure_ is display.ax_.figure


def test_a_generator_has_one_row_and_no_conditions():
    generator = LSDMGenerator(2, "energy", autoencoder="pca", random_state=0)
    generator.set_params(matcher__max_steps=5).fit(BYTES)
    display = ImageGridDisplay.from_estimator(
        generator, n_samples=4, real=BYTES[None, :3], nearest=BYTES, random_state=0
    )
    draws = generator.sample(4, random_state=0)
    assert_allclose(display.images_["draws"][0], np.moveaxis(draws, 1, -1), atol=1e-6)
    assert display.images_["real"].shape == (1, 3, 6, 5, 3)
    assert not display.ax_.get_yticklabels()
    with pytest.raises(TypeError, match="LSDMGenerator draws without conditions"):
        ImageGridDisplay.from_estimator(generator, X)


def test_nothing_is_cut_off_and_titles_lie_apart(of_bytes):
    """Groups of one image each, whose titles are wider than they."""
    real = BYTES[:3, None]
    display = ImageGridDisplay.from_estimator(
        of_bytes, np.eye(3), 1, real=real, reconstructions=True, nearest=BYTES, labels=["long"] * 3
    )
    figure = display.figure_
    figure.canvas.draw()
    texts = [tick.get_window_extent() for tick in display.ax_.get_xticklabels()]
    for left, right in itertools.pairwise(texts):
        assert left.x1 < right.x0
    for box in [*texts, *(tick.get_window_extent() for tick in display.ax_.get_yticklabels())]:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_pixels_lie_where_they_belong():
    """Two rows of two white-gapped groups; pixels are magnified, groups to one height."""
    small = np.zeros((2, 2, 4, 4))
    small[1, 1, 0, 0] = 0.5
    large = np.zeros((2, 1, 3, 8, 8))
    large[0, 0, 1] = 0.25  # green
    sheet = ImageGridDisplay.from_images({"s": small, "l": large}).ax_.images[0].get_array()
    side, gap, wide = 48, 3, 17
    assert sheet.shape == (2 * side + gap, 3 * side + gap + wide, 3)
    assert_array_equal(sheet[side : side + gap], 1)
    assert_array_equal(sheet[:, 2 * side + gap : 2 * side + gap + wide], 1)
    assert_array_equal(sheet[side + gap : side + gap + 12, side + gap : side + gap + 12], 0.5)
    assert (sheet == 0.5).sum() == 3 * 12 * 12
    assert_array_equal(sheet[:side, -side:], np.broadcast_to([0, 0.25, 0], (side, side, 3)))


def test_given_axes_are_used():
    figure, axes = pyplot.subplots(1, 2)
    display = ImageGridDisplay.from_images(np.zeros((2, 3, 4, 4)), ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert not axes[0].images
    assert len(pyplot.get_fignums()) == 1


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6)])
def test_grey_and_colour(shape):
    shown = ImageGridDisplay.from_estimator(Echo(shape), np.eye(2), 5).images_["draws"]
    assert shown.shape == (2, 5, 4, 6, *[3] * (shape[0] == 3))


def test_wrapped_estimators_draw(of_bytes):
    """A pipeline's transformers are applied; an ensemble has no reconstructions."""
    model = make_pipeline(StandardScaler(), plain_regressor(2, "energy", autoencoder="pca"))
    model.set_params(lsdmregressor__matcher__max_steps=5, lsdmregressor__random_state=0)
    model.fit(X, BYTES)
    shown = ImageGridDisplay.from_estimator(
        model, X[:3], 2, real=BYTES[:3, None], reconstructions=True, random_state=1
    ).images_
    scaled = model[0].transform(X[:3])
    draws = model[-1].sample(scaled, 2, random_state=1)
    assert_allclose(shown["draws"], np.moveaxis(draws, 2, -1), atol=1e-6)
    pool = SamplingEnsemble(of_bytes, n_estimators=2, random_state=0).fit(X, BYTES)
    assert ImageGridDisplay.from_estimator(pool, X[:3], 2).images_["draws"].shape[:2] == (3, 2)
    with pytest.raises(TypeError, match="`reconstruct`, which SamplingEnsemble has not"):
        ImageGridDisplay.from_estimator(pool, X[:3], real=BYTES[:3, None], reconstructions=True)


# ---------------------------------------------------------------------------- ranges
def test_the_range_is_that_of_the_fit(of_bytes):
    grey = 16.0 * RNG.uniform(0.25, 1, size=(30, 5, 5))
    est = fitted(grey, y_range=(0, 16))
    shown = ImageGridDisplay.from_estimator(est, X[:2], real=grey[:2, None]).images_["real"]
    assert_allclose(shown[:, 0], grey[:2] / 16, atol=1e-6)
    est = fitted(grey)  # none was given: that of the training responses
    shown = ImageGridDisplay.from_estimator(est, X[:2], real=grey[:2, None]).images_["real"]
    wanted = (grey[:2] - grey.min()) / (grey.max() - grey.min())
    assert_allclose(shown[:, 0], wanted, atol=1e-6)
    est = fitted(grey / 16)  # inside [0, 1] they stay as they are
    shown = ImageGridDisplay.from_estimator(est, X[:2], real=grey[:2, None] / 16).images_["real"]
    assert_allclose(shown[:, 0], grey[:2] / 16, atol=1e-6)
    shown = ImageGridDisplay.from_estimator(est, X[:2], real=grey[:2, None], y_range=(4, 12))
    assert_allclose(shown.images_["real"][:, 0], (grey[:2] - 4).clip(0, 8) / 8, atol=1e-6)


def test_values_outside_are_clipped_and_bytes_are_scaled():
    values = np.array([-1.0, 0.5, 2.0]).reshape(1, 3, 1, 1) * np.ones((1, 3, 4, 4))
    shown = ImageGridDisplay.from_images(values).images_[""]
    assert_allclose(shown[0, :, 0, 0], [0, 0.5, 1])
    shown = ImageGridDisplay.from_images(values, y_range=(-2, 2)).images_[""]
    assert_allclose(shown[0, :, 0, 0], [0.25, 0.625, 1])
    shown = ImageGridDisplay.from_images(np.full((1, 1, 4, 4), 51, np.uint8), y_range=(-2, 2))
    assert_allclose(shown.images_[""], 0.2)


# ---------------------------------------------------------------------------- nearest
def test_the_nearest_is_found_over_blocks(monkeypatch):
    """Seven images a block, and a memmap would be read so: the same rows as all at once."""
    seen = RNG.uniform(size=(100, 4, 4))
    draws = seen[[3, 50, 99]] + 0.01
    blocks = []

    def small_blocks(n_rows, row_size):
        for rows in row_slices(n_rows, 32 * 2**20 // (8 * 7)):
            blocks.append(rows)
            yield rows

    monkeypatch.setattr("sklsdm.displays.images.row_slices", small_blocks)

    class Copies(Echo):
        def sample(self, X, n_samples=1, *, random_state=None):
            return draws[:, None]

    shown = ImageGridDisplay.from_estimator(Copies((4, 4)), np.eye(3), 1, nearest=seen).images_
    assert_allclose(shown["nearest in training"][:, 0], seen[[3, 50, 99]], atol=1e-6)
    assert len(blocks) == 15


# ---------------------------------------------------------------------------- errors
OF_ECHO = {
    "no image": ((4,), {}, ValueError, r"the response must be an image .*got \(4,\)"),
    "channels": ((2, 4, 4), {}, ValueError, r"got \(2, 4, 4\): it has 2 channels"),
    "channels last": ((4, 5, 3), {}, ValueError, r"got \(4, 5, 3\): the channels seem to be last"),
    "draws": ((4, 4), {"n_samples": 0}, ValueError, "n_samples must be at least 1, got 0"),
    "no real images": ((4, 4), {"reconstructions": True}, ValueError, "real is None; pass real"),
    "real of one condition": (
        (4, 4),
        {"real": np.zeros((1, 2, 4, 4))},
        ValueError,
        r"real must hold k images .* \(2, k, 4, 4\), got \(1, 2, 4, 4\)",
    ),
    "real without k": ((4, 4), {"real": np.zeros((2, 4, 4))}, ValueError, r"real must hold k"),
    "nearest of another size": (
        (4, 4),
        {"nearest": np.zeros((9, 5, 4))},
        ValueError,
        r"nearest must hold training images of shape \(N, 4, 4\).* got \(9, 5, 4\)",
    ),
    "labels": ((4, 4), {"labels": "abc"}, ValueError, "each of the 2 conditions, got 3"),
    "range": ((4, 4), {"y_range": (1, 1)}, ValueError, r"low < high, got \(1, 1\)"),
    "kind of range": ((4, 4), {"y_range": "01"}, TypeError, "y_range must be a pair"),
}


@pytest.mark.parametrize("case", OF_ECHO)
def test_what_an_estimator_cannot_show(case):
    shape, arguments, error, message = OF_ECHO[case]
    with pytest.raises(error, match=message):
        ImageGridDisplay.from_estimator(Echo(shape), np.eye(2), **arguments)
    assert not pyplot.get_fignums()


OF_IMAGES = {
    "one axis too few": (np.zeros((3, 4, 4)), r"images must have shape .*got \(3, 4, 4\)"),
    "no group": ({}, "images is an empty dict"),
    "no image": ({"a": np.zeros((0, 3, 4, 4))}, r"images\['a'\].*\(0, 3, 4, 4\)"),
    "channels": ({"a": np.zeros((2, 2, 5, 4, 4))}, r"images\['a'\] must be an image.*5 channels"),
    "rows": (
        {"a": np.zeros((2, 1, 4, 4)), "b": np.zeros((3, 1, 4, 4))},
        r"images\['b'\] has 3 rows, but the first group has 2",
    ),
    "NaN": (np.full((1, 1, 4, 4), np.nan), "images contains 16 NaN"),
}


@pytest.mark.parametrize("case", OF_IMAGES)
def test_images_that_cannot_be_shown(case):
    images, message = OF_IMAGES[case]
    with pytest.raises(ValueError, match=message):
        ImageGridDisplay.from_images(images)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sklsdm\[plot\]'"):
        ImageGridDisplay.from_images(np.zeros((1, 1, 4, 4)))


def test_errors_name_collections_whatever_their_names_are():
    with pytest.raises(ValueError, match=r"real\] \(n=3"):
        ImageGridDisplay.from_images({"real] (n=3": [["a"]]})
