"""PASCAL-Context: segmentation, human parts, saliency, surface normals and boundaries."""

from keras_mtl.data.archives import pascal_context
from keras_mtl.data.archives.builder import (
    BINARY,
    CLASSES,
    LABEL_MAP,
    NORMALS,
    ArchiveBuilder,
)


class Builder(ArchiveBuilder):
    """From the archive `PASCALContext` that the field shares."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Give the folder that holds PASCALContext/ or PASCALContext.tar.gz (its layout:
    keras_mtl/data/archives/pascal_context.py).
    """
    archive = pascal_context
    homepage = "https://www.cs.stanford.edu/~roozbeh/pascal-context/"
    labels = {
        "semseg": CLASSES,
        "human_parts": CLASSES,
        "sal": BINARY,
        "normals": NORMALS,
        "edge": BINARY,
        "label_map": LABEL_MAP,
    }
