"""`tf.flags`: command-line flags of a script, read as attributes of `FLAGS`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

__all__ = [
    "DEFINE_bool", "DEFINE_boolean", "DEFINE_enum", "DEFINE_float", "DEFINE_integer", "DEFINE_list",
    "DEFINE_multi_string", "DEFINE_string", "DuplicateFlagError", "Error", "FLAGS", "Flag", "FlagValues",
    "IllegalFlagValueError", "UnrecognizedFlagError", "mark_flag_as_required", "mark_flags_as_required",
]  # fmt: skip


class Error(Exception):
    """Something is wrong with the flags."""


class DuplicateFlagError(Error):
    """Two files define one flag."""


class IllegalFlagValueError(Error):
    """A flag has a value that it cannot have."""


class UnrecognizedFlagError(Error, AttributeError):
    """There is no such flag."""


class Flag:
    """One command-line flag: name, default, current value, and how its text is parsed. ``str(flag)`` is the value's."""

    def __init__(self, name: str, parse: Callable[[str], Any], default: Any, help: str, where: str) -> None:
        self.name = name
        self.parse = parse
        self.default = default
        self.value = default
        self.help = help
        self.where = where
        self.required = False
        self.present = 0  # how often it was given

    @property
    def is_bool(self) -> bool:
        return self.parse is _parse_bool

    def give(self, text: str) -> None:
        try:
            value = self.parse(text)
        except ValueError as e:
            raise IllegalFlagValueError(f"flag --{self.name}={text}: {e}") from None
        # The first occurrence replaces the default, further ones add to the list.
        self.value = [*(self.value if self.present else []), value] if self.parse is _parse_item else value
        self.present += 1

    def __str__(self) -> str:
        return str(self.value)

    __repr__ = __str__


