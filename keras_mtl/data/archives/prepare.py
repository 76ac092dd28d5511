"""Prepares a dataset from an archive: verified, converted once, stored for TensorFlow Datasets.

    python -m keras_mtl.data.prepare datasets/nyud_v2 --manual_dir DIR

DIR holds the archive's folder or its .tar.gz. This is `tfds build` without what that command needs
besides (apache-beam, mlcroissant): the same builder, the same result. A run that fails or is killed
leaves nothing that a later run would take for whole; start it again.
"""

import argparse
import contextlib
import importlib
import shutil
import sys
import time
from pathlib import Path

from keras_mtl import files


def prepare(folder, manual_dir, data_dir=None, overwrite: bool = False) -> Path:
    """Runs a builder.

    Args:
        folder: the builder's folder, such as `datasets/nyud_v2`.
        manual_dir: folder that holds the archive.
        data_dir: where to store the dataset; `None` means TensorFlow Datasets' own folder.
        overwrite: bool. Prepare again what is already there; it stays until the new one is whole.

    Returns:
        The folder of the prepared version, for `keras_mtl.data.load`.

    Raises:
        ValueError: if there is no builder, no archive, or a broken one.
        OSError: if the disk is full, for instance.
        In both cases nothing is left half-written, and what was there before is there again.
    """
    import tensorflow_datasets as tfds

    folder = Path(folder).resolve()
    module = f"{folder.name}.{folder.name}_dataset_builder"
    if not (folder / f"{folder.name}_dataset_builder.py").is_file():
        raise ValueError(
            f"{folder} has no {folder.name}_dataset_builder.py; name a folder of datasets/, such "
            "as datasets/nyud_v2."
        )
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    if not Path(manual_dir).is_dir():
        raise ValueError(
            f"There is no folder {manual_dir}; name the one that holds the archive (--manual_dir)."
        )
    if not any(Path(manual_dir).iterdir()):
        raise ValueError(
            f"{manual_dir} is empty; name the folder that holds the archive (--manual_dir)."
        )
    data_dir = data_dir and Path(data_dir).expanduser().resolve()
    builder = importlib.import_module(module).Builder(data_dir=data_dir)
    prepared = Path(builder.data_dir)
    # What a killed run has left has a name of its own, and is never read.
    for leftover in prepared.parent.glob(f"incomplete.*_{prepared.name}"):
        shutil.rmtree(leftover, ignore_errors=True)
    files.put_back(prepared)  # the run that should have replaced it was killed
    aside = files.set_aside(prepared) if overwrite else contextlib.nullcontext()
    with files.in_words(prepared), aside:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=Path(manual_dir).resolve())
        )
    return prepared


def main(arguments: list[str] | None = None) -> None:
    """The command line; `python -m keras_mtl.data.prepare --help` explains it."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="BUILDER", help="such as datasets/nyud_v2")
    parser.add_argument("--manual_dir", required=True, metavar="DIR", help="holds the archive")
    parser.add_argument("--data_dir", metavar="DIR", help="default: ~/tensorflow_datasets")
    parser.add_argument("--overwrite", action="store_true", help="prepare it again")
    options = parser.parse_args(arguments)
    start = time.time()
    try:
        prepared = prepare(options.folder, options.manual_dir, options.data_dir, options.overwrite)
    except ValueError as error:
        sys.exit(f"Not prepared: {error}")
    except OSError as error:
        sys.exit(
            f"Not prepared, and nothing is left half-written: {error.strerror or error}; make room "
            "where the dataset goes (--data_dir) or name another folder, and start again."
        )
    if (prepared / "dataset_info.json").stat().st_mtime < start:
        print(f"{prepared} is prepared already and was left as it is; --overwrite does it again.")
    else:
        print(f"Prepared {prepared}")


if __name__ == "__main__":
    main()
