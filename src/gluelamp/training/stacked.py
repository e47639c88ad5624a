"""Several profiles in one pass: each row of a batch goes through under its own values.

The frozen backbone sees one large batch. Only the modules that own trained values know of profiles:
each of them runs under ``torch.func.vmap`` over stacked values, so that the gradients of a profile come
from its own rows alone. This serves training many profiles together, and batches of mixed profiles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

from gluelamp.errors import UnsupportedError
from gluelamp.methods.base import Adaptation
from gluelamp.methods.changes.change import SharedByRows
from gluelamp.methods.changes.inserted import InsertedModule

_TRIAL = (5, 3)  # rows and tokens of a first pass, unlike any other size in a model


@dataclass(frozen=True)
class Rows:
    """Which profile each row of a batch belongs to, and where it stands in a profile-major layout.

    Args:
        profiles: number of profiles P.
        width: rows S that the layout has for each profile.
        owner: (rows,) int64, each row's profile.
        slots: (rows,) int64, each row's place in the flattened (P, S); None if the rows already are in
            that order and fill it.
    """

    profiles: int
    width: int
    owner: Tensor
    slots: Tensor | None

    @classmethod
    def of(cls, owner: Tensor, profiles: int) -> Rows:
        """Return the layout of a batch.

        Args:
            owner: (rows,) int64, each row's profile from 0.
            profiles: P; a profile may have no row.
        """
        counts = torch.bincount(owner, minlength=profiles)
        width = int(counts.max())
        order = torch.argsort(owner, stable=True)
        rank = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner[order]]
        slots = torch.empty_like(owner)
        slots[order] = owner[order] * width + rank
        fills = len(owner) == profiles * width
        ordered = fills and torch.equal(slots, torch.arange(len(slots), device=slots.device))
        return cls(profiles, width, owner, None if ordered else slots)

    def spread(self, x: Tensor) -> Tensor:
        """Bring (rows, ...) into (P, S, ...); places without a row hold zeros."""
        if len(x) != len(self.owner):  # one for the whole batch, such as position ids
            x = x.expand(len(self.owner), *x.shape[1:])
        if self.slots is not None:
            empty = x.new_zeros(self.profiles * self.width, *x.shape[1:])
            x = empty.index_copy(0, self.slots, x)
        return x.unflatten(0, (self.profiles, self.width))

    def gather(self, x: Tensor) -> Tensor:
        """Bring (P, S, ...) back into (rows, ...)."""
        flat = x.flatten(0, 1)
        return flat if self.slots is None else flat.index_select(0, self.slots)


def values_of(adaptation: Adaptation, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return values for `StackedValues.rows` from the task states of P profiles.

    Args:
        adaptation: of the method that the profiles were trained with; not changed.
        states: stacked, (P, *shape), as `ProfileStore.read_many` returns them.

    Raises:
        UnsupportedError: if a task stores something else than the values that a pass reads.
    """
    if adaptation.selection:
        raise _refusal("each task also stores where it changes the model.")
    found = dict(states)
    for change in adaptation.changes:
        if isinstance(change, Packed):
            found |= change.values_of(states)
    trained = adaptation.trainable | adaptation.head
    for name, value in trained.items():
        if name not in found or found[name].shape[1:] != value.shape:
            raise _refusal(f"its value {name!r} is not what a task stores.")
    return {name: found[name].to(value) for name, value in trained.items()}