class FlagValues:
    """All flags, as attributes. Reading the first one parses sys.argv, unless flags have been parsed already."""

    def __init__(self) -> None:
        # Past __setattr__, which sets flags.
        self.__dict__["__flags"] = {}
        self.__dict__["__parsed"] = False

    def _flags(self) -> dict[str, Flag]:
        found: dict[str, Flag] = self.__dict__["__flags"]
        return found

    def _define(self, name: str, parse: Callable[[str], Any], default: Any, help: str) -> None:
        # A file may define its flags again, as when a notebook cell or a reloaded module runs
        # twice; two files may not share one.
        where = sys._getframe(2).f_code.co_filename
        old = self._flags().get(name)
        if old is not None and old.where != where:
            raise DuplicateFlagError(f"the flag {name!r} is defined twice: in {old.where} and in {where}")
        self._flags()[name] = Flag(name, parse, default, help or "", where)

    def is_parsed(self) -> bool:
        return bool(self.__dict__["__parsed"])

    def mark_as_parsed(self) -> None:
        self.__dict__["__parsed"] = True

    def _parse_flags(self, args: Sequence[str] | None = None) -> None:
        """Parses sys.argv, or `args` without a program name: the method that early TensorFlow scripts call."""
        self(["", *args] if args is not None else sys.argv, known_only=True)

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Parses `argv`, whose first item is the program, and returns it without the flags.

        Args:
            known_only: leave flags that nobody has defined in the result instead of raising.

        Raises:
            UnrecognizedFlagError, IllegalFlagValueError.
        """
        rest: list[str] = list(argv[:1])
        todo = list(argv[1:])
        while todo:
            item = todo.pop(0)
            # What follows is never a flag.
            if item == "--":
                rest += todo
                break
            if item in ("--help", "-h", "--helpfull", "--helpshort"):
                self._show_help(argv[0] if argv else "")
            if not item.startswith("-") or item == "-":
                rest.append(item)
                continue
            name, equals, text = item.lstrip("-").partition("=")
            name = name.replace("-", "_") if name not in self._flags() else name
            flag = self._flags().get(name)
            if flag is None and not equals and name.startswith("no") and self._is_bool(name[2:]):
                self._flags()[name[2:]].give("false")
            elif flag is None:
                if not known_only:
                    raise UnrecognizedFlagError(f"Unknown command line flag '{name}'{self._near(name)}")
                # Others, such as a test runner's, may know it.
                rest.append(item)
            elif equals:
                flag.give(text)
            # A bool takes no separate value: in ``--verbose file`` the file is an argument.
            elif flag.is_bool:
                flag.give("true")
            elif todo:
                flag.give(todo.pop(0))
            else:
                raise IllegalFlagValueError(f"Missing value for flag --{name}")
        self.mark_as_parsed()
        missing = [f.name for f in self._flags().values() if f.required and f.value is None]
        if missing:
            raise IllegalFlagValueError(f"Flag --{missing[0]} must have a value other than None.")
        return rest

    def _is_bool(self, name: str) -> bool:
        flag = self._flags().get(name)
        return flag is not None and flag.is_bool

    def _near(self, name: str) -> str:
        import difflib

        near = difflib.get_close_matches(name, list(self._flags()), 3)
        return f". Did you mean: {', '.join(near)} ?" if near else ""

    def _show_help(self, program: str) -> NoReturn:
        main = sys.modules.get("__main__")
        print(f"\n{getattr(main, '__doc__', None) or 'USAGE: ' + program + ' [flags]'}\nflags:\n")
        for f in self._flags().values():
            name = f"[no]{f.name}" if f.is_bool else f.name
            print(f"  --{name}: {f.help}\n    (default: {f.default!r})")
        sys.exit(0)

    def flag_values_dict(self) -> dict[str, Any]:
        """All values by name."""
        if not self.is_parsed():
            self._parse_flags()
        return {name: f.value for name, f in self._flags().items()}

    def __getattr__(self, name: str) -> Any:
        flag = self._flags().get(name)
        if flag is None:
            raise UnrecognizedFlagError(f"Unknown command line flag '{name}'{self._near(name)}")
        if not self.is_parsed():
            self._parse_flags()
        return flag.value

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._flags():
            raise UnrecognizedFlagError(f"Unknown command line flag '{name}'{self._near(name)}")
        self._flags()[name].value = value

    def __delattr__(self, name: str) -> None:
        if name not in self._flags():
            raise UnrecognizedFlagError(f"Unknown command line flag '{name}'")
        del self._flags()[name]

    def __getitem__(self, name: str) -> Flag:
        return self._flags()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._flags()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._flags()))

    def __len__(self) -> int:
        return len(self._flags())

    def __dir__(self) -> list[str]:
        return sorted(self._flags())


FLAGS = FlagValues()


def _parse_bool(text: str) -> bool:
    low = text.lower()
    if low in ("true", "t", "1", "yes", "y"):
        return True
    if low in ("false", "f", "0", "no", "n"):
        return False
    raise ValueError("a boolean is true or false")


def _parse_list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _parse_integer(text: str) -> int:
    # 0x10 and 0b1, too.
    return int(text, 0)


def _parse_item(text: str) -> str:
    return text


def _parse_enum(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"value should be one of <{'|'.join(allowed)}>")
        return text

    return parse


def DEFINE_string(name: str, default: str | None = None, help: str = "", **ignored: Any) -> None:
    FLAGS._define(name, str, default, help)


def DEFINE_integer(name: str, default: int | None = None, help: str = "", **ignored: Any) -> None:
    FLAGS._define(name, _parse_integer, default, help)


def DEFINE_float(name: str, default: float | None = None, help: str = "", **ignored: Any) -> None:
    FLAGS._define(name, float, default if default is None else float(default), help)


def DEFINE_boolean(name: str, default: bool | None = None, help: str = "", **ignored: Any) -> None:
    """``--name`` and ``--noname``, or ``--name=true``."""
    FLAGS._define(name, _parse_bool, _parse_bool(default) if isinstance(default, str) else default, help)


DEFINE_bool = DEFINE_boolean


def DEFINE_list(name: str, default: Any = None, help: str = "", **ignored: Any) -> None:
    """Text separated by commas."""
    FLAGS._define(name, _parse_list, _parse_list(default) if isinstance(default, str) else default, help)


def DEFINE_multi_string(name: str, default: Any = None, help: str = "", **ignored: Any) -> None:
    """A flag that may be given several times; its value is the list."""
    FLAGS._define(name, _parse_item, [default] if isinstance(default, str) else default, help)


def DEFINE_enum(name: str, default: str | None, enum_values: Sequence[str], help: str = "", **ignored: Any) -> None:
    FLAGS._define(name, _parse_enum(tuple(enum_values)), default, help)


def mark_flag_as_required(flag_name: str, flag_values: FlagValues = FLAGS) -> None:
    """Parsing raises IllegalFlagValueError unless the flag gets a value."""
    flag_values[flag_name].required = True


def mark_flags_as_required(flag_names: Sequence[str], flag_values: FlagValues = FLAGS) -> None:
    for name in flag_names:
        mark_flag_as_required(name, flag_values)
