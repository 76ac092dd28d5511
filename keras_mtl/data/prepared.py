"""Batches from a prepared dataset: a folder that TensorFlow Datasets wrote."""

from collections.abc import Sequence
from pathlib import Path

from keras_mtl.models.multi_task_model import IMAGE_MEAN
from keras_mtl.tasks import Task


def load(
    directory,
    split: str,
    tasks: Sequence[Task],
    image_size: tuple[int, int],
    batch_size: int = 4,
    training: bool = False,
    seed: int = 0,
):
    """Reads `image` and one feature for each task; no builder code is needed.

    Images and labels are padded around or cropped at the centre to `image_size`, images with
    the mean colour and labels with their no-label value.

    Args:
        directory: folder with `dataset_info.json` (of one version of a prepared dataset).
        split: for instance `"train"` or `"val"`.
        tasks: list of tasks; each one's name is a feature of the dataset.
        image_size: `(height, width)` in pixels.
        batch_size: int.
        training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.

    Returns:
        `tf.data.Dataset` of `(images, labels)` with images `(B, H, W, 3)` float32 in 0..255.

    Raises:
        ValueError: if the folder is not a prepared dataset, or lacks the split or a task.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    if not (Path(directory) / "dataset_info.json").is_file():
        raise ValueError(
            f"{directory} is not a prepared dataset: it has no dataset_info.json; give the folder "
            "of one version, such as nyud_v2/1.0.0."
        )
    builder = tfds.builder_from_directory(str(directory))
    if split not in builder.info.splits:
        splits = ", ".join(builder.info.splits)
        raise ValueError(f"{directory} has no split {split!r}; it has {splits}.")
    missing = [name for name in ("image", *(t.name for t in tasks)) if name not in _names(builder)]
    if missing:
        raise ValueError(
            f"{directory} has no feature {', '.join(missing)}; it has {', '.join(_names(builder))}."
        )

    def to_size(x, fill):
        """Centre crop and centred padding of (h, w, c) to the image size."""
        x = tf.image.resize_with_crop_or_pad(x - fill, *image_size)
        return x + fill

    def example(features):
        image = to_size(tf.cast(features["image"], tf.float32), tf.constant(IMAGE_MEAN))
        labels = {}
        for task in tasks:
            label = tf.cast(features[task.name], task.label_dtype)
            if label.shape.rank == 2:
                label = label[..., None]
            label = to_size(label, tf.cast(task.ignore, label.dtype))
            labels[task.name] = tf.reshape(label, task.label_shape(*image_size))
        return image, labels

    # A dataset that was stored in order may be shuffled all the same.
    read = tfds.ReadConfig(shuffle_seed=seed, enable_ordering_guard=False)
    dataset = builder.as_dataset(split=split, shuffle_files=training, read_config=read)
    if training:
        dataset = dataset.shuffle(256, seed=seed).repeat()
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch_size, drop_remainder=training).prefetch(tf.data.AUTOTUNE)


def _names(builder) -> list[str]:
    return list(builder.info.features)
