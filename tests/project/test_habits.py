"""House style that no linter checks: read from the syntax trees of all library files."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION_LINES, FILE_LINES = 60, 350

MAY_PRINT = ["aime_agent/cli/*"]

# State is passed, not kept. Who keeps some all the same, and why; a pattern of "file::Class".
MAY_KEEP_STATE = {
    "aime_agent/data/replay.py::*": "the replay is a store",
    "aime_agent/data/shard.py::*": "how much of an open file is written",
    "aime_agent/data/storage.py::*": "open files",
    "aime_agent/meta/trainer.py::*": "the loop's counters",
    "aime_agent/optimization/*::*": "balancers and averages keep running values",
    "aime_agent/symbolic/grammar.py::Draft": "a tree in the making",
    "aime_agent/training/learning.py::*": "the loop's counters",
    "aime_agent/training/offline.py::*": "the loop's counters",
    "aime_agent/training/trainer.py::*": "the loop's counters",
    "aime_agent/training/collector.py::*": "the current observation and belief",
    "aime_agent/training/loggers.py::*": "open files",
    "aime_agent/training/progress.py::*": "when something was last shown",
    "aime_agent/training/sb3_resume.py::Keeper": "when it last kept something",
    "envs/*::*": "an environment is state behind Gymnasium's interface",
}
CONSTRUCTORS = {"__init__", "__post_init__", "__setstate__"}


def library_files():
    """All modules, each once: aime_agent/envs and aime_agent/policies are links."""
    folders = (ROOT / "aime_agent", ROOT / "envs", ROOT / "policies")
    links = {ROOT / "aime_agent" / "envs", ROOT / "aime_agent" / "policies"}
    found = (path for folder in folders for path in folder.rglob("*.py"))
    return sorted(path for path in found if links.isdisjoint(path.parents))


FILES = library_files()


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def length_without_docstring(function):
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring


def is_setter(function):
    return any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in function.decorator_list)


def self_attribute(node):
    """Returns "x" for ``self.x``, else None."""
    is_self = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if is_self and node.value.id == "self" else None


def written_attributes(function):
    """Yields the names of ``self.x`` that a method assigns, by any spelling."""
    for node in ast.walk(function):
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del) and self_attribute(node):
            yield self_attribute(node)
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Name):
            called = ast.unparse(node.func)
            if called in ("setattr", "object.__setattr__") and node.args[0].id == "self":
                yield ast.unparse(node.args[1])


def own_calls(methods):
    """Returns the names of the class's own methods that ``methods`` call."""
    calls = (n for m in methods for n in ast.walk(m) if isinstance(n, ast.Call))
    return {self_attribute(call.func) for call in calls} - {None}


def construction(cls):
    """Returns the constructors and the methods that only they call, by name."""
    methods = [m for m in cls.body if isinstance(m, ast.FunctionDef)]
    building = [m for m in methods if m.name in CONSTRUCTORS]
    names = {m.name for m in building}
    helpers = own_calls(building)
    others = [m for m in methods if m.name not in names | helpers]
    return names | (helpers - own_calls(others))


def self_writes(path):
    """Returns "file::Class.method writes x" for all writes outside the construction."""
    found = []
    for cls in (n for n in ast.walk(parse(path)) if isinstance(n, ast.ClassDef)):
        where = f"{name_of(path)}::{cls.name}"
        if any(fnmatch(where, pattern) for pattern in MAY_KEEP_STATE):
            continue
        building = construction(cls)
        for method in cls.body:
            if not isinstance(method, ast.FunctionDef) or method.name in building:
                continue
            for name in written_attributes(method):
                keeps_last = name == "_last" and method.name == "forward"
                if not keeps_last and not is_setter(method):
                    found.append(f"{where}.{method.name} writes {name}")
    return found


def side_attributes(tree):
    """Returns the field names that a module's `KeepsLast` classes serve after a call."""
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    bases = {c.name: {ast.unparse(b).split(".")[-1] for b in c.bases} for c in classes}
    if not any("KeepsLast" in b for b in bases.values()):
        return set()
    outputs = [c for c in classes if "NamedTuple" in bases[c.name]]
    return {
        field.target.id
        for output in outputs
        for field in output.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def side_reads(tree, served):
    """Returns the ``self.module.field`` chains that read a served field."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in served
        and self_attribute(node.value) not in (None, "config", "_last")
    ]


def offenders(find):
    """Returns what ``find`` reports, for the files where it reports anything."""
    found = {name_of(path): find(path) for path in FILES}
    return {name: report for name, report in found.items() if report}


def prints(path):
    if any(fnmatch(name_of(path), pattern) for pattern in MAY_PRINT):
        return []
    calls = (n for n in ast.walk(parse(path)) if isinstance(n, ast.Call))
    return [c.lineno for c in calls if ast.unparse(c.func) in ("print", "pprint")]


def long_functions(path):
    sizes = {f.name: length_without_docstring(f) for f in functions(parse(path))}
    return {name: size for name, size in sizes.items() if size > FUNCTION_LINES}


def test_files_are_found_in_all_three_folders():
    assert {name_of(p).split("/")[0] for p in FILES} == {"aime_agent", "envs", "policies"}
    assert len(FILES) == len({p.resolve() for p in FILES})


def test_files_are_short_enough():
    sizes = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: size for name, size in sizes.items() if size > FILE_LINES} == {}


def test_functions_are_short_enough():
    assert offenders(long_functions) == {}


def test_library_does_not_print():
    assert offenders(prints) == {}


def test_state_is_not_kept_on_self():
    assert offenders(self_writes) == {}


def test_nothing_is_left_unfinished():
    unfinished = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")
    assert offenders(lambda path: unfinished.findall(path.read_text(encoding="utf-8"))) == {}


def test_modules_have_docstrings():
    assert offenders(lambda path: not ast.get_docstring(parse(path))) == {}


def test_library_reads_no_side_attribute():
    trees = {path: parse(path) for path in FILES}
    served = set().union(*(side_attributes(tree) for tree in trees.values()))
    reads = {name_of(path): side_reads(tree, served) for path, tree in trees.items()}
    assert {name: found for name, found in reads.items() if found} == {}


def test_self_write_check_sees_every_spelling(tmp_path, monkeypatch):
    body = "self.a = 1; self.b += 1; self.c, d = 1, 2; del self.e; setattr(self, 'f', 1)"
    (tmp_path / "m.py").write_text(f"class C:\n    def step(self):\n        {body}\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    written = {write.split()[-1] for write in self_writes(tmp_path / "m.py")}
    assert written == {"a", "b", "c", "e", "'f'"}


@pytest.mark.parametrize(("also_called_by", "count"), [("__init__", 0), ("step", 1)])
def test_helpers_of_the_constructor_may_write(tmp_path, monkeypatch, also_called_by, count):
    methods = ["__init__(self): self.build()", f"{also_called_by}(self): self.build()"]
    methods.append("build(self): self.a = 1")
    text = "class C:\n" + "".join(f"    def {method}\n" for method in methods)
    (tmp_path / "m.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len(self_writes(tmp_path / "m.py")) == count


def test_side_read_check_sees_a_planted_read():
    served = side_attributes(
        ast.parse("class Out(NamedTuple):\n    centers: int\nclass M(KeepsLast):\n    pass\n")
    )
    assert served == {"centers"}
    planted = ast.parse("self.posterior.centers + out.centers + self.config.centers")
    assert side_reads(planted, served) == ["self.posterior.centers"]
