"""Archives of strangers: nothing of theirs runs, whatever torch would make of it."""

import contextlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netwright.core.errors import BundleError
from netwright.formats.pt2 import load_pt2, write_pt2
from netwright.formats.pt2_archive import FORCED, refuse_programs

DOES = "__import__('pathlib').Path('ran').touch()"
"""What the programs of these tests do in the folder that they are opened in."""
Members = dict[str, bytes]
PROGRAM, INPUTS = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"


class Pickled:
    """Runs when it is unpickled, and gives what torch wants at its place."""

    def __reduce__(self) -> Any:
        return eval, (f"({DOES}, (((), {{}})))[1]",)


def saved(value: Any, **how: Any) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, **how)
    return content.getvalue()


class Net(nn.Module):
    """A network with a constant and free sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.ones(4, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) * self.scale).reshape(x.shape[0] * 2 // 2, -1)


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@cache
def plain() -> Members:
    free = torch.export.Dim.AUTO
    program = torch.export.export(
        Net().eval(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: free, 2: free, 3: free},)
    )
    torch.export.save(program, "model.pt2")
    return members_of(Path("model.pt2"))


@cache
def old() -> Members:
    """An archive of torch before 2.8."""
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    found = serialize(torch.export.export(Net().eval(), (torch.randn(2, 3, 8, 8),)))
    return {
        "version": ".".join(map(str, SCHEMA_VERSION)).encode(),
        "serialized_exported_program.json": found.exported_program,
        "serialized_state_dict.pt": found.state_dict,
        "serialized_constants.pt": found.constants,
        "serialized_example_inputs.pt": found.example_inputs,
    }


def packed(members: Members, folder: str = "model/") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(folder + name, member)
    return content.getvalue()


def edited(name: str, edit: Callable[[Any], Any], **more: bytes) -> Members:
    about = json.loads(plain()[name])
    edit(about)
    return {**plain(), name: json.dumps(about).encode(), **{k.replace("__", "/"): v for k, v in more.items()}}


def replaced(what: str, by: str, name: str = PROGRAM) -> Members:
    """A text of a program, wherever it stands, is another one."""
    content = plain()[name].decode()
    assert json.dumps(what) in content
    return {**plain(), name: content.replace(json.dumps(what), json.dumps(by)).encode()}


def called(target: str, *arguments: dict[str, Any]) -> Members:
    """A program with one more node, of which the output is the network's."""

    def edit(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        node = {**graph["nodes"][-1], "target": target, "name": "evil"}
        node["inputs"] = [{"name": "", "arg": each, "kind": 1} for each in arguments]
        graph["nodes"][-1] = node

    return edited(PROGRAM, edit)


def first_payload(**about: Any) -> Callable[[Any], None]:
    return lambda config: next(iter(config["config"].values())).update(about)


def structure(context: Any, kind: str = "builtins.tuple") -> Callable[[Any], None]:
    def edit(program: Any) -> None:
        leaf = {"type": None, "context": None, "children_spec": []}
        for entry in program["graph_module"]["module_call_graph"]:
            if entry["signature"]:
                spec = {"type": kind, "context": context, "children_spec": [leaf]}
                entry["signature"]["out_spec"] = json.dumps([1, spec])

    return edit


def expression(text: str) -> Members:
    content = plain()[PROGRAM].decode()
    start = content.index('"expr_str": "') + len('"expr_str": ')
    end = content.index('"', start + 1) + 1
    whole = f"{text} or {json.loads(content[start:end])}"
    return {**plain(), PROGRAM: (content[:start] + json.dumps(whole) + content[end:]).encode()}


RUN: dict[str, Callable[[], Members]] = {
    "example inputs": lambda: {**plain(), INPUTS: saved(Pickled())},
    "of another protocol": lambda: {**plain(), INPUTS: saved(Pickled(), pickle_protocol=4)},
    "not zipped": lambda: {**plain(), INPUTS: saved(Pickled(), _use_new_zipfile_serialization=False)},
    "weights": lambda: {**plain(), "data/weights/model.pt": saved(Pickled())},
    "constants": lambda: {**plain(), "data/constants/model.pt": saved(Pickled())},
    "one weight": lambda: edited(
        WEIGHTS, first_payload(use_pickle=True, path_name="weight_9"), data__weights__weight_9=saved(Pickled())
    ),
    "one constant": lambda: edited(
        CONSTANTS, first_payload(use_pickle=1, path_name="tensor_9"), data__constants__tensor_9=saved(Pickled())
    ),
    "an object": lambda: edited(
        CONSTANTS,
        first_payload(use_pickle=True, path_name="opaque_obj_0"),
        data__constants__opaque_obj_0=pickle.dumps(Pickled()),
    ),
    "a guard": lambda: edited(PROGRAM, lambda program: program.update(guards_code=[f"{DOES} or True"])),
    "an expression": lambda: expression(DOES),
    "a name": lambda: replaced("x", f"x=({DOES})"),
}
"""Archives that torch.export.load, or what it returns, runs."""

REFUSED: dict[str, Callable[[], Members]] = {
    **RUN,
    "a function": lambda: called("torch.os.system", {"as_string": "touch ran"}),
    "a function of operator": lambda: called("_operator.methodcaller", {"as_string": "touch"}),
    "another function of torch": lambda: called("torch.ops.load_library", {"as_string": "ran.so"}),
    "a method": lambda: called("torch.ops.aten._dir.append", {"as_string": "ran"}),
    "a file": lambda: called(
        "torch.ops.aten.from_file.default", {"as_string": "ran"}, {"as_bool": True}, {"as_int": 1}
    ),
    "an operator of others": lambda: called("torch.ops.mine.op.default"),
    "an operator as an argument": lambda: called("torch.ops.higher_order.cond", {"as_operator": "torch.os.system"}),
    "machine code": lambda: {**plain(), "data/aotinductor/model/model.wrapper.so": b"\x7fELF"},
    "a custom object": lambda: {**plain(), "data/constants/custom_obj_0": b""},
    "an unknown file": lambda: {**plain(), "data/others/x": b""},
    "an imported enumeration": lambda: edited(PROGRAM, structure('{"__enum__": true, "fqn": "m:X", "name": "X"}')),
    "an imported default": lambda: edited(PROGRAM, structure("{}", "collections.defaultdict")),
    "quotes in a key": lambda: edited(PROGRAM, structure(json.dumps(['"']), "builtins.dict")),
    "a quote in a guard": lambda: edited(PROGRAM, lambda p: p.update(guards_code=["L['x'].size()[0] != '\" or 1'"])),
    "an attribute in a guard": lambda: edited(PROGRAM, lambda p: p.update(guards_code=["L['x'].__class__ == 1"])),
    "a huge power": lambda: expression("9" * 50),
    "a line in a name": lambda: replaced("conv.weight", 'conv.weight")\nopen("ran", "w")#'),
    "a line in a comment": lambda: edited(
        PROGRAM, lambda p: p["graph_module"]["graph"]["nodes"][0]["metadata"].update(torch_fn="f\nopen('ran', 'w')")
    ),
    "an attribute of every object": lambda: replaced("conv.weight", "__class__.weight"),
    "an unknown text": lambda: edited(PROGRAM, lambda p: p.update(more="text")),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", RUN)
def test_torch_runs_them(case: str) -> None:
    Path("evil.pt2").write_bytes(packed(RUN[case]()))
    with contextlib.suppress(BundleError):  # what comes out of a pickle is not always what torch wants
        load_pt2(Path("evil.pt2"), trust=True)(torch.randn(2, 3, 8, 8))
    assert Path("ran").exists()


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    Path("evil.pt2").write_bytes(packed(REFUSED[case]()))
    with pytest.raises(BundleError, match=r"^evil\.pt2 is a program, not only data: .* with --trust$") as caught:
        load_pt2(Path("evil.pt2"))
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "name", ["serialized_state_dict.pt", "serialized_constants.pt", "serialized_example_inputs.pt"]
)
def test_archives_of_before(name: str) -> None:
    Path("good.pt2").write_bytes(packed(old(), ""))
    assert load_pt2(Path("good.pt2"))(torch.randn(2, 3, 8, 8)).shape == (2, 144)
    Path("evil.pt2").write_bytes(packed({**old(), name: saved(Pickled())}, ""))
    with pytest.raises(BundleError, match=rf"{name} is a pickle that calls builtins\.eval"):
        load_pt2(Path("evil.pt2"))
    assert not Path("ran").exists()
    with pytest.raises(BundleError, match="cannot load"):
        load_pt2(Path("evil.pt2"), trust=True)
    assert Path("ran").exists()


def test_names_that_differ_in_capitals() -> None:
    """torch finds the one by the other."""
    members = edited(
        WEIGHTS, first_payload(use_pickle=True, path_name="WEIGHT_0"), data__weights__weight_0=saved(Pickled())
    )
    Path("evil.pt2").write_bytes(packed(members))
    with pytest.raises(BundleError, match="it has no data/weights/WEIGHT_0"):
        load_pt2(Path("evil.pt2"))
    with contextlib.suppress(BundleError):
        load_pt2(Path("evil.pt2"), trust=True)
    assert Path("ran").exists()


def test_two_archives_in_one() -> None:
    """torch reads archives of now from one folder, and those of before from none: each sees one of the two."""
    both = {**{f"extra_files/{name}": each for name, each in plain().items()}, **old()}
    Path("evil.pt2").write_bytes(packed({**both, "extra_files/models/model.json": b"{}"}, ""))
    with pytest.raises(BundleError, match="it holds extra_files/"):
        load_pt2(Path("evil.pt2"))


def test_only_weights_are_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is overlooked does not run either."""
    monkeypatch.setattr("netwright.formats.pt2.refuse_programs", lambda path: None)
    Path("evil.pt2").write_bytes(packed({**plain(), INPUTS: saved(Pickled())}))
    with pytest.raises(BundleError, match="cannot load"):
        load_pt2(Path("evil.pt2"))
    assert not Path("ran").exists() and FORCED not in os.environ


class Branches(nn.Module):
    """Control flow, a dict of outputs, keys that are no names, sizes that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"a-b": nn.Linear(4, 4)})

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Any]:
        y = self.layers["a-b"](x * mask)
        doubled = torch.cond(y.sum() > 0, lambda v: v * 2, lambda v: v + 1, (y,))
        return {"two words": doubled, "half": (y[: y.shape[0] // 2 + 1], torch.arange(x.shape[0] * 3).float())}


def test_what_netwright_writes_is_data() -> None:
    """As are all archives that tests/formats/test_exported_files.py loads."""
    write_pt2(Branches(), {"x": torch.randn(3, 4), "mask": torch.ones(3, 4)}, Path("model.pt2"))
    refuse_programs(Path("model.pt2"))


def test_damaged_in_words() -> None:
    os.mkfifo("pipe.pt2")
    Path("none.pt2").write_bytes(b"")
    Path("bomb.pt2").write_bytes(packed({**plain(), PROGRAM: b"[" * 100_000}))
    for name in ("pipe.pt2", "none.pt2", "bomb.pt2", "missing.pt2"):
        with pytest.raises(BundleError, match=f"^{name} is no archive of torch.export that can be read"):
            load_pt2(Path(name))


CHANGES = st.tuples(st.sampled_from(["flip", "flip", "cut"]), st.floats(0, 0.999999), st.integers(0, 7))


def check_damaged(change: tuple[str, float, int], name: str) -> None:
    """A damaged archive is refused, or read as an archive that is none: nothing else."""
    members = dict(plain())
    content = members.get(name) or packed(members)
    at = int(change[1] * len(content))
    content = content[:at] + (bytes([content[at] ^ 1 << change[2]]) + content[at + 1 :] if change[0] == "flip" else b"")
    Path("damaged.pt2").write_bytes(packed({**members, name: content}) if name in members else content)
    try:
        refuse_programs(Path("damaged.pt2"))
    except BundleError as error:
        assert "\n" not in str(error)


PLACES = st.sampled_from(["", "", PROGRAM, INPUTS, WEIGHTS, "archive_format"])


@settings(max_examples=150)
@given(CHANGES, PLACES)
def test_damaged(change: tuple[str, float, int], name: str) -> None:
    check_damaged(change, name)


@pytest.mark.slow
@settings(max_examples=4000)
@given(CHANGES, PLACES)
def test_damaged_often(change: tuple[str, float, int], name: str) -> None:
    check_damaged(change, name)
