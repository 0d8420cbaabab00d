"""`make_record` makes what `dataclasses.dataclass` makes of the same class, on every Python."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import pprint
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from graphflow.framework.records import make_record

T = TypeVar("T")
Make = Callable[..., Any]


def plain() -> type:
    class Plain:
        x: int
        y: str = "a"
        z: list[int] = field(default_factory=list, repr=False)
        shared: ClassVar[int] = 3

        def double(self) -> int:
            return 2 * self.x

    return Plain


def computed() -> type:
    class Computed:
        """With what is worked out afterwards."""

        x: int
        twice: int = field(init=False)
        label: str = field(default="l", compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.x)

    return Computed


def own_methods() -> type:
    class Own:
        x: int
        y: float = 1.5

        def __eq__(self, other: object) -> bool:
            return self is other

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "own"

    return Own


def equal_by_hand() -> type:
    class EqualByHand:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

    return EqualByHand


def generic() -> type:
    class Box(Generic[T]):
        item: T

    return Box


def empty() -> type:
    class Empty:
        pass

    return Empty


BODIES = [plain, computed, own_methods, equal_by_hand, generic, empty]
OPTIONS = [
    {"frozen": frozen, "slots": slots, "eq": eq} for frozen in (False, True) for slots in (False, True) for eq in (True, False)
]


def ours(cls: type, **options: bool) -> Any:
    return make_record(cls, **options)


def theirs(cls: type, **options: bool) -> Any:
    return dataclass(**options)(cls)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as e:
        return type(e)


def refused(call: Callable[[], Any]) -> bool:
    """Whether it cannot be done. The standard library's frozen classes with slots say TypeError for unknown names."""
    return outcome(call) in (dataclasses.FrozenInstanceError, AttributeError, TypeError)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("body", BODIES, ids=lambda b: b.__name__)
def test_like_dataclass(body: Callable[[], type], options: dict[str, bool]) -> None:
    def facts(made: Any) -> list[Any]:
        names = [f.name for f in dataclasses.fields(made)]
        first = {"x": 1} if "x" in names else {"item": 1} if "item" in names else {}
        a, b = made(**first), made(**first)
        other = made(*({"x": 2, "item": 2}[k] for k in first))
        found = [
            names,
            [(f.init, f.repr, f.compare, f.type) for f in dataclasses.fields(made)],
            made.__match_args__,
            repr(a),
            a == b,
            a == other,
            a != other,
            a == 1,
            outcome(lambda: hash(a) == hash(b)),
            outcome(lambda: dataclasses.replace(a, **dict.fromkeys(first, 5)) == made(**dict.fromkeys(first, 5))),
            outcome(lambda: dataclasses.asdict(a)),
            repr(copy.copy(a)),
            repr(copy.deepcopy(a)),
            refused(lambda: setattr(a, next(iter(names), "x"), 9)),
            refused(lambda: setattr(b, "unknown", 9)),
            refused(lambda: delattr(other, next(iter(names), "x"))),
            outcome(lambda: made(1, 2, 3, 4, 5)),
            outcome(lambda: made(nothing=3)),
            outcome(lambda: made()),
            hasattr(a, "__dict__"),
            dataclasses.is_dataclass(made),
            made.__qualname__,
            [k for k in ("double", "shared", "__hash__") if hasattr(made, k)],
        ]
        return found

    mine, stdlib = facts(ours(body(), **options)), facts(theirs(body(), **options))
    for a, b in zip(mine, stdlib, strict=True):
        if not (dataclasses.is_dataclass(a) or dataclasses.is_dataclass(b)):
            assert a == b


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_bases(frozen: bool, slots: bool) -> None:
    def family(make: Make) -> list[Any]:
        class Base:
            a: int
            b: int = 2

        base = make(Base, frozen=frozen, slots=slots, eq=True)

        class Derived(base):  # type: ignore[misc]
            b: int = 3
            c: int = 4

        made = make(Derived, frozen=frozen, slots=slots, eq=True)
        plain = type("Plain", (made,), {})
        again = make(type("Again", (made,), {"__annotations__": {"d": "int"}, "d": 9, "__module__": __name__}),
                     frozen=frozen, slots=slots, eq=True)  # fmt: skip
        things = [base(1), made(1), plain(1), again(1)]
        if make is ours:  # the standard library's, with slots, refuses it for want of the right class
            things[2].more = 1
        return [
            [(t.a, t.b, getattr(t, "c", None), getattr(t, "d", None)) for t in things],
            [[s == t for s in things] for t in things],
            [repr(t).split(".")[-1] for t in things],
            [type(t).__match_args__ for t in things],
            [refused(lambda t=t: setattr(t, "a", 1)) for t in things],
            [hasattr(t, "__dict__") for t in things],
        ]

    assert family(ours) == family(theirs)


def test_mixes_with_the_standard_library() -> None:
    class Base:
        a: int

    base = ours(Base, frozen=True, slots=True, eq=True)

    class Derived(base):  # type: ignore[misc]
        b: int = 1

    assert theirs(Derived, frozen=True, slots=True, eq=True)(4).a == 4
    with pytest.raises(TypeError, match="frozen"):

        class Thawed(base):  # type: ignore[misc]
            b: int = 1

        theirs(Thawed, frozen=False, slots=False, eq=True)


class Pickled:
    x: int
    y: tuple[int, ...] = ()


Pickled = make_record(Pickled, frozen=True, slots=True, eq=True)  # type: ignore[misc]


def test_pickle_and_patterns() -> None:
    made: Any = Pickled
    assert pickle.loads(pickle.dumps(made(1, (2,)))) == made(1, (2,))
    match made(3, (4,)):
        case made(x, (y,)):
            assert (x, y) == (3, 4)
        case _:
            pytest.fail("no match")


def test_pretty_printing() -> None:
    class Long:
        first: str
        second: str = "b" * 50

    made = ours(Long, frozen=True, slots=True, eq=True)("a" * 50)
    assert pprint.pformat(made, width=40) == repr(made)


def test_an_inherited_default() -> None:
    class Base:
        b = 3

    class Derived(Base):
        a: int
        b: int

    assert ours(Derived, frozen=True, slots=True, eq=True)(1).b == theirs(Derived, frozen=True, slots=True, eq=True)(1).b == 3


def test_the_same_nan_is_equal_to_itself() -> None:
    class Number:
        value: float
        kind: str = ""

    made = ours(Number, frozen=True, slots=True, eq=True)
    nan = float("nan")
    assert made(nan) == made(nan) and hash(made(nan)) == hash(made(nan)) and made(nan) != made(float("nan"))


def test_a_record_within_itself_has_a_repr() -> None:
    class Node:
        below: Any

    made = ours(Node, frozen=False, slots=True, eq=False)
    node = made(None)
    node.below = node
    assert repr(node).endswith("Node(below=...)")


def test_the_packages_use_it() -> None:
    root = Path(__file__).parent.parent
    files = [f for folder in ("graphflow", "compiler", "runtime") for f in (root / folder).rglob("*.py")]
    assert len(files) > 100
    assert [str(f) for f in files if "@dataclass" in f.read_text()] == []
