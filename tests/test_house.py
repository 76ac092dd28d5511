"""How the house is built: who asks what a task is, how long files are, no circles."""

import ast
import inspect
from pathlib import Path

import grimp
import pytest

import keras_mtl

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "keras_mtl").rglob("*.py"))
SCRIPTS = [*sorted((ROOT / "examples").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
# What may know the kinds and the names of tasks.
KNOW_TASKS = ROOT / "keras_mtl" / "tasks"
KINDS = {
    name
    for name, value in vars(keras_mtl.tasks).items()
    if inspect.isclass(value) and issubclass(value, keras_mtl.tasks.Task)
}
NAMES = {task.name for each in keras_mtl.tasks.DATASETS.values() for task in each.tasks()}

# Pure data, which is not read from top to bottom: path and reason.
LONG = {}

pytestmark = pytest.mark.once("torch", "the text of the code is the same for all")


def asks_for_a_kind(node):
    """`isinstance(x, Kind)`, `issubclass`, `type(task) is ...`, `case Kind():`."""
    if isinstance(node, ast.MatchClass):
        return last_name(node.cls) in KINDS
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(is_type_of_task(side) for side in sides)
    if isinstance(node, ast.Call) and last_name(node.func) in ("isinstance", "issubclass"):
        what, kinds = node.args
        found = {last_name(each) for each in ast.walk(kinds)}
        return (last_name(what) == "task" and "str" not in found) or bool(found & KINDS)
    return False


def is_type_of_task(node):
    called = isinstance(node, ast.Call) and last_name(node.func) == "type"
    return called and last_name(node.args[0]) in ("task", "t")


def asks_for_a_name(node):
    """`task.name == ...`, and what is compared with the name of a task. (Archives have parts.)"""
    if not isinstance(node, ast.Compare) or last_name(node.left) == "part":
        return False
    of_task = ast.unparse(node.left) in ("task.name", "t.name")
    for operator, side in zip(node.ops, node.comparators, strict=True):
        literals = list(side.elts) if isinstance(side, (ast.Tuple, ast.List, ast.Set)) else [side]
        if {each.value for each in literals if isinstance(each, ast.Constant)} & NAMES:
            return True
        if of_task and isinstance(operator, (ast.Eq, ast.NotEq)):
            return True
    return False


def last_name(node):
    return getattr(node, "attr", None) or getattr(node, "id", None)


def where(asks):
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in (*PACKAGE, *SCRIPTS)
        if KNOW_TASKS not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if asks(node)
    ]


@pytest.mark.parametrize(
    ("asks", "code"),
    [
        (asks_for_a_kind, "isinstance(task, Kind)"),
        (asks_for_a_kind, "isinstance(t, tasks.BoundaryDetection)"),
        (asks_for_a_kind, "isinstance(each, (DepthEstimation, int))"),
        (asks_for_a_kind, "type(task) is Kind"),
        (asks_for_a_kind, "match x:\n  case SurfaceNormals(): pass"),
        (asks_for_a_name, "task.name == other"),
        (asks_for_a_name, "task.name in ('edge', 'other')"),
        (asks_for_a_name, "name != 'semseg'"),
    ],
)
def test_what_asks_is_found(asks, code):
    assert any(asks(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(x, int)",
        "isinstance(task, str)",
        "part == 'depth'",
        "'depth' in labels",
        "task.name in labels",
        "layer.name == 'a'",
    ],
)
def test_what_does_not_ask_is_not(code):
    nodes = list(ast.walk(ast.parse(code)))
    assert not any(asks_for_a_kind(node) or asks_for_a_name(node) for node in nodes)


@pytest.mark.parametrize("asks", [asks_for_a_kind, asks_for_a_name])
def test_only_tasks_know_their_kinds_and_names(asks):
    assert where(asks) == []


def length(path):
    return len(path.read_text().splitlines())


def test_files_are_short():
    lengths = {str(path.relative_to(ROOT)): length(path) for path in PACKAGE}
    assert {
        path: lines for path, lines in lengths.items() if lines > 400 and path not in LONG
    } == {}
    assert set(LONG) <= {path for path, lines in lengths.items() if lines > 400}
    assert lengths["keras_mtl/models/multi_task_model.py"] <= 320
    assert length(ROOT / "README.md") <= 200


def test_examples_are_scripts():
    lengths = {path.name: length(path) for path in sorted((ROOT / "examples").glob("*.py"))}
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


def test_no_circles_of_imports():
    """Between modules; import-linter (`make lint`) has those between rooms."""
    graph = grimp.build_graph("keras_mtl", exclude_type_checking_imports=True, cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    circles = {
        module
        for module, others in imported.items()
        if any(graph.chain_exists(importer=other, imported=module) for other in others)
    }
    assert sorted(circles) == []


# Arguments of many kinds, or of kinds that have no type: tensors, other libraries' objects.
ANY_KIND = {
    *("data", "figure", "final", "image", "images", "inputs", "instances", "label", "labels"),
    *("features", "log", "model", "raw", "scores", "tuner", "variable", "x", "y"),
}
# Still without annotations.
BARE = {
    *("PatchMap.backbone", "PatchTokens.position_embedding", "PredictionPanels.log_dir"),
    *("PyramidOutputs.backbone", "SwinTransformer.backbone", "arrays.image_size", "arrays.tasks"),
    *(
        "dataset.image_size",
        "dataset.tasks",
        "load_model.filepath",
        "MapEvaluator.task",
        "of_this_process.batches",
        "render.image_size",
    ),
}


def public_callables():
    """Functions and constructors by name, of what the package and its rooms list in `__all__`."""
    rooms = [getattr(keras_mtl, name) for name in (*keras_mtl.__all__, "cost", "export")]
    for room in (keras_mtl, *filter(inspect.ismodule, rooms)):
        for name in getattr(room, "__all__", ()):
            value = getattr(room, name)
            own = vars(value).get("__init__") if inspect.isclass(value) else value
            if inspect.isfunction(own) and own.__module__.startswith("keras_mtl"):
                yield name, own


def test_public_arguments_are_annotated():
    found = {
        f"{name}.{argument.name}"
        for name, function in public_callables()
        for argument in inspect.signature(function).parameters.values()
        if argument.annotation is argument.empty
        and argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)
        and argument.name not in {"self", *ANY_KIND}
    }
    assert found - BARE == set()
