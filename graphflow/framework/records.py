"""`record`: a decorator like `dataclasses.dataclass` that makes a class in a quarter of the time.

Importing the compiler makes some 160 data classes, and up to Python 3.12 `dataclass` compiles each method of each class by
itself: most of a millisecond a class, a fifth of the time from the start of a process to its first training step. Here the
methods that matter for speed are compiled together, when one of them is first called; most classes never need them. (Until
then `inspect.signature` knows no parameters.) The other methods are shared. `dataclasses.fields`, `replace`, `asdict` and
`is_dataclass` work on these classes. Newer Pythons make data classes faster, but compare them field by field, so that a
constant NaN differs from itself: here tuples of the fields are compared, on every Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from reprlib import recursive_repr
from types import MemberDescriptorType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(cls: type | None = None, /, *, frozen: bool = False, slots: bool = False, eq: bool = True) -> Any:
        """As `dataclasses.dataclass`, with these of its options; the module's annotations must be strings."""
        return make_record(cls, frozen, slots, eq) if cls is not None else lambda c: make_record(c, frozen, slots, eq)


__all__ = ["record"]

_COMPILED = ("__init__", "__eq__", "__hash__")


def make_record(cls: Any, frozen: bool, slots: bool, eq: bool) -> Any:
    inherited: dict[str, Any] = {}
    # From the root down, so that a nearer class overrides a farther one, as in dataclasses.
    for base in cls.__mro__[-1:0:-1]:
        inherited |= base.__dict__.get("__dataclass_fields__", {})
    own = {
        name: _field(name, annotation, getattr(cls, name, dataclasses.MISSING))
        for name, annotation in cls.__annotations__.items()
        if not annotation.startswith(("ClassVar", "typing.ClassVar"))
    }
    fields = {**inherited, **own}
    for name, f in own.items():
        if f.default is not dataclasses.MISSING:
            setattr(cls, name, f.default)
        elif name in cls.__dict__:
            # `field(...)` without a default must not stay behind: subclasses would read it as a default.
            delattr(cls, name)
    # What the class defines itself is kept.
    mine = set(cls.__dict__)
    if slots:
        cls = _with_slots(cls, own, inherited)
    made: dict[str, Any] = {}
    made |= _when_called(cls, lambda: _compile(cls, fields, frozen, slots))
    made["__match_args__"] = tuple(f.name for f in fields.values() if f.init)
    made["__repr__"] = _repr_of([f.name for f in fields.values() if f.repr])
    if not eq:
        del made["__eq__"], made["__hash__"]
    elif not frozen:
        made["__hash__"] = None
    if frozen:
        made |= _frozen(cls, frozenset(fields))
        if slots:
            made |= _states(tuple(fields))
    for name, value in made.items():
        # A class that defines __eq__ alone has a __hash__ of None, which is not its own doing.
        if name not in mine or (name == "__hash__" and cls.__dict__[name] is None and "__eq__" in mine):
            setattr(cls, name, value)
    cls.__dataclass_fields__ = fields
    cls.__dataclass_params__ = SimpleNamespace(
        init=True, repr=True, eq=eq, order=False, unsafe_hash=False, frozen=frozen, match_args=True, kw_only=False, slots=slots,
        weakref_slot=False,
    )  # fmt: skip
    return cls


def _field(name: str, annotation: Any, default: Any) -> Any:
    if isinstance(default, MemberDescriptorType):  # a base's slot
        default = dataclasses.MISSING
    f: Any = default if isinstance(default, dataclasses.Field) else dataclasses.field(default=default)
    f.name, f.type, f.kw_only = name, annotation, False
    f._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
    return f


def _with_slots(cls: type, own: dict[str, Any], inherited: dict[str, Any]) -> type:
    """The class made a second time with slots, which cannot be added to a class that exists."""
    space = {k: v for k, v in cls.__dict__.items() if k not in own and k not in ("__dict__", "__weakref__")}
    space["__slots__"] = tuple(name for name in own if name not in inherited)
    again = type(cls)(cls.__name__, cls.__bases__, space)
    again.__qualname__ = cls.__qualname__
    return again


def _when_called(cls: type, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Stand-ins for the methods that `make` compiles; the first call of any of them compiles and installs all."""

    def stub(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **named: Any) -> Any:
            made = make()
            for n, real in made.items():
                # Only stand-ins are replaced: somebody may have set a method of the class since.
                if cls.__dict__.get(n) is stubs[n]:
                    setattr(cls, n, real)
            return made[name](self, *args, **named)

        method.__qualname__ = f"{cls.__qualname__}.{name}"
        method.__module__ = cls.__module__
        return method

    stubs = {name: stub(name) for name in _COMPILED}
    return stubs


def _compile(cls: type, fields: dict[str, Any], frozen: bool, slots: bool) -> dict[str, Any]:
    """``__init__``, ``__eq__`` and ``__hash__``."""
    space: dict[str, Any] = {"_set": object.__setattr__}
    parameters, body = ["self"], []
    for name, f in fields.items():
        value = name
        if f.init:
            parameter = name
            if f.default is not dataclasses.MISSING:
                space[f"_d_{name}"] = f.default
                parameter = f"{name}=_d_{name}"
            elif f.default_factory is not dataclasses.MISSING:
                space[f"_f_{name}"] = f.default_factory
                space["_missing"] = dataclasses.MISSING
                parameter = f"{name}=_missing"
                value = f"_f_{name}() if {name} is _missing else {name}"
            parameters.append(parameter)
        elif f.default_factory is not dataclasses.MISSING:
            space[f"_f_{name}"] = f.default_factory
            value = f"_f_{name}()"
        elif f.default is not dataclasses.MISSING and slots:
            space[f"_d_{name}"] = f.default
            value = f"_d_{name}"
        else:
            continue
        if not frozen:
            body.append(f" self.{name} = {value}")
        elif slots and type(cls.__dict__.get(name)).__name__ == "member_descriptor":
            space[f"_s_{name}"] = cls.__dict__[name].__set__  # half the time of object.__setattr__
            body.append(f" _s_{name}(self, {value})")
        else:
            body.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    compared = [name for name, f in fields.items() if f.compare]
    hashed = [name for name, f in fields.items() if (f.compare if f.hash is None else f.hash)]
    source = [
        f"def __init__({', '.join(parameters)}):",
        *(body or [" pass"]),
        "def __eq__(self, other):",
        " if other.__class__ is self.__class__:",
        f"  return {_tuple('self', compared)} == {_tuple('other', compared)}",
        " return NotImplemented",
        "def __hash__(self):",
        f" return hash({_tuple('self', hashed)})",
    ]
    # dataclasses does the same, but once for each method.
    exec("\n".join(source), space)
    for name in _COMPILED:
        space[name].__qualname__ = f"{cls.__qualname__}.{name}"
        space[name].__module__ = cls.__module__
    return {name: space[name] for name in _COMPILED}


def _tuple(of: str, names: list[str]) -> str:
    return f"({''.join(f'{of}.{name}, ' for name in names)})"


def _repr_of(names: list[str]) -> Callable[[Any], str]:
    @recursive_repr()
    def __repr__(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return __repr__


def _frozen(cls: Any, names: frozenset[str]) -> dict[str, Any]:
    # A subclass that is not frozen may set attributes of its own, but not the fields.
    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": __setattr__, "__delattr__": __delattr__}


def _states(names: tuple[str, ...]) -> dict[str, Any]:
    # Pickle's default would set the fields by the `__setattr__` that refuses to.
    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": __getstate__, "__setstate__": __setstate__}
