"""Importing libraries of models without torch's compiler, which they only name and which takes as long as they do."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER, _ITS_UTILS = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def without_the_compiler() -> Iterator[None]:
    """Let modules stand in for `torch._dynamo` while others are imported: 3.5 s of CPU less in each process.

    torchvision imports a function of it, for boxes in images, and timm has methods left out of compilation: both get
    the like, which loads the compiler when it is called. Whatever else is asked of it loads it at once.
    """
    if _COMPILER in sys.modules:
        yield
        return
    sys.modules[_COMPILER] = _StandIn(_COMPILER, disable=_disable)
    sys.modules[_ITS_UTILS] = _StandIn(_ITS_UTILS, is_compile_supported=_is_compile_supported)
    try:
        yield
    finally:
        _withdraw()


class _StandIn(ModuleType):
    def __init__(self, name: str, **offered: Any) -> None:
        super().__init__(name)
        vars(self).update(offered)

    def __getattr__(self, name: str) -> Any:
        is_asked_by_others = name.startswith("__") and (name, self.__name__) != ("__path__", _COMPILER)
        if is_asked_by_others:  # of every module, as `inspect` does
            raise AttributeError(name)
        _withdraw()
        return getattr(importlib.import_module(self.__name__), name)


def _withdraw() -> None:
    for name in (_COMPILER, _ITS_UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _disable(function: Callable[..., Any], recursive: bool = True, *, reason: str | None = None) -> Callable[..., Any]:
    import torch

    del reason
    disabled: Callable[..., Any] = torch._disable_dynamo(function, recursive)  # type: ignore[attr-defined]  # no stub
    return disabled


def _is_compile_supported(device: Any) -> Any:
    return importlib.import_module(_ITS_UTILS).is_compile_supported(device)
