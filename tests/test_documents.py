"""What the README and the pages of docs/ show, runs; what they name, exists.

A block of Python runs by itself, in an empty folder. What it uses and does not make (`model`,
`tasks`, `batches`, ...) is made here, and its sizes are made small. A block after a comment
`<!-- not run: why -->` is compiled, and its calls are held against the signatures.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>.*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.S
)

once = pytest.mark.once("torch", "the text is the same for all; torch compiles least")


def blocks(*languages):
    for page, text in TEXTS.items():
        for found in BLOCK.finditer(text):
            if found["language"] in languages:
                line = text[: found.start("code")].count("\n") + 1
                yield pytest.param(page, found["code"], found["why"], id=f"{page}:{line}")


# === Python ===

SMALLER = {
    "448, 576": "64, 128",
    "240, 320": "48, 64",
    "220, 160": "40, 30",  # a pixel of the photograph
    'data_parallel("all")': "data_parallel(1)",  # PyTorch has no more
    '"base"': '"nano"',
    "count=200": "count=2",
    "count=100": "count=4",
    "batch_size=8": "batch_size=2",
    "decode_dim=256": "decode_dim=8",
    "dim=256": "dim=16",
    "epochs=5": "epochs=1",
    "epochs=10": "epochs=1",
    "epochs=40": "epochs=1",
    "epochs = 1000, 40": "epochs = 1, 1",
    "steps = 1000": "steps = 1",
    "steps_per_epoch=1000": "steps_per_epoch=1",
    "val[:100]": "val[:1]",
    '"prepared/my_rooms"': '"rooms"',  # a folder that the reader has
}
SIZE = (64, 128)


def smaller(code):
    for text, replacement in SMALLER.items():
        code = code.replace(text, replacement)
    return code


def test_what_is_made_smaller_is_there():
    code = "".join(block.values[1] for block in blocks("python"))
    for text in SMALLER:
        assert text in code
        code = code.replace(text, "")


class Given(dict):
    """The names of a block: those that it lacks are made at first use."""

    def __init__(self):
        super().__init__(keras=keras, keras_mtl=keras_mtl, np=np, __name__="document")

    def __missing__(self, name):
        if not hasattr(Given, f"make_{name}"):
            raise KeyError(name)
        self[name] = getattr(self, f"make_{name}")()
        return self[name]

    def make_tasks(self):
        return keras_mtl.tasks.nyud()

    def make_size(self):
        return SIZE

    def make_backbone(self):
        return keras_mtl.backbones.vision_transformer("nano", (*SIZE, 3), num_layers=4)

    def make_model(self):
        model = keras_mtl.TaskPrompter(
            self.make_backbone(), self.make_tasks(), channel_windows=(2, 2), decode_dim=8
        )
        model.compile("adam")
        return model

    def make_tpanet(self):
        tasks = keras_mtl.tasks.nyud("depth", "normals")
        backbone = keras_mtl.backbones.hrnet("18_small", (*SIZE, 3))
        return keras_mtl.TPANet(backbone, tasks, dim=8, head_width=8)

    def make_dataset(self):
        return keras_mtl.rooms.dataset(self.make_tasks(), 2, SIZE, batch_size=2)

    make_batches = make_validation = make_dataset

    def make_images(self):
        self["images"], self["labels"] = keras_mtl.rooms.arrays(self.make_tasks(), 2, SIZE)
        return self["images"]

    def make_labels(self):
        self.make_images()
        return self["labels"]

    def make_photograph(self):
        return keras_mtl.rooms.arrays(keras_mtl.tasks.nyud("depth"), 1, (60, 80))[0][0]


@pytest.fixture(scope="module")
def nyud_v2(tmp_path_factory):
    """NYUD-v2's archive with rooms for photographs, prepared."""
    from keras_mtl.data import prepare, room_archives

    archive, data = tmp_path_factory.mktemp("archive"), tmp_path_factory.mktemp("data")
    room_archives.write_nyud_v2(archive / "NYUDv2", train=4, val=2, image_size=SIZE)
    return prepare.prepare(ROOT / "datasets" / "nyud_v2", archive, data).parent


@pytest.fixture
def float32_afterwards():
    yield
    keras.config.set_dtype_policy("float32")


@once
@pytest.mark.parametrize(("page", "code", "why"), list(blocks("python")))
def test_python(page, code, why, request, tmp_path, monkeypatch, float32_afterwards):
    if why:
        hold_against_signatures(code)
        return
    monkeypatch.chdir(tmp_path)
    names = Given()
    if '"nyud_v2"' in code:
        (tmp_path / "nyud_v2").symlink_to(request.getfixturevalue("nyud_v2"))
    if 'load_model("model.keras")' in code:
        names["model"].save("model.keras")
    exec(compile(smaller(code), f"<{page}>", "exec"), names)
    if page == "README.md":
        assert {"semseg", "depth", "normals", "edge"} <= set(names["maps"])
        assert list(tmp_path.glob("model.keras")) or (tmp_path / "maps.png").is_file()


