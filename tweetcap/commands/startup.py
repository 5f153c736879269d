"""How a process that only writes tweets starts sooner and stays smaller: without what compilers and clusters need.

torchvision, transformers and timm import PyTorch's compiler only to mark functions for it, and transformers imports
scipy, accelerate and PyTorch's distributed tensors in case a model is detected, sharded or spread over machines. Here
nothing is. For processes that are ours alone, since the rest of the process has to do without, too.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

M_ARENA_MAX = -8  # of glibc's malloc.h

COMPILER = "torch._dynamo"
MARKS = ("allow_in_graph", "assume_constant_result", "disable")
# Taken out of the compiler's modules by an import, and called by what compiles.
TAKEN = {
    f"{COMPILER}.utils": ("is_compile_supported",),
    f"{COMPILER}._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
}
# Of transformers' questions after what is installed, those to answer with no.
ABSENT = (
    "is_accelerate_available",
    "is_scipy_available",
    "is_torch_distributed_available",
    "is_torch_flex_attn_available",
)


@contextmanager
def quick_start() -> Iterator[None]:
    """Import transformers and load a writer inside this; where transformers was imported before, it does nothing."""
    if {"transformers", COMPILER} & sys.modules.keys():
        yield
        return
    postponed = _Postponed()
    sys.meta_path.insert(0, postponed)
    gc.disable()  # a million objects come to stay, and each search for garbage would look at all of them
    try:
        with _transformers_without_the_rest():
            yield
    finally:
        postponed.leave()
        gc.freeze()
        gc.enable()


def share_one_heap() -> None:
    """Let glibc give threads no heap of their own, where one of a server's many frees what none of the others can use.

    To be called before there is a second thread.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def _transformers_without_the_rest() -> AbstractContextManager[None]:
    from transformers import utils

    for name in ABSENT:
        for module in (utils, utils.import_utils):
            setattr(module, name, lambda: False)
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # another version, which then starts as slowly as it does
        return nullcontext()
    return no_init_weights()  # timm draws weights even where the checkpoint's are about to take their place


class _Postponed(MetaPathFinder, Loader):
    """Imports a `torch._dynamo` that marks nothing; whoever wants more of it gets the real one, as all do later."""

    def find_spec(self, name, path=None, target=None):
        if name == COMPILER or name in TAKEN:
            return ModuleSpec(name, self, is_package=True)
        if name.startswith(f"{COMPILER}."):
            self.leave()
            import_module(name)
            return ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        return sys.modules.get(spec.name) or _StandIn(spec.name, self)

    def exec_module(self, module):
        pass

    def leave(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in (COMPILER, *TAKEN):
            if isinstance(sys.modules.get(name), _StandIn):
                del sys.modules[name]
        if isinstance(vars(sys.modules.get("torch", sys)).get("_dynamo"), _StandIn):
            del sys.modules["torch"]._dynamo


class _StandIn(ModuleType):
    def __init__(self, name: str, postponed: _Postponed):
        super().__init__(name)
        self._postponed = postponed

    def __getattr__(self, name: str) -> Any:
        if name in MARKS and self.__name__ == COMPILER:
            return _unmarked
        if name in TAKEN.get(self.__name__, ()):
            return lambda *arguments: self._real(name)(*arguments)
        if name.startswith("__"):  # asked for by the import itself
            raise AttributeError(name)
        return self._real(name)

    def _real(self, name: str) -> Any:
        self._postponed.leave()
        return getattr(import_module(self.__name__), name)


def _unmarked(function: Callable | None = None, *_, **__) -> Callable:
    return _unmarked if function is None else function
