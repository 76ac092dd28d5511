"""Checks a whole archive in one pass and names every fault.

    python -m keras_mtl.data.verify nyud_v2 NYUDv2.tar.gz

A tarball is streamed and zips are read where they lie; neither is extracted. Faults are what would
stop a dataset from being prepared: files that are missing, broken, of the wrong size or with wrong
values. Notes are what one should know about this copy: tasks that it lacks as a whole, and numbers
or sizes unlike the public copy's.
"""

import argparse
import gzip
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from keras_mtl import declared
from keras_mtl.data.archives import cityscapes_3d, decoding, nyud_v2, pascal_context
from keras_mtl.data.archives.decoding import ArchiveError
from keras_mtl.data.archives.layout import Layout, pixel_size

DATASETS = {
    "nyud_v2": nyud_v2,
    "pascal_context": pascal_context,
    "cityscapes_3d": cityscapes_3d,
}
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file.

    Args:
        file: its name, relative to the archive's folder.
        problem: one sentence that names the file: what was found, what was expected, what to do.
    """

    file: str
    problem: str


@dataclass
class Split:
    """Images of one split.

    Args:
        listed: how many its list names.
        sound: how many of them are whole: every file there and without fault.
        public: how many the public copy has.
        sizes: number of readable images of each size, "height x width".
    """

    listed: int
    sound: int
    public: int
    sizes: dict[str, int]


@dataclass
class Report:
    """What `verify` found.

    Args:
        dataset: "nyud_v2", "pascal_context" or "cityscapes_3d".
        path: the folder or tarball.
        splits: by name.
        tasks: the tasks that can be prepared.
        notes: sentences on what is unlike the public copy, no fault.
        faults: all that were found, split by split.
    """

    dataset: str
    path: str
    splits: dict[str, Split] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def as_dict(self) -> dict:
        """The report in plain types, for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        lines = [self.path, f"{'split':10}{'images':>10}{'sound':>10}{'public copy':>14}"]
        for name, split in self.splits.items():
            lines.append(f"{name:10}{split.listed:10}{split.sound:10}{split.public:14}")
        lines.append(f"tasks: {', '.join(self.tasks) or 'none'}")
        for title, sentences in (
            ("Notes", self.notes),
            (f"Faults ({len(self.faults)})", [fault.problem for fault in self.faults]),
        ):
            if sentences:
                lines += ["", title, *(f"- {sentence}" for sentence in sentences)]
        return "\n".join(
            [*lines, "", "There are faults." if self.faults else "The archive is sound."]
        )


@dataclass
class _Contents:
    """What one pass over an archive has seen, by file names relative to the archive's folder."""

    lists: dict[str, list[str]] = field(default_factory=dict)  # image ids by split
    sizes: dict[str, tuple | None] = field(default_factory=dict)  # None: a label without pixels
    problems: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)  # those with files
    cut: str | None = None  # why the pass ended early

    def note(self, decode: Callable, part: str, file: str, read: Callable[[str], bytes]) -> None:
        """Decodes one file and keeps what matters: its size, or what is wrong with it."""
        # A tarball may hold a file twice; extracted, the last one counts.
        self.sizes.pop(file, None)
        self.problems.pop(file, None)
        try:
            decoded = decode(part, read(file), file)
            self.sizes[file] = pixel_size(decoded)
        except ArchiveError as error:
            self.problems[file] = str(error)

    def note_list(self, split: str, file: str, read: Callable[[str], bytes]) -> None:
        """Keeps the image ids of a split."""
        self.problems.pop(file, None)
        try:
            self.lists[split] = decoding.parse_ids(read(file), file)
            decoding.check_ids(self.lists[split], file)
        except ArchiveError as error:
            self.problems[file] = str(error)


