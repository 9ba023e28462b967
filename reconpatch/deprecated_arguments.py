"""Old names of arguments and attributes of public functions and classes, accepted with a warning for one release."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from reconpatch.deprecated_paths import warn_renamed

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_ORDERED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def renamed_arguments(
    renamed: Mapping[str, str], groups: Mapping[str, type[Any]] | None = None
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that accepts the arguments of an older signature and warns about each of them.

    It accepts old keywords, and positional values for parameters that are keyword-only now. Each use issues a
    `RenamedWarning`.

    Args:
        renamed: Old keyword → new keyword, or 'parameter.field' for a field of a parameter in `groups`.
        groups: Parameter → dataclass that combines several older arguments. None: no parameter does.

    Returns:
        A decorator for functions and classes. In a class it wraps `__init__`.
    """

    def decorate(decorated: Decorated) -> Decorated:
        if isinstance(decorated, type):
            initializer = _accepting(vars(decorated)["__init__"], decorated.__name__, renamed, groups or {})
            type.__setattr__(decorated, "__init__", initializer)
            return decorated
        return cast(Decorated, _accepting(decorated, decorated.__name__, renamed, groups or {}))

    return decorate


def _accepting(
    function: Callable[..., Any], name: str, renamed: Mapping[str, str], groups: Mapping[str, type[Any]]
) -> Callable[..., Any]:
    """Return a function that translates the arguments of older signatures and then calls `function`."""
    parameters = inspect.signature(function).parameters.values()
    ordered = [parameter.name for parameter in parameters if parameter.kind in _ORDERED]
    positional = sum(parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)

    @functools.wraps(function)
    def accepting(*args: Any, **kwargs: Any) -> Any:
        beyond = args[positional:]
        if beyond and len(args) <= len(ordered):
            keywords = ordered[positional : len(args)]
            warn_renamed(f"{name}: pass {', '.join(keywords)} by keyword.", stacklevel=2)
            args, kwargs = args[:positional], kwargs | dict(zip(keywords, beyond, strict=True))
        for old in [keyword for keyword in kwargs if keyword in renamed]:
            warn_renamed(f"{name}: the argument '{old}' is now '{renamed[old]}'.", stacklevel=2)
            keyword, _, field = renamed[old].partition(".")
            value = kwargs.pop(old)
            if field:
                kwargs[keyword] = replace(kwargs.get(keyword) or groups[keyword](), **{field: value})
            elif keyword in kwargs:
                raise TypeError(f"{name}() got both '{keyword}' and its old name '{old}'; pass only '{keyword}'.")
            else:
                kwargs[keyword] = value
        return function(*args, **kwargs)

    return accepting


class RenamedAttribute:
    """An alias for the old name of an attribute or method: reading it warns and returns the value of the new one."""

    def __init__(self, new: str) -> None:
        """Create the alias; its own name is the one that it is assigned to in the class.

        Args:
            new: Name of the attribute or method that replaces the old one.
        """
        self._new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:  # dataclasses and documentation tools read it from the class
            return self
        warn_renamed(f"{owner.__name__}.{self._old} is now {owner.__name__}.{self._new}.", stacklevel=2)
        return getattr(instance, self._new)
