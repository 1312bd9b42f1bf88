"""The house rules that a machine can check: which way imports run, how long files and signatures grow, that nobody but
a task's room knows the task by name."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from saccade.tasks.table import TASKS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "saccade"
FILES = sorted(PACKAGE.rglob("*.py"))

CORE = {
    "errors",
    "version",
    "config_io",
    "deferred",
    "files",
    "json_io",
    "yaml_io",
    "nn",
    "models",
    "data",
    "checkpoints",
    "engine",
    "upgrade",
}
# package -> what of this package it may import: whole packages, or "package.module" for that module only
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "upgrade": set(),
    "deferred": set(),
    "config_io": {"errors"},
    "files": {"errors"},
    "web": {"errors"},
    "json_io": {"errors", "files"},
    "yaml_io": {"errors", "files"},
    "nn": {"errors"},
    "models": {"errors", "config_io", "nn"},
    "data": {"errors", "config_io", "deferred", "files", "json_io"},
    "checkpoints": {
        "errors", "version", "config_io", "deferred", "files", "json_io", "upgrade", "nn", "models",
        "data.preprocessing", "data.vocabulary", "data.tokenizer", "data.imagenet",
    },
    "engine": CORE,
    "training": {*CORE, "tasks.table"},
    "analysis": CORE,
    "reporting": {"errors", "deferred", "engine", "analysis", "data.rle"},
    "explorer": {*CORE, "web", "analysis", "reporting"},
    "serving": {*CORE, "web", "analysis", "reporting", "tasks.loading", "inference.ray_cluster"},
    "lab": {
        *CORE, "analysis", "reporting", "training", "tasks.table", "tasks.loading", "runs", "inference.ray_cluster",
    },
    "inference": CORE,
    "api": {*CORE, "inference", "analysis", "reporting", "tasks.table", "tasks.loading"},
    "runs": {*CORE, "analysis", "reporting", "training", "tasks.table", "tasks.loading"},
}  # fmt: skip
# modules of a task's room by their role: the end of the module's name -> what they may import beside the room itself
ROOM_MAY_IMPORT = {
    "setup": {*CORE, "training", "tasks.table"},
    "teacher": CORE,
    "zero_shot": {*CORE, "tasks.classification"},  # what it returns are classifications
    # what an encoder without a head returns are embeddings
    "classification.task": {*CORE, "tasks.contrastive"},
    "classification.exported": {*CORE, "tasks.contrastive"},
    "multilabel.sources": {*CORE, "tasks.detection"},  # the labels of an image are the classes of its objects
    "room": {*CORE, "training", "tasks.table"},
    "report": {*CORE, "analysis", "reporting", "training"},
    "": {*CORE, "analysis", "reporting.draw", "tasks.table"},
}
THIRD_PARTY = {
    "nn": {"torch"},
    "models": {"torch"},
    "reporting": {"numpy", "PIL", "matplotlib", "jinja2", "markupsafe", "yaml"},
}
NO_TORCH = [
    "saccade", "saccade.errors", "saccade.upgrade", "saccade.models.zoo", "saccade.data.config",
    "saccade.training.config", "saccade.cli.main", "saccade.cli.train", "saccade.cli.models",
    "saccade.models.cost_table", "saccade.checkpoints.published", "saccade.tasks.table",
    *(row.config.partition(":")[0] for row in TASKS.values()),
]  # fmt: skip
# Modules that import inside functions: a command loads what it needs when it runs, the table loads rooms by name.
LAZY = {"cli", "tasks.table", "__init__", "__main__"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def inner_name(path: Path) -> str:
    """The module's name without the package's: "tasks.detection.room"."""
    return module_name(path).removeprefix("saccade").removeprefix(".") or "__init__"


def for_every_file(check: Callable[[Path], None]) -> Callable[[], None]:
    """A test that names every file that fails: one test a file would take ten times as long as what it checks."""

    def test() -> None:
        problems = []
        for path in FILES:
            try:
                check(path)
            except AssertionError as error:
                problems.append(f"{module_name(path)}: {error}")
        assert not problems, "\n".join(problems)

    test.__doc__ = check.__doc__
    return test


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(module, line) of every import, those for the type checker alone left out and those of ``Deferred`` included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative import"
            # "from saccade.tasks import table" imports a module; "from saccade.tasks.table import row" a name of one
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                whole = (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()
                yield (name if whole else node.module), node.lineno
        else:
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Deferred":
                name = node.args[0]
                yield (str(name.value) if isinstance(name, ast.Constant) else ""), node.lineno
            yield from imported_modules(node)


def allowed(name: str) -> set[str] | None:
    """What a module may import; None for everything (the command line and the public face)."""
    parts = name.split(".")
    if parts[0] == "tasks" and len(parts) > 2:
        role = next((role for role in ROOM_MAY_IMPORT if role and name.endswith(role)), "")
        return ROOM_MAY_IMPORT[role] | {f"tasks.{parts[1]}"}
    if name == "tasks.table":
        return {"errors", "upgrade"}
    if name == "tasks.loading":
        return {*CORE, "tasks.table"}
    return MAY_IMPORT.get(parts[0])


@for_every_file
def test_imports_run_downward(path: Path) -> None:
    name = inner_name(path)
    permitted = allowed(name)
    if permitted is None:
        return
    package = name.split(".")[0]
    if package != "tasks":
        permitted = permitted | {package}
    for module, line in imported_modules(ast.parse(path.read_text())):
        if not module.startswith("saccade"):
            third_party = THIRD_PARTY.get(package)
            top = module.split(".")[0]
            ok = third_party is None or top in third_party | sys.stdlib_module_names
            assert ok, f"{path}:{line} imports {module}"
            continue
        other = module.removeprefix("saccade").removeprefix(".")
        if other == "":
            continue
        prefixes = {".".join(other.split(".")[: n + 1]) for n in range(len(other.split(".")))}
        assert prefixes & permitted, f"{path}:{line} imports {module}, which is above it or out of its reach"


def test_there_is_no_circle_of_imports() -> None:
    modules = {module_name(path): path for path in FILES}
    edges = {
        name: {m for m, _ in imported_modules(ast.parse(path.read_text())) if m in modules and m != name}
        for name, path in modules.items()
        if inner_name(path).split(".")[0] not in LAZY
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done or name not in edges:
            return
        for other in sorted(edges[name]):
            visit(other, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


@for_every_file
def test_modules_are_imported_at_the_top(path: Path) -> None:
    name = inner_name(path)
    if name.split(".")[0] in LAZY or name in LAZY:
        return
    tree = ast.parse(path.read_text())
    optional = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any("ImportError" in ast.unparse(h.type) for h in node.handlers if h.type)
        for inner in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    assert inner in optional, f"{path}:{inner.lineno} imports inside a function, and not an extra"


def test_nobody_but_its_room_knows_a_task_by_name() -> None:
    """Decisions by task outside saccade/tasks: 0. Lists of task names: 1, in tasks/table.py."""
    decisions = []
    for path in FILES:
        package = inner_name(path).split(".")[0]
        if package in ("tasks", "upgrade"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            by_task = any(isinstance(part, ast.Attribute) and part.attr == "task" for part in compared)
            if by_task and any(isinstance(getattr(part, "value", None), str) for part in compared):
                decisions.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
            if package in OWN_WORDS:
                continue
            keys = [key for key in node.keys if key is not None] if isinstance(node, ast.Dict) else []
            listed = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) and len(node.elts) > 1 else []
            for part in (*compared, *keys, *listed):
                if isinstance(part, ast.Constant) and part.value in TASKS:
                    decisions.append(f"{path.relative_to(ROOT)}:{part.lineno}: {part.value!r}")
    assert not decisions, "\n".join(decisions)


OWN_WORDS = ("models", "data", "checkpoints")  # where "depth" is a field and "seq2seq" an architecture


def test_every_row_of_the_table_loads() -> None:
    from saccade.tasks import table

    for name in TASKS:
        assert table.room(name).name == name
        assert table.config_class(name)().__class__ is table.config_class(name)
        assert table.report(name) is not None


@for_every_file
def test_files_and_signatures_stay_small(path: Path) -> None:
    text = path.read_text()
    limit = 250 if path.parent.name == "models" else 400
    assert len(text.splitlines()) <= limit, f"{path} is longer than {limit} lines"
    if path.name == "__init__.py" and path.parent not in (PACKAGE, PACKAGE / "checkpoints" / "formats"):
        assert not text, f"{path}: the files of a package are imported by name"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
            assert count <= 11, f"{path}:{node.lineno}: {node.name} has {count} parameters"
            # ``**names: Never`` takes nothing: it gives a hint for arguments of other libraries.
            extra = node.args.kwarg
            refused = extra is not None and extra.annotation is not None and ast.unparse(extra.annotation) == "Never"
            assert extra is None or refused, f"{path}:{node.lineno}: {node.name} passes keyword arguments through"


@for_every_file
def test_nothing_unsafe_or_unfinished(path: Path) -> None:
    text = path.read_text()
    for pattern in (
        r"\bTODO\b", r"\bFIXME\b", r"weights_only\s*=\s*False", r"allow_pickle\s*=\s*True", r"shell\s*=\s*True",
        r"(?<![\w.])(eval|exec)\(", r"\.extractall\(", r"except\s*:", r"except (Base)?Exception\b",
    ):  # fmt: skip
        assert not re.search(pattern, text), f"{path} has {pattern}"


def test_a_prediction_loads_no_library_that_it_does_not_need() -> None:
    """scikit-learn and SciPy take a second each to import, torchvision and the compiler as long as PyTorch."""
    code = (
        "import sys, saccade.tasks.loading, saccade.engine.predictor; from saccade.tasks import table; "
        "from saccade.models.vit import vit_ti16_config; from saccade.models.zoo import build; "
        "build('vit', vit_ti16_config().to_dict(), 10**7); table.room('classification'); "
        "heavy = {'torchvision', 'torch._dynamo', 'scipy', 'sklearn', 'matplotlib'} & sys.modules.keys(); "
        "[table.room(n) for n in table.TASKS]; sys.exit(' '.join(heavy | ({'sklearn'} & sys.modules.keys())))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not ran.stderr.strip(), ran.stderr


def test_what_needs_no_torch_loads_none() -> None:
    code = f"import sys, importlib; [importlib.import_module(m) for m in {NO_TORCH}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# What opens or parses files -> the modules that may call it. Everything else reads through saccade.files, json_io and
# yaml_io, which open regular files alone, limit their size and raise one line.
READERS = {
    "open": ("files",),
    "Image.open": ("analysis.corruptions",),  # of a JPEG that it encoded itself
    "json.load": (),
    "json.loads": ("json_io", "checkpoints.reading", "data.tokenizer"),  # for repeated keys; of the library's own text
    "np.load": ("data.npy",),
    "np.fromfile": (),
    "torch.load": ("checkpoints.reading",),
    "torch.jit.load": (),
    "safe_open": ("checkpoints.reading",),
    "load_file": (),
    "zipfile.ZipFile": ("checkpoints.reading", "checkpoints.torchscript", "data.storage"),
    "tarfile.open": ("data.storage", "data.shards"),  # which writes them
    "yaml.load": (),
    "yaml.safe_load": (),
    "yaml.SafeLoader": ("yaml_io",),
    "ElementTree.fromstring": ("tasks.detection.layouts.tree",),
    "ElementTree.parse": (),
    "gzip.open": ("data.tokenizer",),
    "gzip.decompress": (),
}
METHODS = ("read_text", "read_bytes", "splitlines")  # of paths and texts


@for_every_file
def test_files_are_opened_in_one_place(path: Path) -> None:
    name = inner_name(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called, where = ast.unparse(node.func), f"{path}:{node.lineno}"
        if called == "open" and len(node.args) > 1 and ast.literal_eval(node.args[1])[0] in "wax":
            continue  # of a file of our own, to write
        assert called not in READERS or name in READERS[called], f"{where} calls {called}: see saccade/files.py"
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and name != "files":
            receiver = ast.unparse(node.func.value)
            own = any(text in receiver for text in ("files(", "packaged", "folder", "/proc/"))  # of the package itself
            message = "error" in receiver or "problem" in receiver or name in ("cli.terminal", "models.cost_table")
            allowed = message if node.func.attr == "splitlines" else own or message
            assert allowed, f"{where} calls {called}: see saccade/files.py"