def verify(
    path, dataset: str, progress: bool = True, splits: Iterable[str] | None = None
) -> Report:
    """Checks a whole archive in one pass.

    Args:
        path: the archive's folder, or its tarball (`.tar.gz`, `.tar`); of Cityscapes the folder
            that holds its folders or its zips.
        dataset: "nyud_v2", "pascal_context" or "cityscapes_3d".
        progress: whether to show a progress bar.
        splits: the splits to check, all unless given.

    Returns:
        The report.

    Raises:
        ArchiveError: if there is no archive of this kind at `path`.
        ValueError: if the dataset or a split is unknown.

    Example:

    >>> from keras_mtl.data.archives.rooms import write_nyud_v2
    >>> root = write_nyud_v2("NYUDv2", train=2, val=1, image_size=(24, 32))
    >>> (root / "edge" / "0002.png").unlink()
    >>> report = verify(root, "nyud_v2", progress=False)
    >>> report.ok, report.splits["train"].listed, report.splits["train"].sound
    (False, 2, 1)
    >>> [fault.file for fault in report.faults]
    ['edge/0002.png']
    """
    if dataset not in DATASETS:
        raise ValueError(f"Unknown dataset {dataset!r}; use {' or '.join(DATASETS)}.")
    module = DATASETS[dataset]
    layout = module.LAYOUT
    splits = list(layout.splits) if splits is None else list(splits)
    for split in splits:
        if split not in layout.splits:
            known = " or ".join(layout.splits)
            raise ValueError(f"{layout.name} has no split {split!r}; use {known}.")
    path = Path(path)
    if path.is_dir():
        found = _folder(layout, module.decode, path, splits, progress)
    elif path.is_file() and layout.listed:
        found = _tarball(layout, module.decode, path, splits, progress)
    else:
        raise ArchiveError(
            f"{path} {'is no folder' if path.exists() else 'does not exist'}, expected "
            f"{_expected(layout)}; check the path."
        )
    if not found.folders and not found.cut:
        raise ArchiveError(
            f"{path} has none of the folders of {layout.name}, expected "
            f"{', '.join(layout.tops)}; give the folder or the "
            f"{'tarball' if layout.listed else 'zips'} that holds these."
        )
    return _judged(layout, found, Report(dataset, str(path)), splits)


# === The pass ===


def _expected(layout: Layout) -> str:
    """What a copy of an archive looks like from outside."""
    if layout.listed:
        return f"the folder {layout.name} or {layout.name}.tar.gz"
    return f"the folder {layout.name}, with the archive's folders or zips in it"


def _folder(layout: Layout, decode, root: Path, splits: list[str], progress: bool) -> _Contents:
    store = layout.open(root)

    def read(file: str) -> bytes:
        return store.read(file, file)

    found = _Contents()
    folders = {pattern.rpartition("/")[0] for pattern in layout.patterns}
    found.folders = {folder for folder in folders if store.has_files(folder)}
    for split in splits:
        file = layout.split_file.format(split)
        if layout.listed and store.has(file):
            found.note_list(split, file, read)
        elif not layout.listed and (ids := layout.found_ids(store, split)):
            found.lists[split] = ids
    lacking = layout.lacking(found.folders.__contains__)
    parts = layout.parts_of(task for task in layout.needs if task not in lacking)
    ids = dict.fromkeys(image_id for split in splits for image_id in found.lists.get(split, ()))
    for image_id in tqdm(ids, desc=root.name, unit="image", disable=not progress):
        for part in parts:
            candidates = (pattern.format(image_id) for pattern in layout.files[part])
            file = next((file for file in candidates if store.has(file)), None)
            if file is not None:
                found.note(decode, part, file, read)
    return found


def _tarball(layout: Layout, decode, path: Path, splits: list[str], progress: bool) -> _Contents:
    found = _Contents()
    lists = {layout.split_file.format(split): split for split in splits}
    part_of = {
        (str(PurePosixPath(pattern).parent), PurePosixPath(pattern).suffix): part
        for part, patterns in layout.files.items()
        for pattern in patterns
    }
    bar = tqdm(
        total=path.stat().st_size, desc=path.name, unit="B", unit_scale=True, disable=not progress
    )
    try:
        with bar, open(path, "rb") as raw:
            compressed = raw.read(2) == _GZIP
            raw.seek(0)
            # tarfile takes a file that ends between two members for a whole one; gzip does not.
            with gzip.open(raw) if compressed else raw as stream:
                for file, read in _members(stream, path, layout.tops):
                    bar.update(raw.tell() - bar.n)
                    place = PurePosixPath(file)
                    if place.name.startswith("."):  # hidden, or what macOS adds to tarballs
                        continue
                    found.folders.add(str(place.parent))
                    part = part_of.get((str(place.parent), place.suffix))
                    if file in lists:
                        found.note_list(lists[file], file, read)
                    elif part:
                        found.note(decode, part, file, read)
                while stream.read(1 << 20):  # up to the checksum at the end
                    pass
                bar.update(raw.tell() - bar.n)
    except declared.Refused as error:
        raise ArchiveError(str(error)) from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        found.cut = str(error) or type(error).__name__
    return found


