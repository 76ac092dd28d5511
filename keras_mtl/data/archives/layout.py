"""The layout of an archive's folders, described once, and reading by it.

Each image has several files, its *parts*; a task's label is made of one part or more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_mtl.data.archives.decoding import (
    ArchiveError,
    check_ids,
    check_size,
    missing,
    parse_ids,
)
from keras_mtl.data.archives.store import Store


@dataclass(frozen=True)
class Layout:
    """Where an archive keeps what.

    Args:
        name: the archive's own name for its folder.
        splits: images in each split of the public copy.
        split_file: the list of a split's image ids; `{}` stands for the split. Or, with `listed`
            False, the folder that holds a split's images, however deep: an image id is then what
            stands for `{}` in `files`, such as "train/aachen/aachen_000000_000019".
        files: for each part the file that holds it, or several of which the first one that exists
            counts; `{}` stands for the image id.
        needs: for each task the parts that its label is made of.
        image_size: (height, width) of every image in the public copy; None if sizes differ.
        listed: whether lists say which images a split has. Without, those that any folder has a
            file of, and the archive may lie in the zips that it is published in.
    """

    name: str
    splits: dict[str, int]
    split_file: str
    files: dict[str, tuple[str, ...]]
    needs: dict[str, tuple[str, ...]]
    image_size: tuple[int, int] | None
    listed: bool = True

    def folders(self, part: str) -> list[str]:
        """Folders that hold a part."""
        return [file.rpartition("/")[0] for file in self.files[part]]

    @property
    def patterns(self) -> list[str]:
        """The names of all files, `{}` for what differs."""
        return [self.split_file, *(p for patterns in self.files.values() for p in patterns)]

    @property
    def tops(self) -> list[str]:
        """The folders that lie directly in the archive's folder."""
        return list(dict.fromkeys(pattern.partition("/")[0] for pattern in self.patterns))

    def open(self, root: str | Path) -> Store:
        """The files of a copy in a folder."""
        return Store(root, () if self.listed else self.tops)

    def found_ids(self, store: Store, split: str) -> list[str]:
        """The image ids of a split without a list: of every file that any part has in it."""
        found = set()
        for pattern in self.patterns[1:]:
            before, after = pattern.split("{}")
            for file in store.below(f"{before}{split}"):
                if file.endswith(after):
                    found.add(file[len(before) : len(file) - len(after)])
        return sorted(found)

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


def image_ids(layout: Layout, root: Path, split: str) -> list[str]:
    """Image ids of a split, in the order of its list; without a list sorted.

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
    store, file = layout.open(root), layout.split_file.format(split)
    if not layout.listed:
        ids = layout.found_ids(store, split)
        if not ids:
            raise ArchiveError(missing(store.name(file), f"the images of split {split}"))
        return ids
    if not store.has(file):
        raise ArchiveError(missing(store.name(file), f"the list of the images in split {split}"))
    ids = parse_ids(store.read(file), store.name(file))
    check_ids(ids, store.name(file))
    return ids


def lacking(layout: Layout, root: Path) -> list[str]:
    """Tasks whose whole folder is absent or empty: the archive is a partial copy."""
    return list(layout.lacking(layout.open(root).has_files))


def pixel_size(decoded: Any) -> tuple[int, int] | None:
    """The (height, width) of what a file holds; None of what has no pixels."""
    shape = getattr(decoded, "shape", ())
    return tuple(shape[:2]) if len(shape) > 1 else None


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
    store = layout.open(root)
    candidates = {
        part: [file.format(image_id) for file in files] for part, files in layout.files.items()
    }
    there = {part: next((f for f in c if store.has(f)), None) for part, c in candidates.items()}
    # To list a folder of 10,000 files for each image would take longer than to read the image.
    seen = {file.rpartition("/")[0] for file in there.values() if file}
    lacking = layout.lacking(lambda folder: folder in seen or store.has_files(folder))
    decoded: dict[str, Any] = {}
    for part in layout.parts_of(task for task in layout.needs if task not in lacking):
        file = there[part]
        if file is None:
            names = " or ".join(map(store.name, candidates[part]))
            raise ArchiveError(missing(names, f"the {part} of image {image_id}"))
        name = store.name(file)
        decoded[part] = decode(part, store.read(file, name), name)
        if part == "image":
            image_size, image_name = decoded[part].shape[:2], name
        elif size := pixel_size(decoded[part]):
            check_size(size, name, image_size, image_name)
    return decoded
