"""Layers whose initial weights are drawn from the `torch.Generator` handed in.

The global random state is neither read nor changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


# Slope below 0 of the activations that are linear on either side of it.
_NEGATIVE_SLOPES = {"leaky_relu": nn.LeakyReLU().negative_slope, "relu": 0.0}


class _Uninitialised:
    """Mixin for a layer of PyTorch whose weights are not drawn from the global random state."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are: they are drawn from a generator, or loaded."""


class _Linear(_Uninitialised, nn.Linear): ...


class _Conv2d(_Uninitialised, nn.Conv2d): ...


class _ConvTranspose2d(_Uninitialised, nn.ConvTranspose2d): ...


def _init_weights(layer: nn.Module, fan_in: int, generator: torch.Generator | None) -> None:
    """PyTorch's own rule, uniform within ±1/√fan_in, drawn from `generator`."""
    if generator is None:
        return
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def linear(n_in: int, n_out: int, generator: torch.Generator | None, bias: bool = True) -> Any:
    """A linear layer with weights drawn from `generator`; uninitialised where it is None."""
    layer = _Linear(max(n_in, 1), n_out, bias=bias, dtype=torch.float32)
    if n_in == 0:  # no condition: nothing but the bias
        layer.in_features = 0
        layer.weight = nn.Parameter(torch.empty(n_out, 0, dtype=torch.float32))
    _init_weights(layer, n_in, generator)
    return layer


def conv(n_in: int, n_out: int, kernel: int, stride: int, generator: torch.Generator | None) -> Any:
    """A convolution with padding kernel // 2 and weights drawn from `generator`."""
    layer = _Conv2d(
        n_in,
        n_out,
        kernel_size=kernel,
        stride=stride,
        padding=kernel // 2,
        dtype=torch.float32,
    )
    _init_weights(layer, n_in * kernel**2, generator)
    return layer


def conv_side(side: int, stride: int = 2) -> int:
    """Pixels along a side of what `conv` gives for an image with `side` pixels along it."""
    return math.ceil(side / stride)


def stages_of_halving(shape: Sequence[int], channels: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes (c, h, w) of an image and of what each in a chain of `conv` with stride 2 gives."""
    stages = [tuple(shape)]
    for n_channels in channels:
        stages.append((n_channels, *map(conv_side, stages[-1][1:])))
    return stages


def conv_transpose(
    n_in: int,
    n_out: int,
    kernel: int,
    sides: Sequence[int],
    generator: torch.Generator | None,
) -> Any:
    """The transposed convolution of `conv` with stride 2; its output has the given sides (h, w)."""
    layer = _ConvTranspose2d(
        n_in,
        n_out,
        kernel_size=kernel,
        stride=2,
        padding=kernel // 2,
        output_padding=(1 - sides[0] % 2, 1 - sides[1] % 2),
        dtype=torch.float32,
    )
    # With stride 2 an output pixel gets a quarter of the kernel's entries on average.
    _init_weights(layer, n_in * kernel**2 // 4, generator)
    return layer


def mlp(
    n_in: int,
    n_out: int,
    widths: Sequence[int],
    activation: str,
    generator: torch.Generator | None,
    *,
    last_scale: float = 1.0,
) -> nn.Sequential:
    """Linear layers with an activation between them; the last one's weights times `last_scale`."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [linear(n_in, width, generator), ACTIVATIONS[activation]()]
        n_in = width
    last = linear(n_in, n_out, generator)
    with torch.no_grad():
        last.weight.mul_(last_scale)
        last.bias.mul_(last_scale)
    return nn.Sequential(*layers, last)


class GatedMLP(nn.Module):
    """An MLP of (features of x, inputs) in whose first layer the features multiply the inputs.

    Its units before the activation are (1 + G f) ⊙ (W u + b) + S f + c, for features f and inputs
    u: x can turn and stretch what the network does with the inputs, which sums of f and u learn
    slowly. Without features it is a plain MLP. Dumoulin et al. 2018, "Feature-wise
    transformations" (Distill), where this is called FiLM.
    """

    def __init__(
        self,
        n_features: int,
        n_inputs: int,
        n_out: int,
        widths: Sequence[int],
        activation: str,
        generator: torch.Generator | None,
        *,
        last_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.gated = n_features > 0 and len(widths) > 0
        self.negative_slope = _NEGATIVE_SLOPES.get(activation)
        if self.gated:
            self.first = linear(n_inputs, widths[0], generator)
            self.by_condition = linear(n_features, 2 * widths[0], generator)
            self.activation = ACTIVATIONS[activation]()
            n_in, widths = widths[0], widths[1:]
        else:
            n_in = n_features + n_inputs
        self.rest: Any = mlp(n_in, n_out, widths, activation, generator, last_scale=last_scale)

    def forward(self, features: Tensor, inputs: Tensor) -> Tensor:
        """Outputs (n m, n_out) for features (n, n_features) and inputs (n m, n_inputs).

        Where m > 1, the m inputs of each row of features follow one another.
        """
        return self.rest(self._activated(self._first_units(features, inputs)))

    def _first_units(self, features: Tensor, inputs: Tensor) -> Tensor:
        """Units of the gated layer before its activation; without one, the rows of an MLP."""
        per_row = len(inputs) // max(1, len(features))
        if not self.gated:
            return torch.cat([features.repeat_interleave(per_row, dim=0), inputs], dim=1)
        gate, shift = self.by_condition(features).unsqueeze(1).chunk(2, dim=2)
        hidden = self.first(inputs).unflatten(0, (len(features), per_row))
        return torch.addcmul(shift, 1.0 + gate, hidden).flatten(0, 1)

    def _activated(self, units: Tensor) -> Tensor:
        return self.activation(units) if self.gated else units

    @property
    def is_piecewise_linear(self) -> bool:
        """Whether the output is piecewise linear in the inputs, as :meth:`slopes` needs."""
        return self.negative_slope is not None

    def slopes(self, features: Tensor, inputs: Tensor) -> Tensor:
        """Gradient (n, n_inputs) of a single output in the inputs, for a piecewise linear network.

        Equal to what autograd gives with ``create_graph=True``, as a function of the weights and
        features. It is written out as the product of the weights and of the activations' slopes,
        which do not depend on the weights but where a unit changes its sign. Its own backward pass
        is then an ordinary one, where autograd's also goes back through the forward pass, with
        nothing but zeros.
        """
        with torch.no_grad():
            units = self._units(features, inputs)
        layers = list(self.rest)[::2]
        found = layers[-1].weight.expand(len(inputs), -1)
        for layer in reversed(layers[:-1]):
            found = self._through_activation(found, units.pop()) @ layer.weight
        if not self.gated:
            return found[:, self.n_features :]
        width = self.first.out_features
        gate = nn.functional.linear(
            features, self.by_condition.weight[:width], self.by_condition.bias[:width]
        )
        found = self._through_activation(found, units.pop())
        return (found * (1.0 + gate)) @ self.first.weight

    def _units(self, features: Tensor, inputs: Tensor) -> list[Tensor]:
        """Units (n, width) of every layer before its activation, from the first layer on."""
        first = self._first_units(features, inputs)
        units, rows = [first] if self.gated else [], self._activated(first)
        for layer in list(self.rest)[:-2]:  # without the last activation, which no unit follows
            rows = layer(rows)
            if isinstance(layer, nn.Linear):
                units.append(rows)
        return units

    def _through_activation(self, gradient: Tensor, units: Tensor) -> Tensor:
        """The gradient (n, width) before an activation, given that after it."""
        return torch.ops.aten.leaky_relu_backward(gradient, units, self.negative_slope, False)
