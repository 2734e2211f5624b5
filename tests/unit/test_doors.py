"""Each dangerous thing is done in one place: a reader of that place knows all there is to know about it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.source import Module, modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PROCESS_DOOR = "device.process"
COPIES_OF_ITSELF = {"audit.workers": "verdicts on all cores: the same program, and no other is started"}
"""What starts processes without a command, and why."""
SAVE_DOOR = "durable"
STICK_DOOR = "medium"

STARTING = {
    "os.system", "os.popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.posix_spawnp", "os.startfile", "pty.spawn",
    *(f"os.exec{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *(f"os.spawn{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
}  # fmt: skip
STARTING_MODULES = {"subprocess", "multiprocessing", "pty", "asyncio.subprocess", "concurrent.futures.process"}

RENAMING = {"os.replace", "os.rename", "os.renames", "os.link", "os.symlink", "os.truncate", "os.mkdir", "os.makedirs"}
WRITING = {"os.write", "os.writev", "os.pwrite", "os.pwritev", "os.ftruncate", "os.posix_fallocate", "os.sendfile"}
REMOVING = {"os.remove", "os.unlink", "os.rmdir", "os.removedirs", "shutil.rmtree"}
COPYING = {"shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copyfileobj", "shutil.copytree", "shutil.move"}
SAVING_METHODS = {"write_bytes", "write_text", "symlink_to", "hardlink_to", "touch", "mkdir", "unlink", "rmdir"}
"""Methods that only paths have; `replace`, `rename` and `open` need a look at their arguments."""

WRITES_IN_PLACE: dict[str, str] = {
    "device.slotimages": "slots are block devices, or files that stand for them: overwritten in place and synced",
    "device.media": "the folder at which a stick was mounted is empty, and nobody looks for it after a cut",
    "device.lock": "a lock file has no contents",
    "device.unpacker": "answers through a pipe",
    "device.unpacking": "memory that it shares with another process, which no file name leads to",
    "packager.stick": "what is unused is taken off a stick, which is read back whole afterwards",
}
"""What is not a file of ours that must survive a cut, and why."""

JOINS_NAMES: dict[str, str] = {"packager.stick": "writes the stick, by names that are all its own"}
"""What turns the names of a place on a stick into a path of the system, and why."""


def _calls(found: Callable[[str, ast.Call], bool], *, outside: set[str]) -> list[str]:
    return [
        f"{module.shown}:{line}: {name}()"
        for module in modules()
        if module.name not in outside
        for line, name, call in module.calls()
        if found(name, call)
    ]


def _nodes(kind: type[ast.ExceptHandler]) -> Iterator[tuple[Module, ast.ExceptHandler]]:
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, kind):
                yield module, node


def test_processes_start_only_behind_their_door() -> None:
    imports = [
        f"{module.shown}:{line}: {name}"
        for module in modules()
        if module.name not in {PROCESS_DOOR, *COPIES_OF_ITSELF}
        for line, name in module.imports()
        if name in STARTING_MODULES or name.rpartition(".")[0] in STARTING_MODULES
    ]
    assert imports == []
    assert _calls(lambda name, _: name in STARTING, outside={PROCESS_DOOR}) == []


def test_no_process_gets_a_shell() -> None:
    assert _calls(lambda _, call: any(keyword.arg == "shell" for keyword in call.keywords), outside=set()) == []


def _saving(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and name of every call by which a module changes a file or a folder by itself."""
    assigned: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                assigned[ast.unparse(target)] = f"{assigned.get(ast.unparse(target), '')} {ast.unparse(node.value)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _saves(ast.unparse(node.func), node, assigned):
            yield node.lineno, ast.unparse(node.func)


def _saves(name: str, call: ast.Call, assigned: Mapping[str, str]) -> bool:
    last = name.rpartition(".")[2]
    if name in RENAMING | WRITING | REMOVING | COPYING or (
        last in SAVING_METHODS and name != last and not name.startswith("durable.")
    ):
        return True
    # str.replace takes two arguments and datetime.replace keywords; Path.replace takes one, as does Path.rename.
    if last in {"replace", "rename"} and len(call.args) == 1 and not call.keywords and not name.startswith("os."):
        return True
    return _opens_for_writing(name, call, assigned)


