"""Imports run one way: app -> skill -> dialogue <- training.

This is read from the source of every file, imported or not.
"""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("dialogue", "skill", "training")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
SOURCES |= {path.stem: path for path in ROOT.glob("*.py")}


def imported(tree, module, *, is_package):
    """List what the statements of a tree import, at any depth: modules, and the names taken from
    them.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                base = ".".join(
                    [*parts[: len(parts) - node.level + is_package], *([base] if base else [])]
                )
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "__import__",
            "import_module",
            "importlib.import_module",
        ):
            found |= {
                str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)
            }
    return found


def imports_of(module, *, at_import_only=False):
    path = SOURCES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if at_import_only:
        tree = WithoutFunctionBodies().visit(tree)
    return imported(tree, module, is_package=path.name == "__init__.py")


class WithoutFunctionBodies(ast.NodeTransformer):
    """Keep what runs when a module is imported: no function bodies, no type-checking imports."""

    def visit_FunctionDef(self, node):
        node.body = [ast.Pass()]
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        return (
            ast.Pass()
            if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
            else self.generic_visit(node)
        )


def offenders(package, forbidden):
    """List "module imports name" for each forbidden import of a package's files."""
    return [
        f"{module} imports {name}"
        for module in SOURCES
        if module.split(".")[0] == package
        for name in sorted(imports_of(module))
        if any(
            name == root
            or name.startswith(root + ".")
            or (root.endswith("_") and name.startswith(root))
            for root in forbidden
        )
    ]


def test_the_files_of_every_package_are_looked_at():
    for package in PACKAGES:
        assert package in SOURCES
        assert sum(module.startswith(package + ".") for module in SOURCES) > 3
    assert "sentencepiece" in imports_of("dialogue.vocabulary")
    assert "dialogue.store" in imports_of("dialogue.agent")


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        (
            "dialogue",
            ["flask", "ask_sdk_", "flask_ask_sdk", "ask_smapi_model", "training", "skill", "app"],
        ),
        ("skill", ["torch", "sentencepiece", "safetensors", "training", "app"]),
        ("training", ["flask", "ask_sdk_", "flask_ask_sdk", "ask_smapi_model", "skill", "app"]),
        ("app", ["training"]),
    ],
)
def test_imports_run_one_way(package, forbidden):
    assert offenders(package, forbidden) == []


TRAINING_ONLY = re.findall(
    r"^([\w-]+)==", (ROOT / "requirements-train.txt").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize("package", ["dialogue", "skill", "app"])
def test_talking_and_serving_need_nothing_that_only_training_installs(package):
    assert "matplotlib" in TRAINING_ONLY
    assert offenders(package, [name.replace("-", "_") for name in TRAINING_ONLY]) == []


# What one option alone needs says so itself.
@pytest.mark.parametrize("name", [name for name in TRAINING_ONLY if name != "transformers"])
def test_a_training_command_says_in_one_line_what_to_install(name):
    start = (
        "import runpy, sys; "
        f"sys.modules[{name.replace('-', '_')!r}] = None; "  # as if it were not installed
        "sys.argv[:] = ['-m', '--help']; runpy.run_module('training.fit', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(
        rf"error: training needs {name.replace('-', '_')}, .* requirements-train\.txt\n",
        done.stderr,
    )


def test_search_and_constraints_know_no_model_text_or_alexa():
    allowed = {
        "dialogue.config",
        "dialogue.decoding",
        "dialogue.device",
        "dialogue.device.sent",
        "dialogue.models.DecoderState",
        "dialogue.models",
    }
    for module in SOURCES:
        if module.startswith("dialogue.decoding."):
            ours = {name for name in imports_of(module) if name.split(".")[0] in PACKAGES}
            beyond = {
                name
                for name in ours
                if name not in allowed
                and not name.startswith(("dialogue.config.", "dialogue.decoding."))
            }
            assert not beyond, module


# The sub-packages of training, each with those that it may import. The commands may import all.
WINGS = {
    "corpora": set(),
    "data": {"corpora"},
    "run": {"corpora", "data"},
    "metrics": {"corpora", "data"},
    "report": {"corpora", "data", "metrics"},
    "reading": {"corpora", "metrics"},
    "ranking": {"corpora", "data", "reading"},
    "bench": {"corpora", "data", "run"},
}


def test_the_wings_of_training_import_no_command_and_only_what_is_below_them():
    wings = {path.parent.name for path in (ROOT / "training").glob("*/__init__.py")}
    assert wings == set(WINGS)
    for wing, below in WINGS.items():
        modules = [module for module in SOURCES if module.startswith(f"training.{wing}.")]
        assert modules, wing
        allowed = {wing, *below}
        for module in modules:
            ours = {
                name
                for name in imports_of(module)
                if name.startswith("training.") and name in SOURCES
            }
            beyond = {name for name in ours if name.split(".")[1] not in allowed}
            assert not beyond, f"{module} imports {sorted(beyond)}"


@pytest.mark.parametrize(
    ("library", "module"),
    [
        ("sentencepiece", {"dialogue.vocabulary", "training.data.vocabulary"}),
        ("pyngrok", {"skill.tunnel"}),
        ("redis", {"dialogue.state.redis_state"}),
    ],
)
def test_a_third_party_joint_is_wrapped_in_one_file(library, module):
    using = {
        name
        for name in SOURCES
        if any(found.split(".")[0] == library for found in imports_of(name))
    }
    assert using <= module


def test_no_module_imports_itself_in_a_circle():
    graph = {
        module: {
            name
            for name in imports_of(module, at_import_only=True)
            if name in SOURCES and name != module
        }
        for module in SOURCES
    }
    assert graph["dialogue.agent"], "the graph is empty, so it proves nothing"
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) == set(SOURCES)


def test_nothing_but_the_reader_of_pickled_corpora_can_read_a_pickle():
    """A pickle runs what it names; weights, states and caches are safetensors and JSON."""
    for path in [
        path
        for package in ("dialogue", "training", "skill")
        for path in (ROOT / package).rglob("*.py")
    ]:
        source = path.read_text(encoding="utf-8")
        names = {
            ast.unparse(node)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        modules = {
            alias.name
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        modules |= {
            node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
        }
        assert not names & {"torch.load", "torch.save", "np.load", "numpy.load"}, path
        assert "allow_pickle" not in source, path
        if path != ROOT / "training" / "corpora" / "pickled.py":
            assert not modules & {
                "pickle",
                "cPickle",
                "dill",
                "joblib",
                "marshal",
                "shelve",
                "_pickle",
            }, path
