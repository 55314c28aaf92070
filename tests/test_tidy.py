"""How code looks here, as far as a program can tell: sizes, imports, banned calls and words.

Everything is read from the syntax tree, so that a word in a comment is not mistaken for a call. The
limits are ceilings, not aims. Files that are not ours to shape (lock files, the licence, vendored
assets) are left out by name.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("app", "ftrl_core", "tests", "scripts")
FILE_LINES = 400
FUNCTION_LINES = 50
LINE_COLUMNS = 100
CORE_MODULES = {"ftrl_core", "numpy", "numba", "llvmlite"}
# The standard library without input, output, clock, random source or environment.
CORE_STANDARD = {
    "__future__", "abc", "binascii", "bisect", "collections", "dataclasses", "enum", "functools",
    "hashlib", "itertools", "json", "math", "numbers", "operator", "re", "struct", "types",
    "typing", "unicodedata", "zlib",
}  # fmt: skip
# Of these modules, which can do more, the core may use these names only.
CORE_NAMES = {"io": {"BytesIO"}, "sys": {"byteorder"}}
# Adapters are the only files of the core that import their library.
ADAPTERS = {"ftrl_core/sklearn.py": {"sklearn", "scipy"}, "ftrl_core/river.py": {"river"}}
NOT_OURS = {".lock", ".gz", ".png", ".ico", ".woff2"}
# Spelled in pieces, so that this file does not find itself.
UNFINISHED = ("TO" + "DO", "FIX" + "ME")
MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/")
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@cache
def project_files() -> tuple[Path, ...]:
    """Text files that are tracked or would be; all files where this is no git checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        found = [path for name in (*PACKAGES, ".ci") for path in (ROOT / name).rglob("*")]
        found += ROOT.glob("*.*")
    else:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    return tuple(
        path
        for path in sorted(found)
        if path.is_file()
        and path.suffix not in NOT_OURS
        and not {"__pycache__", "vendor"} & set(path.parts)
    )


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files() -> list[str]:
    return [named(path) for path in project_files() if path.suffix == ".py"]


def core_files() -> list[str]:
    return [name for name in python_files() if name.startswith("ftrl_core/")]


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(), name)


def nodes(name: str) -> Iterator[ast.AST]:
    return ast.walk(tree(name))


def imported(name: str) -> set[str]:
    """First parts of the modules that a file imports; relative imports are its own package."""
    found: set[str] = set()
    for node in nodes(name):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            own = name.partition("/")[0]
            found.add(own if node.level else str(node.module).partition(".")[0])
    return found


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def test_there_is_something_to_look_at() -> None:
    assert len(core_files()) > 5
    assert "tests/test_tidy.py" in python_files()


@pytest.mark.parametrize("name", python_files())
def test_sizes(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert len(lines) <= FILE_LINES, f"{name} has {len(lines)} lines"
    too_wide = [i for i, line in enumerate(lines, 1) if len(line) > LINE_COLUMNS]
    assert not too_wide, f"{name}: wider than {LINE_COLUMNS} columns: lines {too_wide}"
    for node in nodes(name):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{name}: {node.name} has {length} lines"


@pytest.mark.parametrize("name", python_files())
def test_a_file_begins_with_its_design(name: str) -> None:
    assert not tree(name).body or ast.get_docstring(tree(name)), f"{name} has no docstring"


@pytest.mark.parametrize("name", core_files())
def test_the_core_is_pure(name: str) -> None:
    allowed = CORE_MODULES | CORE_STANDARD | CORE_NAMES.keys() | ADAPTERS.get(name, set())
    assert imported(name) <= allowed, f"{name} imports {sorted(imported(name) - allowed)}"
    for node in nodes(name):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input"}, f"{name}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module, where = node.value.id, f"{name}:{node.lineno}"
            assert node.attr in CORE_NAMES.get(module, {node.attr}), f"{where}: {module}"
            assert (module, node.attr) not in {("np", "random"), ("numpy", "random")}, where
        if isinstance(node, ast.ImportFrom) and node.module in CORE_NAMES:
            assert {alias.name for alias in node.names} <= CORE_NAMES[node.module], name


@pytest.mark.parametrize("name", python_files())
def test_directions_of_imports(name: str) -> None:
    if name.startswith("app/"):
        assert "tests" not in imported(name)
    if name != "app/main.py" and name.startswith("app/") and not name.startswith("app/cli/"):
        froms = [node.module for node in nodes(name) if isinstance(node, ast.ImportFrom)]
        assert "app.main" not in froms, f"{name} imports app.main, which builds and owns it"


@pytest.mark.parametrize("name", python_files())
def test_banned(name: str) -> None:
    assert not imported(name) & UNPICKLERS, f"{name} imports {imported(name) & UNPICKLERS}"
    for node in nodes(name):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"eval", "exec"}, f"{where}: {node.func.id}"
        if isinstance(node, ast.keyword) and node.arg in {"fastmath", "parallel"}:
            off = isinstance(node.value, ast.Constant) and node.value.value is False
            assert off, f"{where}: {node.arg} would let replicas differ"
        if isinstance(node, ast.Attribute | ast.Name):
            called = node.attr if isinstance(node, ast.Attribute) else node.id
            assert called != "prange", f"{where}: prange"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False", f"{where}: allow_pickle"


@pytest.mark.parametrize("path", project_files(), ids=named)
def test_text(path: Path) -> None:
    text = text_of(path)
    for number, line in enumerate(text.splitlines(), 1):
        for word in UNFINISHED:
            assert word not in line, f"{named(path)}:{number}: {word}"
        for machine_path in MACHINE_PATHS:
            assert machine_path not in line, f"{named(path)}:{number}: {machine_path}"
    assert not text or text.endswith("\n"), f"{named(path)} does not end with a line's end"


def test_the_core_imports_without_the_shell() -> None:
    """In a fresh interpreter: ftrl_core brings in neither app nor any library of the shell."""
    program = (
        "import sys, ftrl_core\n"
        "shell = {'app', 'redis', 'fastapi', 'uvicorn', 'pydantic', 'msgspec'}\n"
        "sys.exit(', '.join(sorted(shell & sys.modules.keys())) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"ftrl_core imports {done.stderr}"
