"""`tf.logging`: TensorFlow's names for Python's logging, on the logger "graphflow"."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from typing import Any

__all__ = [
    "DEBUG", "ERROR", "FATAL", "INFO", "WARN", "WARNING", "TaskLevelStatusMessage", "debug", "error", "fatal", "flush",
    "get_logger", "get_verbosity", "info", "log", "log_every_n", "log_first_n", "log_if", "set_verbosity", "vlog",
    "warn", "warning",
]  # fmt: skip

DEBUG = logging.DEBUG
INFO = logging.INFO
WARN = WARNING = logging.WARNING
ERROR = logging.ERROR
FATAL = logging.FATAL

_lock = threading.Lock()
_counts: Counter[tuple[str, int]] = Counter()


def get_logger() -> logging.Logger:
    """The logger; the first call gives it a handler to stderr unless the program has set logging up itself."""
    logger = logging.getLogger("graphflow")
    with _lock:
        # A program that has set up logging gets the messages its own way, once.
        if not logger.handlers and not logging.getLogger().handlers:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
            logger.addHandler(handler)
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.WARNING)
    return logger


def set_verbosity(v: int | str) -> None:
    """What is less severe than `v` is not shown."""
    get_logger().setLevel(v)


def get_verbosity() -> int:
    return get_logger().getEffectiveLevel()


def log(level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
    get_logger().log(level, msg, *args, **kwargs)


vlog = log


def debug(msg: Any, *args: Any, **kwargs: Any) -> None:
    get_logger().debug(msg, *args, **kwargs)


def info(msg: Any, *args: Any, **kwargs: Any) -> None:
    get_logger().info(msg, *args, **kwargs)


def warning(msg: Any, *args: Any, **kwargs: Any) -> None:
    get_logger().warning(msg, *args, **kwargs)


warn = warning


def error(msg: Any, *args: Any, **kwargs: Any) -> None:
    get_logger().error(msg, *args, **kwargs)


def fatal(msg: Any, *args: Any, **kwargs: Any) -> None:
    get_logger().critical(msg, *args, **kwargs)


def TaskLevelStatusMessage(msg: Any) -> None:
    error(msg)


def flush() -> None:
    for handler in get_logger().handlers:
        handler.flush()


def _nth_call() -> int:
    """How often the line that called the caller has done so, from 0."""
    frame = sys._getframe(2)
    # The user's line: the function that logs is one frame up, its caller two.
    place = (frame.f_code.co_filename, frame.f_lineno)
    with _lock:
        _counts[place] += 1
        return _counts[place] - 1


def log_every_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Logs the first and then every n-th call from one line."""
    if _nth_call() % n == 0:
        log(level, msg, *args)


def log_first_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Logs the first n calls from one line."""
    if _nth_call() < n:
        log(level, msg, *args)


def log_if(level: int, msg: Any, condition: Any, *args: Any) -> None:
    if condition:
        log(level, msg, *args)
