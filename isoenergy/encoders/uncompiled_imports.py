"""Importing libraries of models without torch's compiler, which they only name and which takes longer than they do."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER, _ITS_UTILS = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def without_the_compiler() -> Iterator[None]:
    """Let a module stand in for `torch._dynamo` while others are imported: 3.5 s of CPU less in each process.

    torchvision imports a function of it, for boxes in images, and timm has methods left out of compilation. Both get
    the like that loads the compiler when it is called first. Where it is loaded already, all is as it was.
    """
    if _COMPILER in sys.modules:
        yield
        return
    compiler, utils = ModuleType(_COMPILER), ModuleType(_ITS_UTILS)
    vars(compiler).update(disable=_disable, utils=utils)
    vars(utils).update(is_compile_supported=_is_compile_supported)
    standing_in = {_COMPILER: compiler, _ITS_UTILS: utils}
    sys.modules.update(standing_in)
    try:
        yield
    finally:
        for name in standing_in:
            del sys.modules[name]


def _disable(function: Callable[..., Any], recursive: bool = True, *, reason: str | None = None) -> Callable[..., Any]:
    import torch

    del reason
    disabled: Callable[..., Any] = torch._disable_dynamo(function, recursive)
    return disabled


def _is_compile_supported(device: Any) -> Any:
    return importlib.import_module(_ITS_UTILS).is_compile_supported(device)
