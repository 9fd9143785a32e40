"""Stage 1: latent spaces of the responses."""

from sklsdm.autoencoders.auto import AutoAutoencoder, intrinsic_dimension
from sklsdm.autoencoders.base import BaseAutoencoder
from sklsdm.autoencoders.linear import IdentityAutoencoder, PCAAutoencoder
from sklsdm.autoencoders.mlp import MLPAutoencoder

AUTOENCODERS: dict[str, type[BaseAutoencoder]] = {
    "auto": AutoAutoencoder,
    "mlp": MLPAutoencoder,
    "pca": PCAAutoencoder,
    "identity": IdentityAutoencoder,
}

__all__ = [
    "AUTOENCODERS",
    "AutoAutoencoder",
    "BaseAutoencoder",
    "IdentityAutoencoder",
    "MLPAutoencoder",
    "PCAAutoencoder",
    "intrinsic_dimension",
]
