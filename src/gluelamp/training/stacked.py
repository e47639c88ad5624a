"""Several profiles in one pass: each row of a batch is computed with the values of its own profile.

The frozen backbone computes one large batch. Only the modules with trained values distinguish profiles. Such
a module gets the rows of P profiles, padded to S rows each, and the stacked values of these profiles:

    rows (R, ...) -> group -> (P, S, ...) -> vmap over P -> (P, S, ...) -> ungroup -> (R, ...)

``torch.func.vmap`` runs the module's own forward pass with one profile's values on one profile's S rows. The
module computes as if it were alone, with its own biases, dropout and norms, and no method needs code for
this. Each row is computed with its profile's values alone, so a profile's gradients come from its own rows.

This serves two purposes: training many profiles together, and batches of mixed profiles in evaluation.
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

_TRIAL = (5, 3)  # rows and tokens of a first pass: sizes that no dimension of a model has


@dataclass(frozen=True)
class Rows:
    """The profile of each row of a batch, and the row's position in a layout by profile.

    Args:
        profiles: number of profiles P.
        width: rows S of each profile in the layout.
        owner: (rows,) int64, each row's profile.
        slots: (rows,) int64, each row's position in the flattened (P, S); None if the rows already are in
            that order and fill it.
    """

    profiles: int
    width: int
    owner: Tensor
    slots: Tensor | None

    @classmethod
    def from_owners(cls, owner: Tensor, profiles: int) -> Rows:
        """Return the layout of a batch.

        Args:
            owner: (rows,) int64, each row's profile, counted from 0.
            profiles: P; a profile may have no row.
        """
        counts = torch.bincount(owner, minlength=profiles)
        width = int(counts.max())
        # In a stable order by profile, a row's rank is its index minus the rows of the profiles before.
        order = torch.argsort(owner, stable=True)
        rank = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner[order]]
        slots = torch.empty_like(owner)
        slots[order] = owner[order] * width + rank
        full = len(owner) == profiles * width
        ordered = full and torch.equal(slots, torch.arange(len(slots), device=slots.device))
        return cls(profiles, width, owner, None if ordered else slots)

    def group(self, x: Tensor) -> Tensor:
        """Copy (rows, ...) into (P, S, ...); positions without a row are zero."""
        if len(x) != len(self.owner):  # one for the whole batch, such as position ids
            x = x.expand(len(self.owner), *x.shape[1:])
        # Padding rows are zeros. Their outputs are dropped by `ungroup`, so they get no gradient.
        if self.slots is not None:
            empty = x.new_zeros(self.profiles * self.width, *x.shape[1:])
            x = empty.index_copy(0, self.slots, x)
        return x.unflatten(0, (self.profiles, self.width))

    def ungroup(self, x: Tensor) -> Tensor:
        """Copy (P, S, ...) back into (rows, ...)."""
        flat = x.flatten(0, 1)
        return flat if self.slots is None else flat.index_select(0, self.slots)


def values_from_states(adaptation: Adaptation, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return values for `StackedValues.rows` from the task states of P profiles.

    Args:
        adaptation: of the method that the profiles were trained with; not changed.
        states: stacked, (P, *shape), as `ProfileStore.read_many` returns them.

    Raises:
        UnsupportedError: if a task stores something else than the values that a pass reads.
    """
    if adaptation.selection:
        raise _unsupported("each task also stores where it changes the model.")
    values = dict(states)
    for change in adaptation.changes:
        if isinstance(change, Packed):
            values |= change.values_from_states(states)
    trained = adaptation.trainable | adaptation.head
    for name, value in trained.items():
        if name not in values or values[name].shape[1:] != value.shape:
            raise _unsupported(f"its value {name!r} is not what a task stores.")
    return {name: values[name].to(value) for name, value in trained.items()}


