"""Registries: a text names one thing of a kind with its settings, whoever wrote it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from netwright.core.errors import CallError, NetwrightError, RecipeError
from netwright.core.registry import MISSING, Registry, find_object, read_value, split, write_value

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]


class Toy:
    """The base of the kind."""


@dataclass(frozen=True)
class Ball(Toy):
    size: int = 3
    weight: float = 0.5
    soft: bool = False
    colour: Literal["red", "blue"] = "red"
    label: str | None = None
    spots: tuple[float, float] = (1.0, 2.0)
    rings: tuple[int, ...] = ()
    many: list[int] = field(default_factory=lambda: [1])
    file: Path = Path("ball")
    made: Any = field(default=None, init=False)


class Plain(Toy):
    def __init__(self, speed: "int | Unknown" = 1, name="x", *, strength: float, helper: object = None) -> None:
        self.speed, self.name, self.strength = speed, name, strength


def simple(size=2, on=True, nothing=None) -> Ball:
    """A function that makes one; without types."""
    if size == 13:
        raise KeyError("unlucky")
    if size == 14:
        raise RecipeError("14 is not allowed; take 15")
    return Ball(size=int(size * 2), soft=on, label=nothing)


class Stone:
    """No toy."""


@pytest.fixture
def toys() -> Registry[Toy]:
    return Registry("toy", Toy, "netwright", {"ball": f"{__name__}.x:Ball"})


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module by names with and without a dot."""
    monkeypatch.setitem(sys.modules, f"{__name__}.x", sys.modules[__name__])
    monkeypatch.setitem(sys.modules, "toybox", sys.modules[__name__])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that brings toys."""
    about = tmp_path / "toys-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[netwright.toys]\nplain = toybox:Plain\nball = toybox:Stone\nbroken = no_such_package:Toy\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield


def test_names_and_settings(toys: Registry[Toy]) -> None:
    assert toys.names() == ["ball"] and toys.make("ball") == Ball()
    assert toys.make(" ball , size = 4,weight=1,soft=true") == Ball(size=4, weight=1.0, soft=True)
    assert toys.make("ball,colour=blue,label=none,file=a/b") == Ball(colour="blue", file=Path("a/b"))
    assert toys.make("ball,label=none such,spots=(0.5,1e3),rings=(1,2,3),many=[4]") == Ball(
        label="none such", spots=(0.5, 1000.0), rings=(1, 2, 3), many=[4]
    )
    assert toys.make("ball,rings=7").rings == (7,) and toys.make("ball,rings=()").rings == ()  # type: ignore[attr-defined]
    assert toys.settings("ball")["size"] == (int, 3)
    assert toys.settings("ball")["many"] == (list[int], [1])
    assert "made" not in toys.settings("ball")


def test_objects_are_given_back(toys: Registry[Toy]) -> None:
    ball = Ball(size=9)
    assert toys.make(ball) is ball


def test_settings_that_are_at_hand_hold_where_the_text_gives_none(toys: Registry[Toy]) -> None:
    assert toys.make("ball", size=9, unknown=1) == Ball(size=9)
    assert toys.make("ball,size=4", size=9, weight=2.5) == Ball(size=4, weight=2.5)
    assert toys.make(f"{__name__}:Plain", strength=2.0).strength == 2.0  # type: ignore[attr-defined]


def test_a_text_may_stand_in_brackets_within_another(toys: Registry[Toy]) -> None:
    outer = Ball(label="ball,size=4")
    assert toys.text(outer) == "ball,label=(ball,size=4)"
    inner = toys.make(toys.text(outer)).label  # type: ignore[attr-defined]
    assert inner == "(ball,size=4)" and toys.make(inner) == Ball(size=4)


def test_names_and_settings_are_checked_without_making_anything(toys: Registry[Toy]) -> None:
    unlucky = f"{__name__}:simple,size=13"
    toys.check(unlucky, make=False)
    with pytest.raises(CallError, match="unlucky"):
        toys.check(unlucky)
    with pytest.raises(CallError, match="'sise'; did you mean 'size'"):
        toys.check("ball,sise=3", make=False)


def test_text_is_the_inverse(toys: Registry[Toy]) -> None:
    for ball in (Ball(), Ball(size=5, soft=True, spots=(0.0, 1.5)), Ball(rings=(4,), label="x", file=Path("f"))):
        assert toys.make(toys.text(ball)) == ball
    assert toys.text(Ball()) == "ball"
    assert toys.text(Ball(size=5, soft=True, rings=(1, 2))) == "ball,size=5,soft=true,rings=(1,2)"


def test_a_class_of_ones_own(toys: Registry[Toy]) -> None:
    made = toys.make("toybox:Plain,speed=3,strength=2,name=a=b")
    assert isinstance(made, Plain) and (made.speed, made.strength, made.name) == (3, 2, "a=b")
    assert toys.text(made) == f"{__name__}:Plain,speed=3,name=a=b,strength=2.0"
    assert toys.settings("toybox:Plain")["strength"][1] is MISSING


def test_a_function_that_makes_one(toys: Registry[Toy]) -> None:
    assert toys.make("toybox:simple") == Ball(size=4, soft=True)
    assert toys.make("toybox:simple,size=1.5,on=false,nothing=none") == Ball(size=3)
    cls, given = toys.parse("toybox:simple,size=1.5")
    assert cls is simple and given == {"size": 1.5}


def test_installed_packages(toys: Registry[Toy], package: None) -> None:
    assert toys.names() == ["ball", "broken", "plain"]
    made = toys.make("plain,strength=1")
    assert isinstance(made, Plain) and toys.make("ball") == Ball()
    with pytest.raises(CallError, match=r"broken.*cannot import no_such_package:Toy of toys.*No module named"):
        toys.make("broken")


@pytest.mark.parametrize(
    "text, words",
    [
        ("bal", "there is no toy 'bal'; did you mean 'ball'?"),
        ("wheel", "there is no toy 'wheel'; known are: ball, or module:Class"),
        ("", "'' names no toy; known are: ball"),
        (",size=3", "names no toy"),
        ("ball,siz=3", "ball has no setting 'siz'; did you mean 'size'?"),
        ("ball,size", "'size' in 'ball,size' is no setting of the toy ball: write name=value"),
        ("ball,", "'' in 'ball,' is no setting"),
        ("ball,size=2,size=3", "gives size twice"),
        ("ball,size=2.5", "ball: size must be a whole number, not '2.5'"),
        ("ball,size=", "ball: size must be a whole number, not ''"),
        ("ball,weight=heavy", "weight must be a number, not 'heavy'"),
        ("ball,weight=nan", "weight must be a number, not 'nan'"),
        ("ball,soft=yes", "soft must be true or false, not 'yes'"),
        ("ball,colour=green", "colour must be one of red, blue, not 'green'"),
        ("ball,spots=(1,2,3)", "spots must be 2 values such as"),
        ("ball,rings=(1,x)", "rings must be values such as"),
        ("ball,made=3", "ball has no setting 'made'"),
        ("toybox:Bal", "has no 'Bal'; did you mean 'Ball'?"),
        ("toybox:", "write module:Class, not 'toybox:'"),
        ("no_such_box:Toy", "cannot import 'no_such_box'"),
        ("toybox:TYPE_CHECKING", "is of type bool, not a class"),
        ("toybox:Plain", "needs 'strength' as well: toybox:Plain,strength=..."),
        ("toybox:Plain,strength=1,helper=x", "helper must be given in Python, as object"),
        ("toybox:Stone", "gives a Stone, which is no toy: derive it from"),
        ("toybox:simple,size=13", "'toybox:simple,size=13' cannot be made: KeyError: 'unlucky'"),
        ("toybox:simple,size=14", "14 is not allowed; take 15"),
        (3, "a toy is an object of that kind or a text such as 'ball', not 3"),
        (Toy, "a text such as 'ball', not the class Toy"),
        (str, "a text such as 'ball', not the class str"),
    ],
)
def test_mistakes(toys: Registry[Toy], text: Any, words: str) -> None:
    with pytest.raises(NetwrightError) as caught:
        toys.make(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_is_one_with_its_default_settings(toys: Registry[Toy]) -> None:
    assert toys.make(Ball) == toys.make("ball")


def test_the_type_of_error_is_the_kinds_own() -> None:
    strict: Registry[Toy] = Registry("toy", Toy, "netwright", {}, error=RecipeError)
    with pytest.raises(RecipeError, match="none are known"):
        strict.make("ball")


@pytest.mark.parametrize(
    "kind, group",
    [("strategy", "strategies"), ("task", "tasks"), ("report section", "report_sections")],
)
def test_groups(kind: str, group: str) -> None:
    assert Registry[Toy](kind, Toy, "x", {}).group == f"netwright.{group}"
    criteria: Registry[Toy] = Registry("importance criterion", Toy, "x", {}, plural="importance_criteria")
    assert criteria.group == "netwright.importance_criteria"


@pytest.mark.parametrize("value", [None, True, 0, -3, 0.1, 1e-9, "a text", (1, 2), (0.5,), ()])
def test_values_are_read_as_they_are_written(value: Any) -> None:
    kind = type(value)
    assert read_value(write_value(value), kind) == value


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("3", int | str, 3), ("x", int | str, "x"), ("none", str | None, None), ("3", float, 3.0),
        ("false", bool | float, False), ("0", Literal[0, 1], 0), ("2", int | float, 2), ("3", Any, 3),
    ],
)  # fmt: skip
def test_the_narrowest_type_reads(text: str, kind: Any, value: Any) -> None:
    found = read_value(text, kind)
    assert found == value and type(found) is type(value)


def test_brackets_hold_together() -> None:
    assert split("a,b=(1,2),c=[(3,4),5],d") == ["a", "b=(1,2)", "c=[(3,4),5]", "d"]


def test_functions_are_found() -> None:
    assert find_object("toybox:simple", "model", RecipeError) is simple
    with pytest.raises(RecipeError, match=r"model: write module:function, not 'simple'"):
        find_object("simple", "model", RecipeError)