def _members(stream, path: Path, tops: list[str]) -> Iterator[tuple[str, Callable[[str], bytes]]]:
    """The files of a tarball, each with a function that reads it.

    Names are relative to the archive's folder, with which a tarball may begin or not.
    """
    for archive, member in declared.members(stream, path):
        names = PurePosixPath(member.name).parts
        first = next((k for k, name in enumerate(names) if name in tops), None)
        if first is not None and member.isfile():
            yield "/".join(names[first:]), lambda _, a=archive, m=member: a.extractfile(m).read()


# === The judgement ===


def _judged(layout: Layout, found: _Contents, report: Report, splits: list[str]) -> Report:
    """Compares what a pass has seen with what the splits' lists ask for."""
    faults: dict[str, str] = {}
    if found.cut:
        name = Path(report.path).name
        faults[name] = (
            f"{name} ends early or is damaged ({found.cut}), expected a whole .tar.gz; copy or "
            "download it again."
        )
    lacking = layout.lacking(found.folders.__contains__)
    report.tasks = [task for task in layout.needs if task not in lacking]
    for task, folders in lacking.items():
        names = " and ".join(dict.fromkeys(folders))
        report.notes.append(
            f"Task {task} could not be checked: the tarball ended before {names}."
            if found.cut
            else f"Task {task} cannot be prepared: this copy lacks {names}."
        )
    parts = layout.parts_of(report.tasks)
    for split in splits:
        list_file = layout.split_file.format(split)
        if list_file in found.problems:
            faults[list_file] = found.problems[list_file]
        elif split not in found.lists:
            what = "the list of the images in" if layout.listed else "the images of"
            faults[list_file] = decoding.missing(list_file, f"{what} split {split}")
        ids = list(dict.fromkeys(found.lists.get(split, ())))
        sizes, sound = Counter(), 0
        for image_id in ids:
            wrong = _wrong_files(layout, found, parts, image_id)
            faults.update(wrong)
            sound += not wrong
            size = found.sizes.get(layout.files["image"][0].format(image_id))
            if size:
                sizes[f"{size[0]}x{size[1]}"] += 1
        public = layout.splits[split]
        report.splits[split] = Split(len(ids), sound, public, dict(sorted(sizes.items())))
        if ids and len(ids) != public:
            held = f"{list_file} {'lists' if layout.listed else 'has'} {len(ids)} images"
            report.notes.append(f"{held}, the public copy's {public}.")
        if layout.image_size:
            usual = "x".join(map(str, layout.image_size))
            other = [
                f"{count} are {size}" for size, count in sorted(sizes.items()) if size != usual
            ]
            if other:
                report.notes.append(
                    f"Of the images in split {split} {', '.join(other)} pixels (height x width), "
                    f"in the public copy all are {usual}."
                )
    report.faults = [Fault(file, problem) for file, problem in faults.items()]
    return report


def _wrong_files(layout: Layout, found: _Contents, parts: list[str], image_id: str) -> dict:
    """What is wrong with the files of one image, by file."""
    wrong = {}
    image_file = layout.files["image"][0].format(image_id)
    for part in parts:
        candidates = [file.format(image_id) for file in layout.files[part]]
        file = next((f for f in candidates if f in found.sizes or f in found.problems), None)
        if file is None:
            names = " or ".join(candidates)
            wrong[names] = decoding.missing(names, f"the {part} of image {image_id}")
        elif file in found.problems:
            wrong[file] = found.problems[file]
        elif (size := found.sizes[file]) and (image_size := found.sizes.get(image_file)):
            try:
                decoding.check_size(size, file, image_size, image_file)
            except ArchiveError as error:
                wrong[file] = str(error)
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """The command; its arguments are `sys.argv[1:]` unless given. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.data.verify",
        description="Checks a copy of the archive NYUDv2, PASCALContext or Cityscapes in one pass "
        "and names every file that is missing, broken, of another size than its image or with "
        "values out of range. A tarball is streamed, zips are read, and neither is extracted.",
        epilog="Notes, no faults: tasks whose whole folder is lacking, and numbers or sizes of "
        "images unlike the public copy's. Exit status: 0 if there is no fault, 1 if there are "
        "some, 2 if there is no such archive at PATH.",
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument(
        "path",
        metavar="PATH",
        help="the archive's folder, such as NYUDv2, or its .tar.gz; of Cityscapes the folder with "
        "its folders or zips",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val"),
        action="append",
        help="check this split only (may be repeated; default: all)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")
    given = parser.parse_args(arguments)
    try:
        report = verify(given.path, given.dataset, splits=given.split)
    except ArchiveError as error:
        parser.error(str(error))
    print(json.dumps(report.as_dict(), indent=2) if given.json else report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