@runtime_checkable
class Packed(Protocol):
    """A `gluelamp.methods.changes.change.Change` whose values a task stores in a smaller form."""

    def values_from_states(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the values (P, *shape), by full name, of the stacked states of P tasks."""


class StackedValues:
    """Makes an adapted model compute each row of a batch with other values.

    Args:
        adaptation: its model is changed in place; outside of `rows` it computes as before.

    Raises:
        UnsupportedError: if a value is read outside of a batch, or is written into shared weights.
    """

    def __init__(self, adaptation: Adaptation) -> None:
        self._values: Mapping[str, Tensor] = {}
        self._rows: Rows | None = None
        self._read: set[str] = set()
        model = adaptation.model
        inserted = {change.module for change in adaptation.changes if isinstance(change, InsertedModule)}
        names = {id(value): name for name, value in (adaptation.trainable | adaptation.head).items()}
        # By module, the trained values that its forward pass reads: the name in the module -> the full name.
        # A parameter that two modules hold (remove_duplicate=False) is listed for both.
        owned: dict[nn.Module, dict[str, str]] = defaultdict(dict)
        for path, value in model.named_parameters(remove_duplicate=False):
            if id(value) in names:
                owner, inner = _owner(model, path, inserted)
                owned[owner][inner] = names[id(value)]
        for module, local in owned.items():
            self._wrap_forward(module, local)
        self._check_forward(adaptation)

    @contextmanager
    def rows(self, values: Mapping[str, Tensor], rows: Rows) -> Iterator[None]:
        """Compute passes of one batch with each row's own values.

        Args:
            values: by the names of the parameters, (P, *shape).
            rows: of the batch.
        """
        self._values, self._rows = values, rows
        try:
            yield
        finally:
            self._values, self._rows = {}, None

    def _wrap_forward(self, module: nn.Module, local: Mapping[str, str]) -> None:
        plain, unit = module.forward, _Unit(module)

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._rows is None:
                return plain(*args, **kwargs)
            rows = self._rows
            self._read.update(local.values())
            # vmap maps tensors only. So the tensors are taken out of the arguments, and put back inside.
            flat, spec = tree_flatten((args, kwargs))
            at = [number for number, value in enumerate(flat) if torch.is_tensor(value)]

            def forward_one(values: dict[str, Tensor], tensors: list[Tensor]) -> Any:
                """Compute the module with one profile's values on its (S, ...) rows."""
                given = list(flat)
                for number, tensor in zip(at, tensors, strict=True):
                    given[number] = tensor
                inner_args, inner_kwargs = tree_unflatten(given, spec)
                return functional_call(unit, values, inner_args, inner_kwargs)

            if not any(flat[number].dim() for number in at):  # no argument has rows
                raise _not_by_rows(next(iter(local.values())))
            stacked = {f"module.{inner}": self._values[name] for inner, name in local.items()}
            grouped = [rows.group(flat[number]) for number in at]
            out = vmap(forward_one, randomness="different")(stacked, grouped)
            return _map_tensors(rows.ungroup, out)

        # The attribute, and not a hook: the hooks on the module, such as inserted modules, still run.
        module.forward = forward
        unit.run = plain

    @torch.no_grad()
    def _check_forward(self, adaptation: Adaptation) -> None:
        """Run a few rows of two profiles: each value must be read, and read by rows."""
        model = adaptation.model
        trained = adaptation.trainable | adaptation.head
        values = {name: torch.stack([value, value]) for name, value in trained.items()}
        inputs = torch.ones(_TRIAL, dtype=torch.long, device=model.device)
        rows = Rows.from_owners(torch.arange(_TRIAL[0], device=model.device) % 2, 2)
        # In evaluation mode and with equal values for both profiles: nothing random, and nothing is updated.
        was_training = model.training
        model.eval()
        try:
            with self.rows(values, rows):
                model(input_ids=inputs, attention_mask=inputs)
        except UnsupportedError:
            raise
        except Exception as error:  # what vmap cannot map, peft's tuners above all, has errors of all kinds
            raise _unsupported(f"a first pass ended with {type(error).__name__}: {error}.") from error
        finally:
            model.train(was_training)
        for name in trained.keys() - self._read:
            raise _not_by_rows(name)


class _Unit(nn.Module):
    """A module's own forward pass, without its hooks and without the wrapper.

    ``functional_call`` needs a module whose call runs this pass: calling the wrapped module again would
    never end.
    """

    run: Callable[..., Any]

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


def _map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    flat, spec = tree_flatten(tree)
    return tree_unflatten([function(x) if torch.is_tensor(x) else x for x in flat], spec)


def _owner(model: nn.Module, path: str, inserted: Set[nn.Module]) -> tuple[nn.Module, str]:
    """Return the module whose forward pass reads a parameter, and the parameter's name in it."""
    parts = path.rpartition(".")[0].split(".")
    modules = [model.get_submodule(".".join(parts[:depth])) for depth in range(len(parts) + 1)]
    if any(isinstance(module, SharedByRows) for module in modules):
        raise _not_by_rows(path)
    if "parametrizations" in parts:  # the parametrised module reads the value
        parts = parts[: parts.index("parametrizations")]
    # An inserted module is mapped as a whole, so that all its values are mapped in one call. Elsewhere it is
    # the lowest module with a forward pass: the less is mapped, the more is one large batch.
    own = [depth for depth in range(len(parts) + 1) if modules[depth] in inserted]
    depths = range(own[0], len(parts) + 1) if own else range(len(parts), 0, -1)
    for depth in depths:
        if type(modules[depth]).forward is not nn.Module.forward:
            return modules[depth], path[len(".".join(parts[:depth])) + 1 :]
    raise _not_by_rows(path)


def _not_by_rows(name: str) -> UnsupportedError:
    return _unsupported(
        f"the value {name!r} is written into a weight that all rows use, or is read outside of a batch."
    )


def _unsupported(reason: str) -> UnsupportedError:
    return UnsupportedError(
        "Several profiles cannot be computed in one pass with this method and backbone. Set "
        f"trainer.profiles_per_pass=1. The reason: {reason}"
    )