@runtime_checkable
class Packed(Protocol):
    """A `gluelamp.methods.changes.change.Change` whose values a task stores in a smaller form."""

    def values_of(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the values (P, *shape) that the stacked states of P tasks stand for, by full name."""


class StackedValues:
    """Lets an adapted model compute with other values for each row of a batch.

    Args:
        adaptation: its model is changed in place; outside of `rows` it computes as before.

    Raises:
        UnsupportedError: if a value is read where no batch passes, or is written into shared weights.
    """

    def __init__(self, adaptation: Adaptation) -> None:
        self._values: Mapping[str, Tensor] = {}
        self._rows: Rows | None = None
        self._read: set[str] = set()
        model = adaptation.model
        inserted = {change.module for change in adaptation.changes if isinstance(change, InsertedModule)}
        names = {id(value): name for name, value in (adaptation.trainable | adaptation.head).items()}
        owned: dict[nn.Module, dict[str, str]] = defaultdict(dict)
        for place, value in model.named_parameters(remove_duplicate=False):
            if id(value) in names:
                owner, inner = _owner(model, place, inserted)
                owned[owner][inner] = names[id(value)]
        for module, local in owned.items():
            self._let_see(module, local)
        self._try_out(adaptation)

    @contextmanager
    def rows(self, values: Mapping[str, Tensor], rows: Rows) -> Iterator[None]:
        """Compute passes of one batch with its rows' own values.

        Args:
            values: by the names of the parameters, (P, *shape).
            rows: of the batch.
        """
        self._values, self._rows = values, rows
        try:
            yield
        finally:
            self._values, self._rows = {}, None

    def _let_see(self, module: nn.Module, local: Mapping[str, str]) -> None:
        alone, unit = module.forward, _Unit(module)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._rows is None:
                return alone(*args, **kwargs)
            rows = self._rows
            self._read.update(local.values())
            flat, spec = tree_flatten((args, kwargs))
            at = [number for number, value in enumerate(flat) if torch.is_tensor(value)]

            def one(values: dict[str, Tensor], tensors: list[Tensor]) -> Any:
                given = list(flat)
                for number, tensor in zip(at, tensors, strict=True):
                    given[number] = tensor
                inner_args, inner_kwargs = tree_unflatten(given, spec)
                return functional_call(unit, values, inner_args, inner_kwargs)

            if not any(flat[number].dim() for number in at):
                raise _alone(next(iter(local.values())))
            stacked = {f"module.{inner}": self._values[name] for inner, name in local.items()}
            out = vmap(one, randomness="different")(stacked, [rows.spread(flat[number]) for number in at])
            return _map_tensors(rows.gather, out)

        module.forward = forward  # the hooks around it stay at work
        unit.run = alone

    @torch.no_grad()
    def _try_out(self, adaptation: Adaptation) -> None:
        """Let a few rows of two profiles pass: each value must be read, and where rows pass alone."""
        model = adaptation.model
        trained = adaptation.trainable | adaptation.head
        values = {name: torch.stack([value, value]) for name, value in trained.items()}
        inputs = torch.ones(_TRIAL, dtype=torch.long, device=model.device)
        rows = Rows.of(torch.arange(_TRIAL[0], device=model.device) % 2, 2)
        was_training = model.training
        model.eval()
        try:
            with self.rows(values, rows):
                model(input_ids=inputs, attention_mask=inputs)
        except UnsupportedError:
            raise
        except Exception as error:  # what vmap cannot do, tuners of peft above all, has errors of all kinds
            raise _refusal(f"a first pass ended with {type(error).__name__}: {error}.") from error
        finally:
            model.train(was_training)
        for name in trained.keys() - self._read:
            raise _alone(name)


class _Unit(nn.Module):
    """A module's own forward pass, without the hooks on it."""

    run: Callable[..., Any]

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


def _map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    flat, spec = tree_flatten(tree)
    return tree_unflatten([function(x) if torch.is_tensor(x) else x for x in flat], spec)


def _owner(model: nn.Module, place: str, inserted: Set[nn.Module]) -> tuple[nn.Module, str]:
    """Return the module whose forward pass reads a parameter, and the parameter's name in it."""
    path = place.rpartition(".")[0].split(".")
    modules = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path) + 1)]
    if any(isinstance(module, SharedByRows) for module in modules):
        raise _alone(place)
    if "parametrizations" in path:
        path = path[: path.index("parametrizations")]
    # as high as a method's own module goes, else as low as there is a forward pass
    own = [depth for depth in range(len(path) + 1) if modules[depth] in inserted]
    depths = range(own[0], len(path) + 1) if own else range(len(path), 0, -1)
    for depth in depths:
        if type(modules[depth]).forward is not nn.Module.forward:
            return modules[depth], place[len(".".join(path[:depth])) + 1 :]
    raise _alone(place)


def _alone(name: str) -> UnsupportedError:
    return _refusal(
        f"its value {name!r} is written into a weight that all share, or read where no rows of a batch pass."
    )


def _refusal(reason: str) -> UnsupportedError:
    return UnsupportedError(
        "Several profiles cannot pass together with this method and backbone. Take them one by one: "
        f"trainer.profiles_per_pass=1. The reason: {reason}"
    )
