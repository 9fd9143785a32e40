"""PyTorch's exporter follows the rules that draws keep (the file itself: tests/test_onnx.py)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import LAWS_WITH_RULES
from numpy.testing import assert_allclose
from torch import nn

from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.rules import ResponseRule, RuleByOutput
from sklsdm.onnx.graph import ResponseGraph


class AsItIs(nn.Module):
    """An autoencoder whose codes are the standardised responses."""

    coder_ = None

    def decode(self, codes, noise):
        return codes


def format_of(law) -> ResponseFormat:
    return Responses(LAWS_WITH_RULES[law], None).format


def test_every_rule_has_a_law():
    found = {type(rule) for law in LAWS_WITH_RULES for rule in format_of(law).rules}
    kinds = {*ResponseRule.__subclasses__(), *RuleByOutput.__subclasses__()} - {RuleByOutput}
    assert found == kinds


SLOWLY = [
    law if law in ("a whole row", "places of shops") else pytest.param(law, marks=pytest.mark.slow)
    for law in LAWS_WITH_RULES
]


@pytest.mark.parametrize("law", SLOWLY)
def test_the_exporter_follows_rules(law):
    form = format_of(law)
    graph = ResponseGraph(SimpleNamespace(form=form, autoencoder=AsItIs())).eval()
    codes = torch.from_numpy(np.random.default_rng(0).normal(size=(200, form.width))).float()
    rows = {0: torch.export.Dim("n", min=1)}
    exported = torch.export.export(
        graph, (codes, codes), dynamic_shapes=(rows, rows), strict=True
    ).module()
    expected = form.restore(codes).reshape(200, *form.shape)
    with torch.no_grad():
        assert_allclose(exported(codes, codes), expected, rtol=1e-12)
