"""Search for hyperparameters with KerasTuner (extra `tuning`).

search = keras_mtl.tuning.TaskPrompterSearch(make_backbone, tasks, single=single_task_scores)
tuner = keras_tuner.Hyperband(search, search.objective, directory="runs", project_name="search")
tuner.search(training, validation_data=validation, steps_per_epoch=200)
print(keras_mtl.tuning.results(tuner))
"""

from typing import Any

# Loaded at first use: the command explains itself, and what is missing, without KerasTuner.
__all__ = ["DeltaM", "Search", "TPANetSearch", "TaskPrompterSearch", "results"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_mtl.tuning import search

    return getattr(search, name)
