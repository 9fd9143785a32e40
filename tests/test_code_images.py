"""Generator and critic of codes that are images, and draws of `wgan` made with them."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import RUN, seeded, shorten_epochs
from numpy.testing import assert_array_equal
from test_feature_maps import SHAPE, data, rows, shades
from torch.testing import assert_close

from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.autoencoders import FeatureMapAutoencoder
from sklsdm.batches import PairBatch
from sklsdm.fitting.latent_space import LatentSpace
from sklsdm.fitting.uses import data_for
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.matchers import FGANMatcher, ImagesOfCodes, MatchingData, WGANMatcher
from sklsdm.matchers import data as data_module
from sklsdm.modules import (
    ConvCritic,
    ConvGenerator,
    Critics,
    FeatureMapCoder,
    GroupSortCritic,
    SlopePenalty,
)

LOW = (1, 6, 8)  # an image that is a condition
SHORT = {"matcher__max_steps": 200, "matcher__batch_size": 32, "matcher__channels": 16}


@pytest.fixture
def short_epochs(monkeypatch):
    """Of ten steps each, where a test does not look at the images."""
    shorten_epochs(monkeypatch, 10)


def generator(condition_dim=2, image_shape=None):
    return ConvGenerator(condition_dim, SHAPE, 5, 8, image_shape=image_shape, generator=seeded())


def critic(condition_dim=2, image_shape=None):
    return ConvCritic(condition_dim, SHAPE, 8, image_shape, seeded())


# ------------------------------------------------------------------ the modules
@pytest.mark.parametrize(("dim", "image_shape"), [(2, None), (48, LOW), (0, None)])
def test_several_draws_of_a_condition_are_those_of_the_condition_repeated(dim, image_shape):
    found, condition, noise = generator(dim, image_shape), rows(3, dim), rows(6, 5)
    together = found(condition, noise)
    assert together.shape == (6, 24)
    assert_close(together, found(condition.repeat_interleave(2, dim=0), noise))
    judge = critic(dim, image_shape)
    features = judge.features(condition)
    values = judge(features, together)
    assert values.shape == (6,)
    assert_close(values, judge(features.repeat_interleave(2, dim=0), together))


def test_draws_and_values_do_not_depend_on_what_else_is_in_the_batch():
    found, condition, noise = generator(), rows(4, 2), rows(4, 5)
    codes = found(condition, noise)
    assert_close(codes[1:2], found(condition[1:2], noise[1:2]))
    judge = critic()
    values = judge(judge.features(condition), codes)
    assert_close(values[1:2], judge(judge.features(condition[1:2]), codes[1:2]))


def test_an_image_condition_enters_where_it_lies():
    """A change of one corner of the condition changes the draw there, and not the far corner."""
    found = generator(48, LOW)
    for parameter in found.condition_encoder.parameters():
        torch.nn.init.zeros_(parameter)  # features tell nothing; the resized image is left
    image, noise = rows(1, 48), rows(1, 5)
    changed = image.clone().view(LOW)
    changed[0, 0, 0] += 5.0
    flat = changed.view(1, 48)
    seen = [found._split(found.features(x), 1)[1][0, 0] for x in (image, flat)]
    moved = (seen[0] - seen[1]).abs()
    assert moved.argmax() == 0
    assert moved[-1, -1] < 1e-6
    assert (found(image, noise) != found(flat, noise)).any()


def test_the_critic_of_codes_alone_is_the_one_without_conditions():
    judge, codes = critic(), rows(4, 24)
    nothing = torch.zeros(4, 2)
    assert_close(judge(nothing, codes), judge.alone(judge.reduce(codes.view(4, *SHAPE)))[:, 0])
    alone = critic(0)
    assert alone.together is None
    assert alone(torch.zeros(4, 0), codes).shape == (4,)


def test_the_penalty_takes_the_slopes_of_the_critic():
    judge, condition, codes = critic(), rows(4, 2), rows(4, 24)
    found = SlopePenalty("flat", 1.0)._slopes(judge, judge.features(condition), codes)
    step = 1e-2 * rows(4, 24, seed=1)
    ends = [judge(judge.features(condition), codes + sign * step) for sign in (1, -1)]
    assert_close((found * step).sum(dim=1), (ends[0] - ends[1]) / 2, rtol=0.1, atol=1e-4)
    found.square().sum().backward()  # can be differentiated once more
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in judge.parameters())


# ------------------------------------------------------------------ the matchers
@pytest.mark.parametrize("kind", [WGANMatcher, FGANMatcher])
def test_codes_that_are_images_get_convolutions(kind):
    matcher = kind(max_steps=2, batch_size=16, channels=8).fit(data(), RUN)
    assert isinstance(matcher.network_, ConvGenerator)
    assert matcher.noise_dim_ == 64
    flat = kind(max_steps=2, batch_size=16).fit(replace(data(), code_shape=None), RUN)
    assert not isinstance(flat.network_, ConvGenerator)


def test_what_auto_stands_for():
    labels = data()
    numbers = replace(labels, condition=rows(200, 2))
    flat = replace(labels, code_shape=None)
    found = {}
    nothing = replace(labels, condition=rows(200, 0), held_condition=rows(0, 0))
    for name, some in {
        "labels": labels,
        "numbers": numbers,
        "vectors": flat,
        "none": nothing,
    }.items():
        matcher = WGANMatcher(max_steps=1, channels=8, batch_size=16, start="linear")
        found[name] = matcher.fit(some, RUN).settings_
    assert {name: s["loss"] for name, s in found.items()} == {
        "labels": "r3gan",
        "numbers": "r3gan",
        "vectors": "wgan",
        "none": "r3gan",
    }
    assert [found[name]["energy_weight"] for name in found] == [0.0, 2.5, 2.5, 0.0]
    assert [found[name]["n_draws"] for name in found] == [1, 2, 2, 1]
    assert [found[name]["betas"] for name in found] == [
        [0.0, 0.99],
        [0.5, 0.9],
        [0.5, 0.9],
        [0.0, 0.99],
    ]
    plain = WGANMatcher(max_steps=1, channels=8, batch_size=16, loss="wgan").fit(labels, RUN)
    assert (plain.settings_["loss"], plain.settings_["gradient_penalty"]) == ("wgan", 1.0)
    own = {"lr": 1e-3, "critic_lr": 1e-4, "betas": (0.1, 0.2), "n_draws": 3, "loss": "wgan"}
    own |= {"energy_weight": 0.5, "gradient_penalty": 7.0}
    matcher = WGANMatcher(max_steps=1, channels=8, batch_size=16, **own).fit(labels, RUN)
    rest = {"betas": [0.1, 0.2], "image_critic": False, "label_weight": 0.04, "max_steps": 1}
    assert matcher.settings_ == own | rest
    scored = WGANMatcher(max_steps=1, channels=8, batch_size=16, energy_weight=1.0)
    assert scored.fit(labels, RUN).settings_["n_draws"] == 2
    alone = WGANMatcher(max_steps=1, channels=8, batch_size=16, n_draws=1).fit(flat, RUN)
    assert alone.settings_["energy_weight"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("short_epochs")
def test_all_labelled_images_are_learnt_to_the_last_step_unless_the_user_judges(monkeypatch):
    X, y = shades(120)
    est = LSDMRegressor(autoencoder="feature-map", unpaired="none", random_state=0)
    est.set_params(matcher__max_steps=20, matcher__channels=8, autoencoder__max_epochs=1)
    sizes, fit = [], WGANMatcher.fit

    def noted(self, data, run):
        if not run.is_trial:
            sizes.append(len(data.latent))
        return fit(self, data, run)

    monkeypatch.setattr(WGANMatcher, "fit", noted)
    assert est.fit(X[:100], y[:100]).matcher_.best_score_ is None
    judged = {"X_val": X[100:], "y_val": y[100:]}
    assert est.fit(X[:100], y[:100], **judged).matcher_.best_score_ is not None
    numbers = np.random.default_rng(0).normal(size=(100, 2))
    assert est.fit(numbers, y[:100]).matcher_.best_score_ is not None
    assert sizes == [100, 100, 90]


def test_every_guessed_label_is_learnt():
    pairs = data()
    some = replace(pairs, codes=torch.cat([pairs.latent, 0.3 * rows(100, 16)]))
    sure = data_for("pair", some, RUN, 50)
    every = data_for("pair", some, RUN, 50, only_sure=False)
    assert len(every.latent) == 300 > len(sure.latent)
    assert len(every.held_latent) == 0
    assert not WGANMatcher().keeps_only_sure_labels(pairs)
    assert WGANMatcher().keeps_only_sure_labels(replace(pairs, condition=rows(200, 2)))
    assert WGANMatcher().keeps_only_sure_labels(replace(pairs, code_shape=None))


def test_groupsort_stays_a_critic_of_vectors():
    matcher = WGANMatcher(critic="groupsort", max_steps=2, batch_size=16, channels=8)
    matcher.fit(data(), RUN)
    assert isinstance(matcher.network_, ConvGenerator)
    assert isinstance(matcher._critic(data(), torch.Generator()), GroupSortCritic)


def test_the_unconditional_critic_of_unpaired_codes(monkeypatch):
    made = []

    class Noted(ConvCritic):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("sklsdm.matchers.adversarial.ConvCritic", Noted)
    with_codes = replace(data(), codes=torch.cat([data().latent, rows(50, 16)]))
    WGANMatcher(max_steps=2, batch_size=16, channels=8).fit(with_codes, RUN)
    assert [judge.n_features for judge in made] == [2, 0]


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize(("weight", "has_critic"), [("auto", False), (1.0, True)])
def test_a_weight_that_is_asked_for_is_used_with_pseudo_pairs(weight, has_critic):
    X, y = shades(60)
    est = LSDMRegressor(autoencoder="feature-map", unpaired="pair", warm_start=True)
    est.set_params(matcher__max_steps=2, matcher__channels=8, autoencoder__max_epochs=1)
    est.set_params(matcher__unpaired_weight=weight).fit(X[:40], y[:40], y[40:])
    assert (est.matcher_.code_critic_ is not None) == has_critic
    before = est.matcher_.network_.first.weight.clone()
    est.fit(X[:40], y[:40], y[40:])  # goes on with both networks
    assert not torch.equal(est.matcher_.network_.first.weight, before)


def test_codes_of_one_pixel_are_drawn():
    one = MatchingData(rows(40, 2), rows(40, 3), rows(0, 2), rows(0, 3), code_shape=(3, 1, 1))
    matcher = WGANMatcher(max_steps=2, channels=8, batch_size=1).fit(one, RUN)
    assert matcher.draw(rows(20, 2), rows(20, 64)).std(dim=0).min() > 1e-3


# ------------------------------------------------------------------ the critic of images
def decoder(side=8):
    """Images of one channel, twice as large as the codes, or so."""
    coder = FeatureMapCoder((1, side, side), 1, (8,), generator=seeded()).requires_grad_(False)
    return ImagesOfCodes(
        coder, torch.full((side * side // 4,), 0.5), torch.ones(()), (1, side, side)
    )


def test_labels_of_small_images_get_a_critic_of_them(monkeypatch):
    labels = replace(data(), decoder=decoder())
    numbers = replace(labels, condition=rows(200, 2))
    large = replace(
        labels, decoder=ImagesOfCodes(None, torch.zeros(()), torch.ones(()), (1, 41, 40))
    )

    def is_used(some, **params):
        return WGANMatcher(**params)._settings_for(some)["image_critic"]

    assert is_used(labels)
    assert not any(map(is_used, (data(), numbers, large)))
    assert is_used(large, image_critic=True)
    assert is_used(numbers, image_critic=True)
    assert not is_used(labels, image_critic=False)
    assert not is_used(data(), image_critic=True)
    assert not is_used(labels, image_critic=True, critic="groupsort")
    pictures = replace(numbers, image_shape=(1, 1, 2))
    assert not is_used(pictures)
    monkeypatch.setattr(data_module, "MANY_IMAGES", 200)
    assert is_used(pictures)
    assert WGANMatcher()._settings_for(pictures)["max_steps"] == 1500


@pytest.mark.parametrize("loss", ["r3gan", "wgan"])
def test_the_generator_learns_through_the_decoder(loss):
    """Against a critic of images alone: its losses, penalty and slopes are those of the images."""
    some = replace(data(), decoder=decoder())
    matcher = WGANMatcher(channels=8, loss=loss, n_draws=1, image_critic=True, label_weight=0)
    matcher.settings_ = matcher._settings_for(some)
    images = matcher._image_critic(some, seeded())
    silent = ConvCritic(2, (1, 4, 4), 8, None, seeded())
    for parameter in silent.parameters():
        torch.nn.init.zeros_(parameter)
    critics = Critics(silent, None, images)
    plan = matcher._plan(some, RUN)
    generator = matcher._module(some, plan)
    objective = matcher._objective(generator, some, replace(plan, unpaired_weight=0.0))
    b = 8
    batch = PairBatch(
        some.condition[:b], some.latent[:b], rows(b, 64), torch.full((b, 1), 0.5), None
    )
    found = objective.critic_loss(generator, critics, batch)
    drawn = generator(batch.condition, batch.noise).detach()
    real, fake = some.decoder(batch.latent[: b // 2]), some.decoder(drawn[: b // 2])
    seen = images.features(batch.condition[: b // 2])
    values = images(seen, real)[:, None], images(seen, fake)[:, None]
    zeros = torch.zeros((b, 1))
    of_critic, of_generator = matcher._losses()
    wanted = of_critic(zeros, zeros) + of_critic(*values)
    wanted = wanted + objective.penalty(
        silent, silent.features(batch.condition), batch.latent, drawn, batch.uniform
    )
    wanted = wanted + objective.penalty(images, seen, real, fake, batch.uniform)
    assert_close(found, wanted)
    for parameter in critics.parameters():
        parameter.requires_grad_(False)
    loss = objective.generator_loss(generator, critics, batch)
    assert_close(loss, of_generator(zeros, zeros) + of_generator(*values))
    loss.backward()
    assert generator.first.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in some.decoder.coder.parameters())


def test_there_are_more_steps_where_a_critic_sees_many_images(monkeypatch):
    some = replace(data(), decoder=decoder())

    def steps(some, **params):
        matcher = WGANMatcher(batch_size=16, channels=8, **params)
        matcher.settings_ = matcher._settings_for(some)
        return matcher.settings_["max_steps"], matcher.budget(10_000)

    assert WGANMatcher().budget(10_000) == 1500  # before it has seen the data
    assert steps(data()) == (1500, 1500)
    assert steps(some) == (1500, 1500)
    monkeypatch.setattr(data_module, "MANY_IMAGES", 200)
    assert steps(some) == (3500, 3500)
    assert steps(some, image_critic=False) == (1500, 1500)
    assert steps(some, max_steps=7) == (7, 7)


def test_the_penalty_looks_at_a_share_of_the_rows():
    judge, codes, drawn = critic(), rows(8, 24), rows(8, 24, seed=1)
    features, uniform = judge.features(rows(8, 2)), rows(8, 1)
    whole = SlopePenalty("flat", 1.0)(judge, features[:2], codes[:2], drawn[:2], uniform[:2])
    assert_close(
        SlopePenalty("flat", 1.0, share=0.25)(judge, features, codes, drawn, uniform), whole
    )


@pytest.mark.usefixtures("short_epochs")
def test_a_fit_goes_on_with_the_critic_of_images(monkeypatch):
    X, y = shades(60)
    est = LSDMRegressor(autoencoder="feature-map", warm_start=True, random_state=0)
    est.set_params(matcher__max_steps=2, matcher__channels=8, autoencoder__max_epochs=1)
    before = est.fit(X, y).matcher_.image_critic_.alone.weight.clone()
    set_to_start, begun = WGANMatcher._at_start, {}

    def noted(self, name, module):
        found = set_to_start(self, name, module)
        begun[name] = copy.deepcopy(found)
        return found

    monkeypatch.setattr(WGANMatcher, "_at_start", noted)
    after = est.fit(X, y).matcher_.image_critic_.alone.weight
    assert_close(begun["image_critic_"].alone.weight, before)
    assert not torch.equal(after, before)
    assert est.matcher_.settings_["image_critic"]
    assert all(p.requires_grad for p in est.autoencoder_.coder_.parameters())


@pytest.mark.usefixtures("short_epochs")
def test_flat_responses_with_codes_that_are_images_have_no_critic_of_images():
    """A user's autoencoder may do that; so may one that is no torch module."""

    class OfRows(FeatureMapAutoencoder):
        def check_format(self, form):
            pass

    images = np.random.default_rng(0).normal(size=(60, 1, 16, 16))
    est = LSDMRegressor(autoencoder=OfRows(max_epochs=1), random_state=0)
    est.set_params(matcher__max_steps=2, matcher__channels=8)
    X = np.eye(2)[np.arange(60) % 2]
    assert est.fit(X, images).matcher_.settings_["image_critic"]
    space = LatentSpace(
        est.autoencoder_, est._latent_standardiser_, est._response_format_, torch.device("cpu")
    )
    assert space.decoder() is not None
    flat = ResponseFormat(np.zeros((2, 256)), est._response_format_.standardiser)
    assert replace(space, form=flat).decoder() is None


