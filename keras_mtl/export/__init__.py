"""Trained models as files for other programs: SavedModel, ONNX, LiteRT.

Every format is written by TensorFlow, whatever backend the model runs on: under JAX and PyTorch a
process of its own loads the model there. A file is kept only if it gives the model's own maps.
"""

from keras_mtl.export.exported import Exported, export_model

__all__ = ["Exported", "export_model"]
