"""What the TFDS builders of the archives share."""

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from keras_mtl.boxes3d.labels import no_boxes
from keras_mtl.data.archives.cityscapes_3d import MOST_BOXES
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.layout import Layout
from keras_mtl.data.archives.store import Store
from keras_mtl.data.archives.verify import verify
from keras_mtl.data.stored_images import to_store


class Stored(NamedTuple):
    """How labels of a kind are stored.

    Args:
        feature: what TensorFlow Datasets stores them as.
        no_label: the stored value that means "no label here"; where the label is no map, all of
            such a label.
    """

    feature: tfds.features.FeatureConnector
    no_label: Any


IMAGE = tfds.features.Image(shape=(None, None, 3), doc="RGB, as in the archive")
IMAGE_ID = tfds.features.Text(doc="the image's name in the archive")
CLASSES = Stored(tfds.features.Image(shape=(None, None, 1), doc="class ids, 255 = no label"), 255)
BINARY = Stored(tfds.features.Image(shape=(None, None, 1), doc="0 or 1, 255 = no label"), 255)
DEPTH = Stored(
    tfds.features.Tensor(
        shape=(None, None, 1), dtype=np.float32, encoding="zlib", doc="metres, 0 = no label"
    ),
    0,
)
DISPARITY = Stored(
    tfds.features.Tensor(
        shape=(None, None, 1), dtype=np.float32, encoding="zlib", doc="pixels, -1 = no label"
    ),
    -1,
)
BOXES = Stored(
    tfds.features.FeaturesDict(
        {
            name: tfds.features.Tensor(shape=values.shape, dtype=values.dtype)
            for name, values in no_boxes(MOST_BOXES).items()
        },
        doc="boxes in space, see keras_mtl.tasks.Detection3D",
    ),
    no_boxes(MOST_BOXES),
)
LABEL_MAP = Stored(
    tfds.features.Image(
        shape=(None, None, 1), dtype=np.uint16, doc="one number for each kind of region, 0 = none"
    ),
    0,
)
NORMALS = Stored(
    tfds.features.Image(
        shape=(None, None, 3), doc="n = 2 v / 255 - 1 in the camera frame, (0, 0, 0) = no label"
    ),
    0,
)

# Below this many images, starting processes takes longer than reading.
MANY = 200


class ArchiveBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Converts an archive once: a subclass names its module and how its labels are stored.

    The archive, a folder or a `.tar.gz`, is verified as a whole before anything is written. A
    task whose whole folder is missing has no label in any image, and is listed under `"lacking"`
    in the dataset's metadata.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    archive: Any = None  # `keras_mtl.data.archives.nyud_v2`, for instance
    labels: Mapping[str, Stored]  # in the order in which they are stored
    homepage: str

    def _info(self) -> tfds.core.DatasetInfo:
        labels = {name: stored.feature for name, stored in self.labels.items()}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": IMAGE, **labels, "id": IMAGE_ID}),
            homepage=self.homepage,
            metadata=tfds.core.MetadataDict(),
        )

    def _keeps(self, split: str, found: dict) -> bool:
        """Whether an image, as it was read, is stored."""
        return True

    def _split_generators(self, download_manager: tfds.download.DownloadManager) -> dict:
        layout = self.archive.LAYOUT
        path = find_archive(Path(download_manager.manual_dir), layout)
        report = verify(path, self.name)
        if report.faults:
            shown = "\n".join(fault.problem for fault in report.faults[:20])
            more = len(report.faults) - 20
            raise ArchiveError(
                f"{path} has {len(report.faults)} faults, so nothing was written:\n{shown}"
                + (f"\n... and {more} more" if more > 0 else "")
            )
        if path.is_file():
            # Whatever folder the tarball has them in.
            extracted = Path(download_manager.extract(path))
            (split_file, *_) = (layout.split_file.format(split) for split in layout.splits)
            path = next(extracted.rglob(split_file)).parents[split_file.count("/")]
        self.info.metadata["lacking"] = self.archive.lacking(path)
        return {split: self._generate_examples(path, split) for split in layout.splits}

    def _generate_examples(self, root: Path, split: str) -> Iterator[tuple[str, dict]]:
        ids = self.archive.image_ids(root, split)
        read = partial(self.archive.read, root)
        if len(ids) < MANY:
            labelled = map(read, ids)
        else:
            # Processes of their own: TensorFlow's threads do not survive a fork.
            pool = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"))
            labelled = pool.map(read, ids, chunksize=8)
        store = self.archive.LAYOUT.open(root)
        for image_id, found in zip(ids, labelled, strict=True):
            if self._keeps(split, found):
                yield image_id, self._example(store, image_id, found)

    def _example(self, store: Store, image_id: str, found: dict) -> dict:
        (image,) = self.archive.LAYOUT.files["image"]
        file = image.format(image_id)
        # The image's own file, not decoded and encoded again, unless training would misread it.
        stored, size = to_store(store.read(file), store.name(file))
        if size != found["image"].shape[:2]:
            raise ArchiveError(
                f"{file} is turned by its EXIF orientation, which its labels are "
                "not; get an intact copy of it."
            )
        example = {"image": stored, "id": image_id}
        for name, (feature, no_label) in self.labels.items():
            if len(feature.shape or ()) != 3:  # no map
                example[name] = found.get(name, no_label)
                continue
            shape = (*size, feature.shape[-1])
            label = found[name].reshape(shape) if name in found else np.full(shape, no_label)
            example[name] = label.astype(feature.np_dtype)
        return example


def find_archive(folder: Path, layout: Layout) -> Path:
    """The archive's folder or tarball: the given folder itself, or in it.

    Args:
        folder: what the user named.
        layout: of the archive, which has its name.

    Raises:
        ArchiveError: if there is none.
    """
    name = layout.name
    names = [name, f"{name}.tar.gz", f"{name}.tar"] if layout.listed else [name]
    candidates = [folder / each for each in names]
    if folder.name in names:
        candidates.insert(0, folder)
    for path in candidates:
        if path.exists():
            return path
    if not layout.listed and any(map(layout.open(folder).has_files, layout.tops)):
        return folder
    tarball = f" nor {name}.tar.gz" if layout.listed else f" nor {layout.tops[0]} or its zip"
    raise ArchiveError(
        f"{folder} holds neither a folder {name}{tarball}; name the folder that does."
    )