def test_steps_that_a_users_decoder_is_part_of_are_not_recorded():
    some = replace(data(), decoder=decoder())
    matcher = WGANMatcher(channels=8, max_steps=20)
    matcher.settings_ = matcher._settings_for(some)
    plan = matcher._plan(some, RUN)
    generator = matcher._module(some, plan)
    assert matcher._objective(generator, some, plan).recordable
    some.decoder.coder.decoder.register_forward_hook(lambda *arguments: None)
    assert not matcher._objective(generator, some, plan).recordable
    matcher = WGANMatcher(channels=8, max_steps=20, image_critic=False)
    matcher.settings_ = matcher._settings_for(some)
    assert matcher._objective(generator, some, plan).recordable


@pytest.mark.parametrize(("side", "n_halvings"), [(16, 3), (40, 3), (64, 3), (65, 4), (128, 4)])
def test_images_are_halved_until_they_are_small(side, n_halvings):
    judge = ConvCritic(0, (3, side, side), 8, None, seeded(), of_images=True)
    strides = [layer.stride[0] for layer in judge.reduce if hasattr(layer, "stride")]
    assert strides == [2] * n_halvings
    assert judge(torch.zeros(2, 0), rows(2, 3 * side * side)).shape == (2,)


# ------------------------------------------------------------------ the estimators
@pytest.mark.slow
def test_draws_follow_the_class():
    X, y = shades()
    model = LSDMRegressor(autoencoder="feature-map", random_state=0, condition_encoder="flatten")
    model.set_params(**SHORT).fit(X, y)
    draws = model.sample(np.eye(2), 50, random_state=0).mean(axis=(2, 3))
    assert draws[0].max() < 0 < draws[1].min()
    copied = pickle.loads(pickle.dumps(model))
    assert_array_equal(copied.sample(X[:3], random_state=1), model.sample(X[:3], random_state=1))


