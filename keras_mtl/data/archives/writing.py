"""Writes an archive of generated scenes, the whole folder or nothing."""

from collections.abc import Callable
from pathlib import Path

from keras_mtl.arguments import check_integer
from keras_mtl.data.archives.layout import Layout
from keras_mtl.files import make_folder, whole_folder


def write_archive(
    layout: Layout,
    image_id: Callable[[str, int], str],
    write_image: Callable[[int, Callable[[str], Path]], None],
    directory: str | Path,
    train: int,
    val: int,
    progress: bool,
) -> Path:
    """Writes images of an archive and the lists of its splits.

    Args:
        layout: of the archive.
        image_id: the id of an image, from its split and its number.
        write_image: writes the files of an image, from its number and a function that says where a
            file of `layout.files` goes.
        directory: folder to create; it takes that name only when everything is written.
        train: number of training images, which are numbered first.
        val: number of validation images.
        progress: whether to show a progress bar.

    Returns:
        The folder.

    Raises:
        FileExistsError: if the folder exists.
        ValueError: if a number is not positive.
    """
    directory = Path(directory).absolute()
    if directory.exists():
        raise FileExistsError(
            f"{directory} exists, expected a folder to create; remove it or choose another name."
        )
    splits = {"train": train, "val": val}
    for split, count in splits.items():
        check_integer(split, count, 1)
    make_folder(directory.parent)
    with whole_folder(directory) as root:
        for part in layout.files:
            for name in layout.folders(part):
                (root / name).mkdir(parents=True, exist_ok=True)
        of = [split for split, count in splits.items() for _ in range(count)]
        ids = [image_id(split, number) for number, split in enumerate(of)]
        for number in _shown(range(len(ids)), directory.name, progress):

            def place(file: str, own: str = ids[number]) -> Path:
                path = root / file.format(own)
                path.parent.mkdir(parents=True, exist_ok=True)
                return path

            write_image(number, place)
        for split in splits if layout.listed else ():
            path = root / layout.split_file.format(split)
            path.parent.mkdir(parents=True, exist_ok=True)
            mine = [each for each, own in zip(ids, of, strict=True) if own == split]
            path.write_text("".join(f"{each}\n" for each in mine))
    return directory


def _shown(numbers, name, progress):
    if not progress:
        return numbers
    from tqdm import tqdm

    return tqdm(numbers, desc=f"writing {name}", unit="image")
