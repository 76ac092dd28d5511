"""Scores over whole datasets by the published procedures, on any machine (extra `evaluation`)."""

from typing import Any

# Loaded at first use, so that `python -m keras_mtl.evaluation.boundary` does not find its module
# imported already, of which Python would warn.
_PLACES = {
    "FAST_THRESHOLDS": "keras_mtl.metrics.odsf.image",
    "THRESHOLDS": "keras_mtl.metrics.odsf.image",
    "BoundaryScores": "keras_mtl.metrics.odsf.scores",
    "DetectionScores": "keras_mtl.metrics.detection3d.scores",
    "Evaluation": "keras_mtl.evaluation.result",
    "boxes_from_prediction": "keras_mtl.metrics.detection3d.boxes",
    "evaluate": "keras_mtl.evaluation.evaluation",
    "comparison": "keras_mtl.evaluation.comparison_table",
    "delta_m": "keras_mtl.evaluation.single_task",
    "evaluate_folder": "keras_mtl.metrics.odsf.folder",
    "evaluate_image": "keras_mtl.metrics.odsf.image",
    "evaluate_boxes": "keras_mtl.metrics.detection3d.folder",
    "published_rows": "keras_mtl.evaluation.published",
    "published_single_task": "keras_mtl.evaluation.single_task",
    "single_task_scores": "keras_mtl.evaluation.single_task",
    "write_boxes": "keras_mtl.metrics.detection3d.files",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
