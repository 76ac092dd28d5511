"""Pictures: of predictions beside labels, of what networks attend to, of scores and of training."""

from keras_mtl.visualize.affinity import affinity, affinity_maps
from keras_mtl.visualize.attention import cross_attention, cross_attention_maps
from keras_mtl.visualize.balancing import balancing_curves
from keras_mtl.visualize.curves import precision_recall, training_curves
from keras_mtl.visualize.panels import as_array, panel

__all__ = [
    "affinity",
    "affinity_maps",
    "as_array",
    "balancing_curves",
    "cross_attention",
    "cross_attention_maps",
    "panel",
    "precision_recall",
    "training_curves",
]
