"""What ARCHITECTURE.md promises of the code as a whole: who knows whom, how light it is, how long its files are."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import netwright

ROOT = Path(netwright.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py"))

# Package (or module of the root) -> what it may know of netwright besides itself.
KNOWS: dict[str, tuple[str, ...]] = {
    "core": (),
    "strategies": ("core",),
    "nets": ("core",),
    "tasks": ("core", "nets"),
    "training": ("core", "nets", "tasks"),
    "formats": ("core", "nets"),
    "measure": ("core", "nets", "formats", "tasks"),
    "study": ("core", "strategies.__init__", "strategies.base", "measure.base"),
    "report": ("core", "study", "strategies.predict.scores"),
    "recipes": ("core", "nets", "tasks"),
    "recipe": ("core", "formats.__init__", "report.sections.__init__"),
    "sources": ("core", "nets", "measure", "tasks", "recipe"),
    "testing": ("core", "nets", "formats", "strategies", "measure", "tasks", "study"),
    "simple": ("core", "measure.base", "strategies", "study"),
}


def name_of(path: Path) -> str:
    """``core.space`` for ``core/space.py``, ``nets.axes`` for its ``__init__.py``, ``__init__`` for the root's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in FILES}

# Who is not listed above (pipeline) may know everything but the command line.
ALL = tuple({name.split(".")[0] for name in MODULES} - {"cli", "__main__", "__init__"})
KNOWS |= {"cli": (*ALL, "__init__"), "__main__": ("cli",)}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, everywhere: bool) -> Iterator[ast.stmt]:
    """Import statements; with ``everywhere`` also those in functions and for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif everywhere or not (is_type_checking(child) or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from walk(child, everywhere)


@cache
def imports(name: str, everywhere: bool) -> frozenset[str]:
    """The modules of netwright that a module imports."""
    path = MODULES[name]
    package = ("netwright", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in walk(ast.parse(path.read_text()), everywhere):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            targets = [f"{start}.{alias.name}" for alias in node.names]
        for target in targets:
            if target.split(".")[0] == "netwright":
                found.add(module_of(target.split(".")[1:]))
    return frozenset(found - {name})


def module_of(parts: list[str]) -> str:
    """The module that a dotted name is or lies in."""
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in MODULES:
            return ".".join(parts[:end])
    return "__init__"


def within(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".") or f"{module}.__init__" == place


def test_relative_imports_are_resolved():
    assert {"core.errors", "nets.cut", "nets.axes.base"} <= imports("nets.axes.width", True)
    assert "core.space" in imports("strategies.base", True) and "strategies.predict.gp" in imports(
        "strategies.surrogate", True
    )
    assert "nets.recalibrate" in imports("measure.base", True) - imports("measure.base", False)


@pytest.mark.parametrize("name", [n for n in MODULES if n != "__init__"])
def test_imports_point_one_way(name):
    top = name.split(".")[0]
    for other in imports(name, True):
        allowed = KNOWS.get(top, ALL)
        known = within(other, top) or any(within(other, place) for place in allowed)
        assert known, f"{name} imports {other}; {top} may know {', '.join(allowed) or 'nobody'}"


def test_no_import_cycles():
    """Imports within functions and for type checkers alone counted."""
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for other in sorted(imports(name, True)):
                visit(other, (*trail, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


@cache
def code_lines(path: Path) -> frozenset[int]:
    """The lines that are not blank, comment or docstring."""
    source = path.read_text()
    told: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        for statement in getattr(node, "body", []) if isinstance(getattr(node, "body", []), list) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                told |= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            code |= set(range(token.start[0], token.end[0] + 1))
    return frozenset(code - told)


def test_no_file_is_long():
    long = {name: lines for name, path in MODULES.items() if (lines := len(code_lines(path))) > 400}
    assert not long


def test_no_function_is_long():
    long = {
        f"{name}.{node.name}": lines
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := len(code_lines(path) & {*range(node.lineno, (node.end_lineno or node.lineno) + 1)})) > 50
    }
    assert not long


def test_nobody_asks_what_kind_of_source_it_is():
    """What a source can do it says itself."""
    sources = {"Source", "SuperNetSource", "ExternalSource", "TableSource", "TabularBenchmark"}
    asking = {
        f"{name}:{node.lineno}"
        for name, path in MODULES.items()
        if not within(name, "sources")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "issubclass")
        if sources & {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    }
    assert not asking


def test_every_public_name_resolves():
    assert sorted(netwright.__all__) == netwright.__all__ == dir(netwright)
    for name in netwright.__all__:
        assert getattr(netwright, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        netwright.Nonsense  # noqa: B018


def test_public_names_are_told_to_type_checkers():
    """What is resolved on first use is also written out, for editors and type checkers."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = [node for node in tree.body if is_type_checking(node)]
    told = {alias.asname or alias.name for node in walk(block, True) for alias in node.names}
    assert told == set(netwright.__all__) - {"__version__"}


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_light():
    loaded = python("import sys; before = {*sys.modules}; import netwright; print(*{*sys.modules} - before)").split()
    assert not {name for name in loaded if name.partition(".")[0] in ("torch", "numpy", "sklearn", "onnx")}
    assert len(loaded) < 100


def test_what_a_file_says_of_saturation_needs_no_torch():
    assert python("import sys, netwright.formats.saturation; print('torch' in sys.modules)").strip() == "False"


def test_a_search_with_a_function_needs_no_torch():
    code = """
import sys, netwright as nw
space = nw.Space([nw.Choice("a", (1, 2, 3)), nw.Choice("b", (1, 2, 3, 4))])
for strategy in (nw.Guided(), nw.Nsga2(), nw.Random()):
    records = nw.search(
        space, lambda c: {"good": c["a"] * c["b"]}, {"good": "max", "cost": "min"}, evaluations=8,
        exact=lambda c: {"cost": c["a"] + c["b"]}, limits=["cost <= 6"], strategy=strategy)
    assert len(records) == 8 and len(nw.front(records)) > 1
print([m for m in ("torch", "sklearn", "onnx", "onnxruntime", "plotly") if m in sys.modules])
"""
    assert python(code).strip() == "[]"


def test_test_files_can_be_imported_beside_one_another():
    """Where a folder is no package, its modules are imported by their names alone."""
    alone = [path for path in Path(__file__).parent.rglob("*.py") if not (path.parent / "__init__.py").exists()]
    names = [path.name for path in alone if path.name != "conftest.py"]
    assert not {name for name in names if names.count(name) > 1}
