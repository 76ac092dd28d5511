"""Losses of the dense prediction tasks, each a mean over the labelled pixels of the batch.

Every loss exists twice: a pure function that returns the loss of each pixel beside the mask of
labelled pixels, and a `keras.losses.Loss` around it for `compile(loss={...})`. A batch without
any label for a task costs exactly zero, with zero gradient.

On several devices these are means over the labelled pixels of all of them
(`keras_mtl.distribution`).
"""

from keras_mtl.losses.adversarial import GradientAdversarialLoss
from keras_mtl.losses.affinity import AffinityLoss
from keras_mtl.losses.boundary import BoundaryLoss, boundary_loss_map
from keras_mtl.losses.depth import DepthLoss, depth_loss_map
from keras_mtl.losses.detection3d.fcos3d import FCOS3DLoss
from keras_mtl.losses.discretized import (
    BoundaryClassesLoss,
    DepthBinsLoss,
    DiscretizedLoss,
    NormalsCentroidsLoss,
)
from keras_mtl.losses.labelled import LabelledPixelLoss, mean_over_labelled
from keras_mtl.losses.labelled_images import LabelledImagesMean
from keras_mtl.losses.maps import NO_LABEL, Tensor, check_maps, unit_vectors
from keras_mtl.losses.normals import NormalsLoss, normals_loss_map
from keras_mtl.losses.saliency import SaliencyLoss, saliency_loss_map
from keras_mtl.losses.segmentation import SegmentationLoss, segmentation_loss_map

__all__ = [
    "AffinityLoss",
    "BoundaryClassesLoss",
    "BoundaryLoss",
    "DepthBinsLoss",
    "DepthLoss",
    "DiscretizedLoss",
    "FCOS3DLoss",
    "GradientAdversarialLoss",
    "LabelledImagesMean",
    "LabelledPixelLoss",
    "NO_LABEL",
    "NormalsCentroidsLoss",
    "NormalsLoss",
    "SaliencyLoss",
    "SegmentationLoss",
    "Tensor",
    "boundary_loss_map",
    "check_maps",
    "depth_loss_map",
    "mean_over_labelled",
    "normals_loss_map",
    "saliency_loss_map",
    "segmentation_loss_map",
    "unit_vectors",
]
