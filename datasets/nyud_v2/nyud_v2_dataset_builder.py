"""NYUD-v2: segmentation, depth, surface normals and boundaries."""

import tensorflow_datasets as tfds

from keras_mtl.data.archives import nyud_v2
from keras_mtl.data.archives.builder import (
    BINARY,
    CLASSES,
    DEPTH,
    IMAGE,
    IMAGE_ID,
    NORMALS,
    ArchiveBuilder,
)


class Builder(ArchiveBuilder):
    """From the archive `NYUDv2` that the field shares."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Give the folder that holds NYUDv2/ or NYUDv2.tar.gz (its layout: keras_mtl/data/nyud_v2.py).
    """
    archive = nyud_v2

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": IMAGE,
                    "semseg": CLASSES,
                    "depth": DEPTH,
                    "normals": NORMALS,
                    "edge": BINARY,
                    "id": IMAGE_ID,
                }
            ),
            homepage="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
            metadata=tfds.core.MetadataDict(),
        )
