"""Metrics of the dense prediction tasks, accumulated over the whole dataset on any backend."""

from keras_mtl.metrics.accumulate import DatasetMetric as DatasetMetric
from keras_mtl.metrics.accumulate import MeanOverPixels as MeanOverPixels
from keras_mtl.metrics.boundary import BoundaryF as BoundaryF
from keras_mtl.metrics.box_depth import BoxDepthError as BoxDepthError
from keras_mtl.metrics.depth import DepthAbsRel as DepthAbsRel
from keras_mtl.metrics.depth import DepthDelta as DepthDelta
from keras_mtl.metrics.depth import DepthLogRMSE as DepthLogRMSE
from keras_mtl.metrics.depth import DepthRMSE as DepthRMSE
from keras_mtl.metrics.depth import DepthSqRel as DepthSqRel
from keras_mtl.metrics.normals import NormalsMeanError as NormalsMeanError
from keras_mtl.metrics.normals import NormalsMedianError as NormalsMedianError
from keras_mtl.metrics.normals import NormalsWithin as NormalsWithin
from keras_mtl.metrics.saliency import SaliencyMaxF as SaliencyMaxF
from keras_mtl.metrics.segmentation import MeanIoU as MeanIoU
