"""Stage 1: autoencoders, which give the latent space of the responses."""

from sklsdm.autoencoders.auto import FEW_OUTPUTS, AutoAutoencoder, intrinsic_dimension
from sklsdm.autoencoders.base import MAX_HELD_OUT, BaseAutoencoder
from sklsdm.autoencoders.conv import ConvAutoencoder
from sklsdm.autoencoders.dpa import DPAAutoencoder
from sklsdm.autoencoders.feature_map import FeatureMapAutoencoder
from sklsdm.autoencoders.linear import IdentityAutoencoder, PCAAutoencoder
from sklsdm.autoencoders.mlp import MLPAutoencoder
from sklsdm.autoencoders.vae import VAEAutoencoder
from sklsdm.autoencoders.wrapped import TorchAutoencoder, TransformerAutoencoder, wrap

AUTOENCODERS: dict[str, type[BaseAutoencoder]] = {
    "auto": AutoAutoencoder,
    "mlp": MLPAutoencoder,
    "conv": ConvAutoencoder,
    "feature-map": FeatureMapAutoencoder,
    "vae": VAEAutoencoder,
    "dpa": DPAAutoencoder,
    "pca": PCAAutoencoder,
    "identity": IdentityAutoencoder,
}

__all__ = [
    "AUTOENCODERS",
    "FEW_OUTPUTS",
    "MAX_HELD_OUT",
    "AutoAutoencoder",
    "BaseAutoencoder",
    "ConvAutoencoder",
    "DPAAutoencoder",
    "FeatureMapAutoencoder",
    "IdentityAutoencoder",
    "MLPAutoencoder",
    "PCAAutoencoder",
    "TorchAutoencoder",
    "TransformerAutoencoder",
    "VAEAutoencoder",
    "intrinsic_dimension",
    "wrap",
]