@pytest.mark.slow
def test_draws_follow_an_image():
    _, y = shades()
    low = y.reshape(-1, 1, 4, 2, 4, 2).mean(axis=(3, 5))
    model = LSDMRegressor(autoencoder="feature-map", random_state=0)
    model.set_params(**SHORT).fit(low[:300], y[:300])
    draws = model.sample(low[300:], random_state=0)[:, 0]
    again = draws.reshape(-1, 1, 4, 2, 4, 2).mean(axis=(3, 5))
    other = np.square(again - np.roll(low[300:], 1, axis=0)).mean()
    assert np.square(again - low[300:]).mean() < 0.5 * other


@pytest.mark.slow
def test_images_are_drawn_without_conditions():
    _, y = shades()
    model = LSDMGenerator(matcher="wgan", autoencoder="feature-map", random_state=0)
    model.set_params(**SHORT).fit(y)
    draws = model.sample(200).mean(axis=(1, 2))
    assert 0.25 < (draws > 0).mean() < 0.75
    assert np.abs(draws).mean() > 0.4


@pytest.mark.parametrize("pseudo", [0, 100])
@pytest.mark.usefixtures("short_epochs")
def test_images_of_many_numbers_have_the_settings_of_labels(pseudo, monkeypatch):
    """What images go with a number is as open as with a label; of few pairs it would be learnt by
    heart."""
    monkeypatch.setattr(data_module, "ENOUGH_IMAGES", 150)
    numbers = replace(data(), condition=rows(200, 2), n_pseudo=pseudo, n_known=200 - pseudo)
    matcher = WGANMatcher(max_steps=30, channels=8, batch_size=16).fit(numbers, RUN)
    assert matcher.settings_["energy_weight"] == 0
    assert matcher.settings_["betas"] == [0.0, 0.99]
    assert matcher.settings_["label_weight"] == 0
    assert matcher.best_step_ == matcher.n_steps_ == 30


@pytest.mark.usefixtures("short_epochs")
def test_fewer_than_twenty_numbers_have_codes_that_are_vectors(monkeypatch):
    """Their codes would be learnt from these pairs alone: no other image gets a number."""
    monkeypatch.setattr(WGANMatcher, "fewest_code_images", 40)
    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 2)), random.random((60, 16, 16))
    labels = np.eye(2)[np.arange(60) % 2]

    def kind(x, n_pairs):
        est = LSDMRegressor(matcher=WGANMatcher(max_steps=2, channels=8), random_state=0)
        est.set_params(autoencoder__max_epochs=1)
        return type(est.fit(x[:n_pairs], y[:n_pairs], y[n_pairs:]).autoencoder_).__name__

    assert kind(X, 19) == "ConvAutoencoder"
    assert kind(X, 20) == kind(labels, 19) == "FeatureMapAutoencoder"
