"""What PyTorch's exporter cannot translate by itself, in operators that ONNX has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklsdm.modules import PotentialGenerator


def translations() -> dict[Any, Callable[..., Any]]:
    """ONNX's form of operators of torch that the exporter does not know."""
    return {torch.ops.aten.linalg_solve_triangular.default: _solve_lower_triangular}


def _solve_lower_triangular(
    A: Any, B: Any, *, upper: bool = False, left: bool = True, unitriangular: bool = False
) -> Any:
    """X of A X = B, for lower triangular A (..., k, k) and B (..., k, m): forward substitution.

    A and B are values of an ONNX graph, to which the nodes are added.
    """
    from onnxscript import opset18

    op: Any = opset18  # its type hints do not allow for values of a graph
    if upper or not left or unitriangular:
        raise NotImplementedError("only A X = B with a lower triangular A is translated")
    found = None
    for place in range(A.shape[-1]):
        here = op.Constant(value_ints=[place])
        row, rest = op.Gather(A, here, axis=-2), op.Gather(B, here, axis=-2)
        if found is not None:
            start, last_axis = op.Constant(value_ints=[0]), op.Constant(value_ints=[-1])
            rest = op.Sub(rest, op.MatMul(op.Slice(row, start, here, last_axis), found))
        solved = op.Div(rest, op.Gather(row, here, axis=-1))
        found = solved if found is None else op.Concat(found, solved, axis=-2)
    return found


class _TracedSlope(PotentialGenerator):
    """A generator whose slope is written out, since exporters do not follow autograd."""

    traced: Any

    def potential(
        self, condition: Tensor, start: Tensor, *, create_graph: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        out, slope = self.traced(dict(self.mlp.named_parameters()), self.features(condition), start)
        return self.split(out, slope)


def use_traced_slope(generator: PotentialGenerator) -> None:
    """Replace the generator's backward pass by the operations that autograd takes for it."""
    from torch.fx.experimental.proxy_tensor import make_fx

    mlp = generator.mlp

    def height_and_slope(
        weights: dict[str, Tensor], features: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            points = points.detach().requires_grad_(True)
            rows = torch.cat([features, points], dim=-1)
            out = torch.func.functional_call(mlp, weights, (rows,))
            (slope,) = torch.autograd.grad(out[:, 0].sum(), points)
        return out.detach(), slope

    n_points = generator.mean.out_features
    n_features = mlp[0].in_features - n_points
    example = [torch.zeros((2, n), dtype=torch.float32) for n in (n_features, n_points)]
    weights = {name: part.detach() for name, part in mlp.named_parameters()}
    generator.__class__ = _TracedSlope
    generator.traced = make_fx(height_and_slope, tracing_mode="symbolic")(weights, *example)
