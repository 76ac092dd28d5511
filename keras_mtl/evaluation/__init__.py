"""Scores over whole datasets by the published procedures, on any machine (extra `evaluation`)."""

from typing import Any

# Loaded at first use, so that `python -m keras_mtl.evaluation.boundary` does not find its module
# imported already, of which Python would warn.
_PLACES = {
    "FAST_THRESHOLDS": "boundary_image",
    "THRESHOLDS": "boundary_image",
    "BoundaryScores": "boundary_scores",
    "Evaluation": "evaluation",
    "evaluate": "evaluation",
    "comparison": "compare",
    "delta_m": "single_task",
    "evaluate_folder": "boundary",
    "evaluate_image": "boundary_image",
    "published_rows": "published",
    "published_single_task": "single_task",
    "single_task_scores": "single_task",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
