"""
Your own autoencoder in torch
=============================

Any pair of torch modules can be the latent space. Here convolutions over time are trained on
unpaired curves by an ordinary loop, and handed to the estimator, which leaves them as they are.
"""

# %%
# Curves
# ------
# Damped oscillations: the frequency follows x, phase and damping do not.
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from sklsdm import LSDMRegressor

rng = np.random.default_rng(0)
time = np.linspace(0, 1, 64)


def oscillations(x, rng):
    """Curves (n, 64) for frequencies x (n, 1)."""
    phase, damping = rng.uniform(0, 2 * np.pi, x.shape), rng.uniform(1, 4, x.shape)
    return np.exp(-damping * time) * np.sin(2 * np.pi * x * time + phase)


x = rng.uniform(2, 5, (1500, 1))
y = oscillations(x, rng).astype(np.float32)

# %%
# Two modules
# -----------
# Rows come standardised by output, as (n, 64).
encoder = nn.Sequential(
    nn.Unflatten(1, (1, 64)),
    nn.Conv1d(1, 16, 5, stride=2, padding=2),
    nn.SiLU(),
    nn.Conv1d(16, 16, 5, stride=2, padding=2),
    nn.SiLU(),
    nn.Flatten(),
    nn.Linear(256, 6),
)
decoder = nn.Sequential(nn.Linear(6, 128), nn.SiLU(), nn.Linear(128, 64))

rows = torch.as_tensor((y - y.mean(0)) / y.std(0))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
shuffle = torch.Generator().manual_seed(0)
for _ in range(1000):
    batch = rows[torch.randint(len(rows), (128,), generator=shuffle)]
    loss = (decoder(encoder(batch)) - batch).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"share of the variance lost: {loss.item():.3f}")

# %%
# Stage 2
# -------
# 300 of the curves have their x.
est = LSDMRegressor(6, "diffusion", autoencoder=(encoder.eval(), decoder.eval()), random_state=0)
est.fit(x[:300], y[:300], y[300:])

slow, fast = est.sample([[2.0], [5.0]], 6, random_state=0)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for axis, curves, frequency in zip(axes, (slow, fast), (2, 5), strict=True):
    axis.plot(time, curves.T, linewidth=1)
    axis.set(title=f"draws at frequency {frequency}", xlabel="time")
