"""NYUD-v2: segmentation, depth, surface normals and boundaries."""

from keras_mtl.data.archives import nyud_v2
from keras_mtl.data.archives.builder import BINARY, CLASSES, DEPTH, NORMALS, ArchiveBuilder


class Builder(ArchiveBuilder):
    """From the archive `NYUDv2` that the field shares."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Give the folder that holds NYUDv2/ or NYUDv2.tar.gz (its layout:
    keras_mtl/data/archives/nyud_v2.py).
    """
    archive = nyud_v2
    homepage = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
    labels = {"semseg": CLASSES, "depth": DEPTH, "normals": NORMALS, "edge": BINARY}
