"""The layout of an archive's folders, described once, and reading by it.

Each image has several files, its *parts*; a task's label is made of one part or more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keras_mtl.data.archives.decoding import (
    ArchiveError,
    check_ids,
    check_size,
    contents,
    missing,
    parse_ids,
)


@dataclass(frozen=True)
class Layout:
    """Where an archive keeps what.

    Args:
        name: the archive's own name for its folder.
        splits: images in each split of the public copy.
        split_file: the list of a split's image ids; `{}` stands for the split.
        files: for each part the file that holds it, or several of which the first one that exists
            counts; `{}` stands for the image id.
        needs: for each task the parts that its label is made of.
        image_size: (height, width) of every image in the public copy; None if sizes differ.
    """

    name: str
    splits: dict[str, int]
    split_file: str
    files: dict[str, tuple[str, ...]]
    needs: dict[str, tuple[str, ...]]
    image_size: tuple[int, int] | None

    def folders(self, part: str) -> list[str]:
        """Folders that hold a part."""
        return [file.rpartition("/")[0] for file in self.files[part]]

    def lacking(self, has_files: Callable[[str], bool]) -> dict[str, list[str]]:
        """Tasks that an archive lacks as a whole, each with the folders without a file.

        Args:
            has_files: whether a folder, named relative to the archive, has files.

        Example:

        >>> from keras_mtl.data.archives.nyud_v2 import LAYOUT
        >>> LAYOUT.lacking(lambda folder: folder != "depth")
        {'depth': ['depth']}
        """
        empty = {part: not any(map(has_files, self.folders(part))) for part in self.files}
        absent = {
            task: [folder for part in parts if empty[part] for folder in self.folders(part)]
            for task, parts in self.needs.items()
        }
        return {task: folders for task, folders in absent.items() if folders}

    def parts_of(self, tasks) -> list[str]:
        """The image and the parts of some tasks, each once, in the order of `files`."""
        wanted = {"image"}.union(*(self.needs[task] for task in tasks))
        return [part for part in self.files if part in wanted]


def has_files(folder: Path) -> bool:
    """Whether a folder exists and is not empty (but for hidden files).

    Example:

    >>> has_files(Path("nowhere"))
    False
    """
    return folder.is_dir() and any(not file.name.startswith(".") for file in folder.iterdir())


def image_ids(layout: Layout, root: Path, split: str) -> list[str]:
    """Image ids of a split, in the order of its list.

    Args:
        layout: the archive's layout.
        root: the archive's folder.
        split: one of `layout.splits`.

    Raises:
        ArchiveError: if the list is missing or empty, or names an image twice.
        ValueError: if there is no such split.

    Example:

    >>> from keras_mtl.data.archives.nyud_v2 import LAYOUT
    >>> Path("gt_sets").mkdir()
    >>> _ = Path("gt_sets/val.txt").write_text("7\\n12\\n")
    >>> image_ids(LAYOUT, Path("."), "val")
    ['7', '12']
    """
    if split not in layout.splits:
        raise ValueError(
            f"{layout.name} has no split {split!r}, only {', '.join(layout.splits)}; use one."
        )
    path = Path(root) / layout.split_file.format(split)
    if not path.is_file():
        raise ArchiveError(missing(str(path), f"the list of the images in split {split}"))
    ids = parse_ids(contents(path, str(path)), str(path))
    check_ids(ids, str(path))
    return ids


def read_parts(layout: Layout, decode: Callable, root: Path, image_id: str) -> dict:
    """Decodes the files of one image, those of lacking tasks left out.

    Args:
        layout: the archive's layout.
        decode: the format's own `decode(part, data, file)`.
        root: the archive's folder.
        image_id: str.

    Returns:
        A dict from part to what `decode` made of it.

    Raises:
        ArchiveError: if a file is missing or wrong, or a label has not the image's size.
    """
    candidates = {
        part: [Path(root) / file.format(image_id) for file in files]
        for part, files in layout.files.items()
    }
    there = {part: next((p for p in c if p.is_file()), None) for part, c in candidates.items()}
    # To list a folder of 10,000 files for each image would take longer than to read the image.
    seen = {path.parent for path in there.values() if path}
    lacking = layout.lacking(
        lambda folder: Path(root) / folder in seen or has_files(Path(root) / folder)
    )
    decoded = {}
    for part in layout.parts_of(task for task in layout.needs if task not in lacking):
        path = there[part]
        if path is None:
            names = " or ".join(map(str, candidates[part]))
            raise ArchiveError(missing(names, f"the {part} of image {image_id}"))
        decoded[part] = decode(part, contents(path, str(path)), str(path))
        if part != "image" and decoded[part] is not None:
            size = decoded["image"].shape[:2]
            check_size(decoded[part].shape[:2], str(path), size, str(there["image"]))
    return decoded
