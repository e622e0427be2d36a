"""House rules about rooms: which file of a crate may name which, and where `unsafe` and system calls live."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from repository import CORE, PY, ROOT, code_of, files, lines_with, shown, without_comments_and_strings

Table = dict[str, set[str]]

# What each room of the core may name of the others. A room is a file or a folder of src/.
CORE_ROOMS: Table = {
    "sync": set(),
    "sys": {"sync"},
    "buffer": set(),
    "clock": {"sys"},
    "file": {"sys"},
    "fork": {"sys"},
    "library": {"sys"},
    "net": {"sys"},
    "pipe": {"sys"},
    "signal": {"sys"},
    "wake": {"sync", "sys", "fork"},
    "scheduler": {"sync", "wake"},
    "reactor": {"sys", "wake", "fork"},
    "workers": {"sync", "sys", "fork"},
    "process": {"sys"},
}

# The same for the extension module. `event_loop` is the hub: an entry of its queue is a step of a task, a
# future's callback, a transport's I/O, run without a Python call in between. So it and these four name each
# other, and HUB bounds what they may name of it.
PY_ROOMS: Table = {
    "ffi": set(),
    "interop": {"ffi"},
    "exceptions": {"interop"},
    "coroutines": {"ffi", "interop", "exceptions"},
    "locks": {"ffi", "interop", "exceptions", "coroutines", "futures", "event_loop"},
    "queues": {"ffi", "interop", "exceptions", "coroutines", "futures", "locks"},
    "streams": {
        *("ffi", "interop", "exceptions", "coroutines", "futures", "locks", "event_loop"),
        *("transports", "subprocess", "tasks"),
    },
    "subprocess": {
        *("ffi", "interop", "exceptions", "coroutines", "futures", "event_loop", "tasks"),
        "streams",
    },
    "handles": {"ffi", "interop", "exceptions", "event_loop"},
    "futures": {"ffi", "interop", "exceptions", "coroutines", "event_loop", "tasks"},
    "tasks": {"ffi", "interop", "exceptions", "coroutines", "event_loop", "futures"},
    "timeouts": {"ffi", "interop", "exceptions", "coroutines", "event_loop", "futures", "tasks"},
    "taskgroups": {"ffi", "interop", "exceptions", "coroutines", "event_loop", "futures", "tasks"},
    "threads": {"ffi", "interop", "coroutines", "tasks"},
    "graph": {"ffi", "interop", "futures"},
    "transports": {
        *("ffi", "interop", "exceptions", "coroutines", "handles", "futures", "event_loop"),
        "streams",
    },
    "event_loop": {
        *("ffi", "interop", "exceptions", "coroutines", "handles", "futures", "tasks", "transports"),
        "all_tasks",
    },
    "all_tasks": {"interop", "tasks", "event_loop"},
    "policy": {"event_loop"},
    "runners": {"ffi", "interop", "exceptions", "policy", "install"},
    "install": set(),
}
HUB = {
    *("Loop", "Ready", "Source", "Server", "current_loop"),
    *("TaskOptions", "NativeTimer", "TimerAction", "Alarm"),
}
FUTURE_OF_A_TASK = {"Task", "TaskWakeup"}
# Received bytes go from one to the other without a Python call.
STREAMS_OF_TRANSPORTS = {"StreamReader", "StreamReaderProtocol"}
TRANSPORTS_OF_STREAMS = {"direct"}

# The files of event_loop/ that know what a transport is.
NAME_TRANSPORTS = {
    *("mod", "run", "entries", "watch", "connect", "datagram", "pipes", "serve", "tls", "server/listener"),
    *("resolve/answer", "sendfile"),
    *("subprocess", "children"),
}

# interop.rs takes asyncio's names once, at import. The files that import asyncio beside it, and why.
IMPORT_ASYNCIO = {
    "interop": "its job",
    "interop/groups": "its job, in part",
    "interop/registry": "its job, for what is taken when the first loop is made",
    "interop/streams": "its job, for streams",
    "install": "replaces the names in asyncio's modules",
    "policy": "derives classes from asyncio's",
    "event_loop/debug": "reads constants and switches at the time they are asked for",
    "event_loop/schedule": "asks get_event_loop() as it is now, which install() may have replaced",
}

UNSAFE_ROOMS = (CORE / "sys", PY / "ffi")


def room_of(path: Path, source: Path) -> str:
    return path.relative_to(source).parts[0].removesuffix(".rs")


def rooms_named(code: str) -> set[str]:
    """The rooms after `crate::`, in braces or not."""
    named = set(re.findall(r"\bcrate::(\w+)", code))
    for group in re.findall(r"\bcrate::\{(.*?)\};", code, re.DOTALL):
        named |= set(re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\{.*?\}", "", group, flags=re.DOTALL)))
    return named


def names_taken(code: str, room: str) -> set[str]:
    """What code takes out of a room: `crate::room::Name`, `crate::room::{A, B}`, `room::Name`."""
    taken = set(re.findall(rf"\b{room}::(\w+)", code))
    for group in re.findall(rf"\b{room}::\{{(.*?)\}}", code, re.DOTALL):
        taken |= set(re.findall(r"\w+", group)) - {"self"}
    return taken


def wrong_edges(source: Path, table: Table) -> list[str]:
    found = []
    for path in files(".rs", under=source):
        room = room_of(path, source)
        if room == "lib":
            continue
        code = code_of(path)
        found += [f"{shown(path)} names {name}" for name in rooms_named(code) - table[room] - {room}]
        if path.parent == source and "super::" in code:
            found.append(f"{shown(path)} names the crate's root through `super`")
    return found


@pytest.mark.parametrize(("source", "table"), [(CORE, CORE_ROOMS), (PY, PY_ROOMS)], ids=["core", "py"])
def test_rooms_name_only_the_rooms_they_may(source: Path, table: Table) -> None:
    rooms = {room_of(path, source) for path in files(".rs", under=source)} - {"lib"}
    assert rooms == set(table), "the table lists every room, and no other"
    assert wrong_edges(source, table) == []


def test_no_edge_of_the_tables_is_unused_in_the_core() -> None:
    used: Table = {room: set() for room in CORE_ROOMS}
    for path in files(".rs", under=CORE):
        if room_of(path, CORE) != "lib":
            used[room_of(path, CORE)] |= rooms_named(code_of(path))
    assert {room: allowed - used[room] for room, allowed in CORE_ROOMS.items() if allowed - used[room]} == {}


def test_the_rest_of_the_module_names_only_the_hub_s_door() -> None:
    for path in files(".rs", under=PY):
        room = room_of(path, PY)
        if room not in {"event_loop", "lib"}:
            assert names_taken(code_of(path), "event_loop") <= HUB, shown(path)
        if room == "futures":
            assert names_taken(code_of(path), "crate::tasks") <= FUTURE_OF_A_TASK, shown(path)
        if room == "transports":
            assert names_taken(code_of(path), "crate::streams") <= STREAMS_OF_TRANSPORTS, shown(path)
        if room == "streams":
            assert names_taken(code_of(path), "crate::transports") <= TRANSPORTS_OF_STREAMS, shown(path)


def test_few_files_of_the_loop_name_transports() -> None:
    under = PY / "event_loop"
    naming = {path for path in files(".rs", under=under) if "crate::transports" in code_of(path)}
    assert {path.relative_to(under).as_posix().removesuffix(".rs") for path in naming} <= NAME_TRANSPORTS


def test_asyncio_is_imported_where_the_table_says() -> None:
    # The names are in strings, which `code_of` blanks.
    pattern = r'import\((?:intern!\(py, )?"_?asyncio[."]|(?:take|class)\("asyncio[."]'
    importing = {path for path in files(".rs", under=PY) if re.search(pattern, path.read_text())}
    assert {path.relative_to(PY).as_posix().removesuffix(".rs") for path in importing} == set(IMPORT_ASYNCIO)


def test_the_core_never_names_python() -> None:
    for path in files(".rs", under=CORE):
        assert list(lines_with(r"\bpyo3\b|\bPy(?:Any|Result|Err)\b", code_of(path))) == [], shown(path)


def test_system_calls_are_named_in_the_core_s_sys_only() -> None:
    pattern = r"\b(?:libc|rustix|io_uring)::|\buse (?:libc|rustix|io_uring)\b"
    outside = [path for path in files(".rs", under=ROOT / "crates") if UNSAFE_ROOMS[0] not in path.parents]
    for path in outside:
        if CORE.parent / "tests" not in path.parents:
            assert list(lines_with(pattern, without_comments_and_strings(path.read_text()))) == [], shown(
                path
            )


def test_unsafe_code_lives_in_two_rooms() -> None:
    for path in files(".rs"):
        if not any(room in path.parents for room in UNSAFE_ROOMS):
            code = without_comments_and_strings(path.read_text())
            assert list(lines_with(r"\bunsafe\b(?!_)", code)) == [], shown(path)


def test_each_of_the_two_rooms_is_opened_once() -> None:
    openings = [
        shown(path)
        for path in files(".rs")
        for _ in re.findall(
            r"(?:allow|expect)\(\s*unsafe_code", without_comments_and_strings(path.read_text())
        )
    ]
    assert openings == [shown(room / "mod.rs") for room in UNSAFE_ROOMS]


def test_no_unsafe_function_leaves_its_room() -> None:
    for room in UNSAFE_ROOMS:
        for path in files(".rs", under=room):
            # `pub(super)` stays inside of the room only below its mod.rs.
            pattern = r"\bpub(?!\(super\)|\(in )(?:\([^)]*\))? (?:const )?unsafe "
            assert list(lines_with(pattern, without_comments_and_strings(path.read_text()))) == [], shown(
                path
            )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("use crate::sys;", {"sys"}),
        ("use crate::{fork, sys};", {"fork", "sys"}),
        ("use crate::{\n    fork::{a, b},\n    sys,\n};", {"fork", "sys"}),
        ("let x: crate::wake::Waker = crate::clock::now();", {"wake", "clock"}),
        ("use std::io;", set()),
    ],
)
def test_rooms_named_are_found(code: str, expected: set[str]) -> None:
    assert rooms_named(code) == expected


def test_prose_is_not_code() -> None:
    source = 'let a = "crate::sys"; // crate::net\n/* crate::wake */ let b = r#"crate::fork"#;\n'
    assert rooms_named(without_comments_and_strings(source)) == set()
    assert "crate::sys" in without_comments_and_strings("let c = '\"'; use crate::sys; let d = '\"';")
