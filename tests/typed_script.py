"""A user's script: it type-checks under mypy's strict rules (`make lint`), and runs."""

import torch
from torch import nn

from sklsdm import LSDMGenerator, LSDMRegressor, Unpaired, sample
from sklsdm.datasets import make_arms
from sklsdm.matchers import EnergyMatcher, WGANMatcher


def main() -> None:
    arms = make_arms(60, random_state=0)
    matcher = WGANMatcher(n_critic=2, gradient_penalty=10.0, max_steps=3)
    est = LSDMRegressor(latent_dim=2, matcher=matcher, random_state=0)
    est.fit(X_paired=arms.X, Y_paired=arms.y, Y_unpaired=Unpaired(arms.y))
    assert est.sample(arms.X[:5], n_samples=10).shape == (5, 10, 2)
    assert sample(est, arms.X[:5]).shape == (5, 1, 2)
    mean, std = est.predict(arms.X, return_std=True)
    assert mean.shape == est.predict(arms.X).shape == std.shape
    assert len(est.sample(arms.X[:5], n_samples=10, as_frame=True)) == 50
    assert len(est.predict_interval(arms.X[:5], as_frame="pandas")) == 10
    assert est.score(arms.X, arms.y) < 1
    pair = (nn.Linear(2, 2).eval(), nn.Linear(2, 2).eval())
    other = LSDMRegressor("auto", EnergyMatcher(4, max_steps=3), autoencoder=pair)
    assert other.fit(arms.X, arms.y).latent_dim_ == 2
    generator = LSDMGenerator(matcher=EnergyMatcher(max_steps=3), device=torch.device("cpu"))
    assert generator.fit(arms.y).sample(7).shape == (7, 2)


if __name__ == "__main__":
    main()
