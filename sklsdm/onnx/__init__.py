"""The sampler as an ONNX file, to draw where there is neither Python nor PyTorch."""

from sklsdm.onnx.export import export

__all__ = ["export"]
