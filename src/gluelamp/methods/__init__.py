"""The PEFT methods, one file each, and in `changes` the edits of a model that they share.

The package can be called: ``gluelamp.methods()`` returns the class of every method by name.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gluelamp.methods.base import Method


class _CallablePackage(ModuleType):
    # `gl.methods` is this package as soon as anything in it is imported, so a function of that name would
    # be hidden by it.
    def __call__(self) -> dict[str, type[Method]]:
        from gluelamp.methods.registry import known_methods

        return dict(known_methods())


sys.modules[__name__].__class__ = _CallablePackage
