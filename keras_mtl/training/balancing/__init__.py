"""Rules that balance the tasks in training: what `compile` takes as `balancing`.

model.compile(balancing=keras_mtl.balancing.UncertaintyWeighting())  # by the losses
model.compile(balancing=keras_mtl.balancing.PCGrad())  # by the gradients
"""

from keras_mtl.training.balancing.aligned_mtl import AlignedMTL
from keras_mtl.training.balancing.cagrad import CAGrad
from keras_mtl.training.balancing.db_mtl import DBMTL
from keras_mtl.training.balancing.dynamic_weight_average import DynamicWeightAverage
from keras_mtl.training.balancing.fairgrad import FairGrad
from keras_mtl.training.balancing.famo import FAMO
from keras_mtl.training.balancing.geometric_mean import GeometricMean
from keras_mtl.training.balancing.graddrop import GradDrop
from keras_mtl.training.balancing.gradient_weighting import GradientWeighting
from keras_mtl.training.balancing.gradnorm import GradNorm
from keras_mtl.training.balancing.gradvac import GradVac
from keras_mtl.training.balancing.impartial_losses import ImpartialLosses
from keras_mtl.training.balancing.imtl_g import IMTLG
from keras_mtl.training.balancing.log_losses import LogLosses
from keras_mtl.training.balancing.loss_weighting import LossWeighting
from keras_mtl.training.balancing.mgda import MGDA
from keras_mtl.training.balancing.moco import MoCo
from keras_mtl.training.balancing.nash_mtl import NashMTL
from keras_mtl.training.balancing.pcgrad import PCGrad
from keras_mtl.training.balancing.random_loss_weighting import RandomLossWeighting
from keras_mtl.training.balancing.rule import BalancingRule
from keras_mtl.training.balancing.sdmgrad import SDMGrad
from keras_mtl.training.balancing.smooth_tchebycheff import SmoothTchebycheff
from keras_mtl.training.balancing.tracked_gradients import TrackedGradients
from keras_mtl.training.balancing.uncertainty_weighting import UncertaintyWeighting
from keras_mtl.training.balancing.upgrad import UPGrad

LossBalancing = LossWeighting  # as it was called

# The papers' rules: those that weigh losses, and those that weigh gradients.
RULES: tuple[type[BalancingRule], ...] = (
    UncertaintyWeighting,
    DynamicWeightAverage,
    ImpartialLosses,
    LogLosses,
    GeometricMean,
    FAMO,
    SmoothTchebycheff,
    RandomLossWeighting,
    PCGrad,
    GradVac,
    GradDrop,
    MGDA,
    SDMGrad,
    MoCo,
    CAGrad,
    UPGrad,
    NashMTL,
    FairGrad,
    IMTLG,
    AlignedMTL,
    GradNorm,
    DBMTL,
)

__all__ = [
    "AlignedMTL",
    "BalancingRule",
    "CAGrad",
    "DBMTL",
    "DynamicWeightAverage",
    "FAMO",
    "FairGrad",
    "GeometricMean",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientWeighting",
    "IMTLG",
    "ImpartialLosses",
    "LogLosses",
    "LossBalancing",
    "LossWeighting",
    "MGDA",
    "MoCo",
    "NashMTL",
    "PCGrad",
    "RULES",
    "RandomLossWeighting",
    "SDMGrad",
    "SmoothTchebycheff",
    "TrackedGradients",
    "UPGrad",
    "UncertaintyWeighting",
]
