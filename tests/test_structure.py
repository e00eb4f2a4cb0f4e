"""The house keeps its shape: few rooms, arrows in one direction, small functions, one name for one thing.

A room is a file or a folder directly under a package. What is counted comes from the sources by ``ast``, nothing runs.
"""

from __future__ import annotations

import ast
import collections
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
MOST_ROOMS = {"jlsm": 20, "mdpl": 16}
LONGEST_FUNCTION, MOST_ARGUMENTS, LONGEST_TRAINER = 100, 8, 200
ENTRY_POINTS = {"app", "main"}
"""what every command line has"""
COMMANDS = {"jlsm/command_line/app.py", "mdpl/cli.py", "mdpl/scale/command.py"}
"""an option of a command is an argument of its function"""
EXCEPTIONS: dict[str, str] = {}
"""``path:function`` -> why a limit does not hold for it"""
UNCLEAR = {"found", "made", "given", "kept", "known", "own"}
"""words that do not say what a variable holds"""


def sources(package: str) -> dict[str, ast.Module]:
    files = sorted((ROOT / package).rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def room_of(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def imports(package: str) -> dict[str, set[str]]:
    """Which rooms a room imports; the package's own face (``__init__.py``) is no room."""
    rooms = {room_of(path) for path in sources(package) if path != f"{package}/__init__.py"}
    arrows: dict[str, set[str]] = {room: set() for room in rooms}
    for path, tree in sources(package).items():
        if room_of(path) not in rooms:
            continue
        for node in ast.walk(tree):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            targets = {name.split(".")[1] for name in modules if name.startswith(f"{package}.")}
            arrows[room_of(path)] |= (targets & rooms) - {room_of(path)}
    return arrows


@pytest.mark.parametrize("package", MOST_ROOMS)
def test_rooms_are_few_and_no_circle_joins_them(package):
    arrows = imports(package)
    assert len(arrows) <= MOST_ROOMS[package], sorted(arrows)
    while arrows:
        ground = [room for room, below in arrows.items() if not below & arrows.keys()]
        assert ground, f"a circle: { {room: below & arrows.keys() for room, below in arrows.items()} }"
        for room in ground:
            del arrows[room]


def test_the_model_knows_nothing_of_learning():
    for path, tree in sources("jlsm").items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] == "mdpl" for alias in node.names), path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "mdpl", path


def test_modules_form_no_circle():
    """Also inside a room: no module imports one that leads back to it while it loads."""
    for package in MOST_ROOMS:
        trees = sources(package)
        modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): t for path, t in trees.items()}
        arrows: dict[str, set[str]] = {}
        for name, tree in modules.items():
            targets = set()
            for node in tree.body:  # imports inside functions load later
                if isinstance(node, ast.ImportFrom):
                    targets |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            arrows[name] = {target for target in targets if target in modules and target != name}
        # a package's face hands names on: it may import its own rooms
        arrows = {name: {t for t in below if not name.startswith(f"{t}.")} for name, below in arrows.items()}
        while arrows:
            ground = [name for name, below in arrows.items() if not below & arrows.keys()]
            assert ground, {name: sorted(below & arrows.keys()) for name, below in arrows.items()}
            for name in ground:
                del arrows[name]


def functions(package: str):
    for path, tree in sources(package).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


@pytest.mark.parametrize("package", MOST_ROOMS)
def test_functions_are_short_and_take_few_arguments(package):
    long, many = [], []
    for path, node in functions(package):
        name = f"{path}:{node.name}"
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        count = len([argument for argument in arguments if argument not in ("self", "cls")])
        if lines > LONGEST_FUNCTION and name not in EXCEPTIONS:
            long.append(f"{name}: {lines} lines")
        if count > MOST_ARGUMENTS and not node.name.startswith("_") and path not in COMMANDS and name not in EXCEPTIONS:
            many.append(f"{name}: {count} arguments")
    assert not long and not many, "\n".join(long + many)


def test_exceptions_are_needed():
    names = {f"{path}:{node.name}" for package in MOST_ROOMS for path, node in functions(package)}
    assert set(EXCEPTIONS) <= names


def test_the_trainer_is_small():
    text = (ROOT / "mdpl/training/trainer.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < LONGEST_TRAINER
    body = [line for line in text.lower().splitlines() if not line.startswith(("from", "import", "optimisers"))]
    assert "newton" not in "".join(body), "the trainer does not know which optimiser it has"


def test_a_public_name_is_defined_once():
    places = collections.defaultdict(set)
    for package in MOST_ROOMS:
        for path, tree in sources(package).items():
            for node in tree.body:
                names = []
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    names = [node.name]
                elif isinstance(node, ast.Assign):
                    names = [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    names = [node.target.id]
                for name in names:
                    if not name.startswith("_") and name not in ENTRY_POINTS:
                        places[name].add(path)
    twice = {name: sorted(paths) for name, paths in places.items() if len(paths) > 1}
    assert not twice, twice


def test_variables_say_what_they_hold():
    unclear = []
    for package in MOST_ROOMS:
        for path, tree in sources(package).items():
            for node in ast.walk(tree):
                stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in UNCLEAR
                argument = isinstance(node, ast.arg) and node.arg in UNCLEAR
                if stored or argument:
                    unclear.append(f"{path}:{node.lineno}")
    assert not unclear, unclear
