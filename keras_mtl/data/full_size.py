"""Examples one by one, each at its own size: what `keras_mtl.evaluate` takes."""

from collections.abc import Sequence
from pathlib import Path

from keras_mtl.arguments import checked_size
from keras_mtl.data.sources import GENERATED, generated, leave_gpu_to_keras, prepared
from keras_mtl.tasks import Task, check_tasks

# What a dataset may hold besides image and labels: the image's name, and the regions that
# boundaries are scored against.
BESIDES = ("id", "label_map")


def examples(
    dataset: str | Path,
    split: str,
    *,
    tasks: Sequence[Task],
    data_dir: str | Path | None = None,
    image_size: tuple[int, int] = (240, 320),
    count: int = 100,
):
    """Examples of a split in the order stored, whole and at their own size.

    Args:
        dataset: a prepared folder, the name of one below `data_dir`, `"rooms"` or `"streets"`;
            see `load`.
        split: for instance `"val"` or `"val[:20]"`.
        tasks: list of tasks; each one's name is a feature of the dataset.
        data_dir: folder of prepared datasets; default: where TensorFlow Datasets keeps its own.
        image_size: `(height, width)` of generated scenes.
        count: int. Generated scenes in a split.

    Returns:
        `tf.data.Dataset` of dicts: `"image"` uint8 `(H, W, 3)`, each task's label by its name,
        `(H, W)` or `(H, W, c)`, and, where the dataset has them, `"id"`, the image's name, and
        `"label_map"` `(H, W)`, one number for each kind of region (0: none).

    Raises:
        ValueError: if the dataset is not found, or lacks the split or a task.

    Example:

    >>> tasks = keras_mtl.tasks.nyud("depth")
    >>> scenes = keras_mtl.data.examples("rooms", "val", tasks=tasks, image_size=(24, 32), count=2)
    >>> [example["depth"].shape.as_list() for example in scenes]
    [[24, 32, 1], [24, 32, 1]]
    """
    tasks = check_tasks(tasks)
    leave_gpu_to_keras()
    import tensorflow as tf

    if str(dataset) in GENERATED:
        size = checked_size(image_size)
        source, _, _ = generated(str(dataset), split, tasks, 0, 1, size, count)
    else:
        source, _, _ = prepared(dataset, split, tasks, data_dir=data_dir, besides=BESIDES)

    def example(number, encoded):
        found = source.decode(encoded)
        besides = {name: found[name] for name in BESIDES if name in found}
        if "label_map" in besides:
            besides["label_map"] = besides["label_map"][..., 0]
        labels = {task.name: task.unpack(found[task.name]) for task in tasks}
        return {"image": found["image"], **labels, **besides}

    return source.records.map(example, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