def hold_against_signatures(code):
    """Runs the imports, and binds the arguments of all calls of what they and the package offer."""
    names, tree = Given(), ast.parse(code)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), "document", "exec"), names)
    bound = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).partition(".")[0] in names:
            function = eval(ast.unparse(node.func), names)
            keywords = {keyword.arg: None for keyword in node.keywords}
            inspect.signature(function).bind(*node.args, **keywords)
            bound += 1
    assert bound


# === Commands ===


def commands(text):
    """What blocks and inline code tell a reader to type, as lists of words."""
    lines = []
    for found in BLOCK.finditer(text):
        if found["language"] == "bash":
            lines += found["code"].replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`]+)`", BLOCK.sub("", text))
    lines += [" ".join(each.split()) for each in inline if " " in each]
    return [shlex.split(re.sub(r"[][]", "", line), comments=True) for line in lines]


def told(program):
    found = {
        f"{page}: {' '.join(words)}": (page, words)
        for page, text in TEXTS.items()
        for words in commands(text)
        if any(word.rpartition("/")[2] == program for word in words)
    }
    return [pytest.param(*each, id=name[:120]) for name, each in found.items()]


@once
@pytest.mark.parametrize(("page", "words"), told("python"))
def test_python_commands(page, words):
    at = next(i for i, word in enumerate(words) if word.rpartition("/")[2] == "python")
    for word in words[:at]:
        if word.startswith("KERAS_BACKEND="):
            assert word.partition("=")[2] in ("jax", "tensorflow", "torch")
    words = words[at + 1 :]
    module = words[0] == "-m"
    text = help_of(words[module], module)
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{words} has no {option}"


@functools.cache
def help_of(program, module=False):
    """What a script, or a module, says to `--help`."""
    printed, before = io.StringIO(), list(sys.modules)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [program, "--help"])
        patch.chdir(ROOT)
        if module:
            patch.syspath_prepend(ROOT)
            patch.delitem(sys.modules, program, raising=False)  # as in a new process
            with pytest.raises(SystemExit) as end:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            assert (ROOT / program).is_file(), program
            patch.syspath_prepend((ROOT / program).parent)
            with pytest.raises(SystemExit) as end:
                runpy.run_path(program, run_name="__main__")
    for name in set(sys.modules) - set(before):  # the scripts' neighbours
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).parent in (ROOT / "examples", ROOT / "benchmarks"):
            del sys.modules[name]
    assert not end.value.code
    return printed.getvalue()


@once
@pytest.mark.parametrize(("page", "words"), told("make"))
def test_make(page, words):
    makefile = (ROOT / "Makefile").read_text()
    for word in words[words.index("make") + 1 :]:
        if re.fullmatch("[A-Z]+=.*", word):
            assert re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.M), word
        elif re.fullmatch("[a-z-]+", word):
            assert re.search(rf"^{word}\b.*:", makefile, re.M), word


@once
@pytest.mark.parametrize(("page", "words"), told("pip"))
def test_extras(page, words):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for word in words:
        if word.startswith("."):  # brackets were taken off
            assert set(word[1:].split(",")) <= set(extras)


# === Names ===

FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs"}


@once
@pytest.mark.parametrize("page", TEXTS)
def test_named_things_exist(page):
    text = TEXTS[page]
    presets = r"[`\"]((?:taskprompter|tpanet|multitask_baseline)_\w+_(?:nyud|pascal))[`\"]"
    for name in re.findall(presets, text):
        assert name in keras_mtl.presets.PRESETS
    for name in re.findall(r"`(keras_mtl(?:\.\w+)+)[`(]", text):
        assert resolves(name), name
    for path in re.findall(r"`((?:[\w-]+/)+[\w-]*(?:\.\w+)?)`", text):
        if path.split("/")[0] in FOLDERS:
            assert (ROOT / path).exists(), path
        elif path.endswith(".py"):
            assert (ROOT / "keras_mtl" / path).is_file(), path


def resolves(name):
    """Whether a dotted name is a module or what lies in one."""
    parts = name.split(".")
    found, rest = keras_mtl, parts[1:]
    while rest:
        if hasattr(found, rest[0]):
            found = getattr(found, rest[0])
        elif inspect.ismodule(found) and importlib.util.find_spec(f"{found.__name__}.{rest[0]}"):
            found = importlib.import_module(f"{found.__name__}.{rest[0]}")
        else:
            return False
        rest = rest[1:]
    return True


@once
@pytest.mark.parametrize("page", TEXTS)
def test_links(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)]+)\)", TEXTS[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (folder / path).resolve() if path else ROOT / page
        assert file.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)", file.read_text(), re.M)
            assert anchor in {anchor_of(title) for title in titles}, target


def anchor_of(title):
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@once
@pytest.mark.parametrize("page", [page for page in TEXTS if page.startswith("docs/")])
def test_a_page_begins_with_what_it_is_for(page):
    title, blank, first, *_ = TEXTS[page].splitlines()
    assert title.startswith("# ") and not blank
    assert first.startswith("This page ")


@once
def test_every_page_is_in_the_index():
    index, readme = TEXTS["docs/README.md"], TEXTS["README.md"]
    for page in TEXTS:
        if page.startswith("docs/") and page != "docs/README.md":
            assert f"]({page.removeprefix('docs/')})" in index
            assert f"]({page})" in readme
