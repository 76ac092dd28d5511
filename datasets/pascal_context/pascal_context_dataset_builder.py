"""PASCAL-Context: segmentation, human parts, saliency, surface normals and boundaries."""

import tensorflow_datasets as tfds

from keras_mtl.data.archives import pascal_context
from keras_mtl.data.archives.builder import (
    BINARY,
    CLASSES,
    IMAGE,
    IMAGE_ID,
    LABEL_MAP,
    NORMALS,
    ArchiveBuilder,
)


class Builder(ArchiveBuilder):
    """From the archive `PASCALContext` that the field shares."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Give the folder that holds PASCALContext/ or PASCALContext.tar.gz (its layout:
    keras_mtl/data/pascal_context.py).
    """
    archive = pascal_context

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": IMAGE,
                    "semseg": CLASSES,
                    "human_parts": CLASSES,
                    "sal": BINARY,
                    "normals": NORMALS,
                    "edge": BINARY,
                    "label_map": LABEL_MAP,
                    "id": IMAGE_ID,
                }
            ),
            homepage="https://www.cs.stanford.edu/~roozbeh/pascal-context/",
            metadata=tfds.core.MetadataDict(),
        )