def _opens_for_writing(name: str, call: ast.Call, assigned: Mapping[str, str]) -> bool:
    if name == "os.open":
        names = {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)} - {"os", "getattr", "sys"}
        # Flags that come from elsewhere are taken for the worst.
        if not names <= assigned.keys():
            return True
        flags = " ".join([ast.unparse(call.args[1]), *(assigned[each] for each in names)])
        return any(flag in flags for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"))
    if name.rpartition(".")[2] in {"open", "fdopen"}:
        texts = [each.value for each in [*call.args, *(k.value for k in call.keywords)] if isinstance(each, ast.Constant)]
        return any(isinstance(text, str) and set(text) <= set("rwxabt+") and set(text) & set("wxa+") for text in texts)
    return False


def test_files_are_saved_only_behind_their_door() -> None:
    outside = {SAVE_DOOR, *WRITES_IN_PLACE}
    assert [
        f"{module.shown}:{line}: {name}()"
        for module in modules()
        if module.name not in outside
        for line, name in _saving(module.tree)
    ] == []


@pytest.mark.parametrize("name", WRITES_IN_PLACE)
def test_what_may_write_in_place_is_there_and_does(name: str) -> None:
    assert [found for module in modules() if module.name == name for found in _saving(module.tree)]


@pytest.mark.parametrize(
    "source",
    [
        "p.write_bytes(b)",
        "open(p, 'w')",
        "p.open('ab')",
        "os.open(p, os.O_RDWR)",
        "FLAGS: Final = os.O_RDONLY | os.O_CREAT\nos.open(p, FLAGS)",
        "flags = os.O_RDONLY\nflags |= os.O_TRUNC\nos.open(p, flags)",
        "def f(p, flags):\n    os.open(p, flags)",
        "os.pwrite(d, b, 0)",
        "os.write(d, b)",
        "shutil.rmtree(p)",
        "p.rmdir()",
        "p.unlink()",
        "a.replace(b)",
    ],
)
def test_the_test_of_the_save_door_sees_a_save(source: str) -> None:
    assert list(_saving(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "open(p)",
        "p.open('rb')",
        "os.open(p, os.O_RDONLY)",
        "FLAGS = os.O_RDONLY | getattr(os, 'O_BINARY', 0)\nos.open(p, FLAGS | os.O_CLOEXEC)",
        "s.replace('a', 'b')",
        "durable.save(p, b)",
        "durable.remove_tree(p)",
    ],
)
def test_the_test_of_the_save_door_lets_a_reader_pass(source: str) -> None:
    assert list(_saving(ast.parse(source))) == []


def _joins(name: str, call: ast.Call) -> bool:
    return name.rpartition(".")[2] in {"joinpath", "Path"} and any(isinstance(each, ast.Starred) for each in call.args)


def test_names_on_a_stick_become_paths_only_behind_their_door() -> None:
    # A file on a stick is named by a MediumPath; whoever turns one into a path of the system opens it by hand.
    assert _calls(_joins, outside={STICK_DOOR, *JOINS_NAMES}) == []


@pytest.mark.parametrize("name", JOINS_NAMES)
def test_what_may_join_names_is_there_and_does(name: str) -> None:
    assert _calls(_joins, outside={module.name for module in modules()} - {name})


def test_nothing_sleeps() -> None:
    assert _calls(lambda name, _: name in {"time.sleep", "sleep", "asyncio.sleep"}, outside=set()) == []


def test_no_error_is_caught_that_was_not_thought_of() -> None:
    wrong = []
    for module, handler in _nodes(ast.ExceptHandler):
        caught = "everything" if handler.type is None else ast.unparse(handler.type)
        if caught == "everything" or {"Exception", "BaseException"} & set(caught.strip("()").replace(",", " ").split()):
            wrong.append(f"{module.shown}:{handler.lineno}: except {caught}")
    assert wrong == []


def test_only_the_command_line_prints_and_exits() -> None:
    ending = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort"}
    outside = {module.name for module in modules() if module.layer in {"cli", "__main__"}}
    assert _calls(lambda name, _: name in ending, outside=outside) == []


def test_no_bare_error_is_raised_to_a_person() -> None:
    bare = {"Exception", "BaseException", "RuntimeError", "SystemExit"}
    wrong = [
        f"{module.shown}:{node.lineno}"
        for module in modules()
        if module.layer not in {"cli", "__main__"}
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and ast.unparse(node.exc.func if isinstance(node.exc, ast.Call) else node.exc) in bare
    ]
    assert wrong == []


def test_the_clock_of_the_system_is_asked_only_where_values_are_handed_inwards() -> None:
    asking = {"datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today", "time.time", "time.monotonic"}
    allowed = {module.name for module in modules() if module.layer in {"device", "simulate", "packager", "cli"}}
    assert _calls(lambda name, _: name in asking, outside=allowed) == []


def test_nothing_is_unpickled_evaluated_or_executed() -> None:
    imports = [
        f"{module.shown}:{line}: {name}"
        for module in modules()
        for line, name in module.imports()
        if name.split(".")[0] in {"pickle", "marshal", "shelve", "yaml", "xml"}
    ]
    assert imports == []
    assert _calls(lambda name, _: name in {"eval", "exec", "compile", "__import__"}, outside=set()) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
    assert [module.shown for module in modules() if module.path.stem in empty] == []
