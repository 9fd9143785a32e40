"""Pseudo-pairs: conditions for codes that came without one, from a model of x given the code.

The model is fitted on the pairs. Where conditions repeat (labels, doses, settings) it is a
classifier of the code, kept smooth and decided between the pairs by virtual adversarial training
on all codes (Miyato et al. 2018, arXiv 1704.03976). Where they do not, it is a mixture of
Gaussians for x given the code, and each code gets one of the pairs' own conditions x_i, drawn with
weight p(x_i | z) / p(x_i): so mixed columns stay what they are, and an uninformative model gives
draws from p(x).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.blocks import rows_per_block
from sklsdm.functional.categorical import are_labels, distinct_rows, draw_index
from sklsdm.functional.mixtures import log_density
from sklsdm.functional.virtual_adversarial import (
    class_entropy,
    divergence_of_classes,
    virtual_adversary,
)
from sklsdm.matchers.base import EPOCH_STEPS, MatchingData
from sklsdm.matchers.mdn import MDNMatcher
from sklsdm.modules import CodeClassifier
from sklsdm.nets import SingleNet, default_callbacks
from sklsdm.run import Run, Stage, Stream

PAIRING = Stage("pairing", "pairing.pt", "the matcher's lr")

MIN_CONFIDENCE = 0.9  # of a label that is used; see `PseudoPairs`
_MAX_CANDIDATES = 1024  # of the pairs' conditions, where they do not repeat
_MAX_DIMS = 8  # of the conditions that the mixture models: their principal components
_MARGINAL_CODES = 1024
_LABEL_STEPS, _LABEL_BATCH, _LABEL_WIDTHS = 2000, 256, (128, 128)
_LABEL_LR, _LABEL_EMA = 1e-3, 0.99
_NOISE, _RADIUS = 0.1, 0.5  # in units of a code's standard deviation


@dataclass(frozen=True)
class PseudoPairs:
    """Codes with the conditions drawn for them.

    The confidence of a code is 1 − Var(x | z) / Var(x): 1 where the code tells x, 0 where it tells
    nothing; for labels, one minus the relative Gini impurity.
    """

    by_label: bool  # whether a classifier chose the conditions
    condition: Tensor  # (m, p)
    latent: Tensor  # (m, k)
    confidence: Tensor  # (m,)


def draw_pseudo_pairs(
    data: MatchingData, unpaired: Tensor, run: Run, max_steps: int = 3000
) -> PseudoPairs:
    """Conditions for `unpaired` codes (N, k), where the model is sure enough.

    Labels count from a confidence of .9; what does not repeat is drawn for every code, since
    leaving codes out would bend their law.

    Parameters
    ----------
    data : MatchingData
        The pairs, and the codes of all responses.
    unpaired : Tensor of shape (N, k)
        Codes without a condition.
    run : Run
        Device and seed.
    max_steps : int
        Most steps for the model of x given the code.
    """
    rows, log_shares = distinct_rows(data.condition)
    repeats = are_labels(data.condition)
    if repeats:
        blocks = _label_weights(data, rows, log_shares, unpaired, run, max_steps)
    else:
        random = run.stream(Stream.PAIRING_CANDIDATES)
        chosen = torch.randperm(len(rows), generator=random, device=random.device)
        rows = rows[chosen[:_MAX_CANDIDATES]]
        blocks = _number_weights(data, rows, unpaired, run, max_steps)
    random = run.stream(Stream.PAIRING_DRAWS)
    total = rows.square().T @ log_shares.exp() if repeats else rows.square().mean(dim=0)
    mean = rows.T @ log_shares.exp() if repeats else rows.mean(dim=0)
    spread = (total - mean.square()).sum().clamp(min=1e-12)
    drawn, confidence = [], []
    for log_weight in blocks:
        weight = log_weight.exp()
        centre = weight @ rows
        left = (weight @ rows.square() - centre.square()).sum(dim=1)
        confidence.append(1 - left / spread)
        drawn.append(log_weight.argmax(dim=1) if repeats else draw_index(log_weight, random))
    sure = torch.cat(confidence)
    kept = sure >= MIN_CONFIDENCE if repeats else torch.ones_like(sure, dtype=torch.bool)
    return PseudoPairs(repeats, rows[torch.cat(drawn)[kept]], unpaired[kept], sure[kept])


# ---------------------------------------------------------------------------- labels
class LabelObjective:
    """Cross-entropy of the pairs; at all codes, a smooth and decided answer of the right shares."""

    def __init__(self, log_shares: Tensor) -> None:
        self.log_shares = log_shares

    def __call__(self, classifier: nn.Module, batch: PairBatch) -> Tensor:
        assert batch.other is not None
        labelled = classifier(batch.latent + _NOISE * batch.noise)
        loss = nn.functional.nll_loss(labelled, batch.condition)
        here = classifier(batch.other)
        moved = virtual_adversary(classifier, batch.other, batch.noise, _RADIUS)
        loss = loss + divergence_of_classes(here.detach(), classifier(moved)).mean()
        shares = here.exp().mean(dim=0, keepdim=True).clamp(min=1e-12).log()
        bend = divergence_of_classes(shares, self.log_shares[None]).sum()
        return loss + class_entropy(here).mean() + bend


def _label_weights(
    data: MatchingData,
    rows: Tensor,
    log_shares: Tensor,
    unpaired: Tensor,
    run: Run,
    max_steps: int,
) -> Iterator[Tensor]:
    """ln p(x_i | z) over distinct conditions, (b, m), for blocks of codes."""
    labels = torch.cdist(data.condition, rows).argmin(dim=1)
    codes = data.latent if data.codes is None else data.codes
    latent_dim = data.latent.shape[1]
    classifier = CodeClassifier(
        latent_dim, len(rows), _LABEL_WIDTHS, run.weights(Stream.CLASSIFIER_WEIGHTS)
    )
    random = run.stream(Stream.CLASSIFIER_STEPS)
    steps = min(_LABEL_STEPS, max_steps)
    epoch_steps = min(EPOCH_STEPS, steps)
    net = SingleNet(
        classifier,
        criterion=lambda: LabelObjective(log_shares),
        optimizer=torch.optim.AdamW,
        optimizer__fused=True,
        lr=_LABEL_LR,
        max_epochs=steps // epoch_steps,
        ema_decay=_LABEL_EMA,
        random=random,
        device=str(run.device),
        verbose=0,
        callbacks=default_callbacks(PAIRING, run=run),
    )
    net.fit(
        PairBatches(
            labels,
            data.latent,
            codes,
            batch_size=_LABEL_BATCH,
            n_steps=epoch_steps,
            noise_dim=latent_dim,
            random=random,
        )
    )
    if net.interrupted_:
        raise KeyboardInterrupt
    fitted = net.module_.eval()
    for block in unpaired.split(rows_per_block(len(rows))):
        with torch.no_grad():  # not held while the caller works
            log_weight = fitted(block)
        yield log_weight


# ---------------------------------------------------------------------------- numbers
def _number_weights(
    data: MatchingData, rows: Tensor, unpaired: Tensor, run: Run, max_steps: int
) -> Iterator[Tensor]:
    """ln of p(x_i | z) / p(x_i), normalised over the candidates i, (b, m), for blocks of codes."""
    project = _principal(data.condition)
    reverse = MatchingData(
        condition=data.latent,
        latent=project(data.condition),
        held_condition=data.held_latent,
        held_latent=project(data.held_condition),
    )
    own = Run(run.device, run.seed + 1, run.verbose)
    mixture = MDNMatcher(max_steps=max_steps).fit(reverse, own)
    if mixture.interrupted_:
        raise KeyboardInterrupt
    density, points = mixture.network_, project(rows)
    size = rows_per_block(len(rows) * points.shape[1] * mixture.n_components)

    @torch.no_grad()
    def log_ratio(codes: Tensor) -> Tensor:
        residual = density.residual(codes[:, None], points)
        parts = (part.unsqueeze(1) for part in density(codes))
        return log_density(residual, *parts)

    random = run.stream(Stream.PAIRING_MARGINAL)
    order = torch.randperm(len(unpaired), generator=random, device=random.device)
    some = unpaired[order[:_MARGINAL_CODES]]
    law = torch.cat([log_ratio(block) for block in some.split(size)])
    log_marginal = law.logsumexp(dim=0) - math.log(len(law))
    for block in unpaired.split(size):
        yield (log_ratio(block) - log_marginal).log_softmax(dim=1)


def _principal(condition: Tensor) -> Any:
    """The projection on the (at most eight) principal components of the conditions, whitened."""
    mean = condition.mean(dim=0)
    centred = (condition - mean).double()
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = int((sizes > 1e-6 * sizes[0].clamp(min=1e-12)).sum().clamp(min=1, max=_MAX_DIMS))
    scale = sizes[:kept] / math.sqrt(len(condition))
    turn = (axes[:kept] / scale.clamp(min=1e-12)[:, None]).T.to(condition.dtype)
    return lambda rows: (rows - mean) @ turn
