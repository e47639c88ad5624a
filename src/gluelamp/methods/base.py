"""`Method`, the hyper-parameters of one method, which `Method.adapt` applies to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, anatomy
from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation, Forward, TaskLoss, one_pass
from gluelamp.methods.changes.change import Change
from gluelamp.methods.pretrained import refuse_adapted
from gluelamp.methods.selection import Selection

if TYPE_CHECKING:
    from gluelamp.methods.phase_loop import Dataloader
    from gluelamp.methods.phases import Phase

TaskKind = Literal["classification", "regression", "mixture"]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Method:
    """The hyper-parameters of one method, checked on construction.

    A subclass has one field for each hyper-parameter, with a default, and defines `changes`. It becomes a
    frozen pydantic dataclass without a decorator: with a field ``rank: int = Field(default=8, ge=1)``, the
    value ``rank=0`` raises. What belongs to a run's optimisation, such as learning rates, is
    not part of a method.
    """

    # pydantic's decorator adds the fields to the class in place, once its body is complete.
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls)

    family: ClassVar[str] = "other"
    """What the method trains: ``full``, ``bias``, ``sparse``, ``reparametrization``, ``adapter``,
    ``selected adapter``, ``prompt`` or ``other``."""

    reference: ClassVar[str] = ""
    """The paper."""

    merges: ClassVar[bool] = True
    """Whether `Adaptation.merge` works, on an architecture whose linear layers have biases."""

    checked_against: ClassVar[str] = ""
    """The independent implementation or formula that the tests compare with."""

    open_questions: ClassVar[str] = ""
    """What the available texts leave open, or where a paper and its code differ."""

    trains_pooler: ClassVar[bool] = False
    """Whether the method trains the pre-trained pooler before a linear head, too."""

    seed_options: ClassVar[tuple[str, ...]] = ()
    """Options that are seeds, such as that of a random mask. A config sets them to the run's seed."""

    needs_every_token: ClassVar[bool] = False
    """Whether the last block must compute tokens that the head does not read."""

    needs_classifier: ClassVar[bool] = False
    """Whether the method needs a sequence classifier, because of its loss or of inputs that it adds."""

    @property
    def added_tokens(self) -> int:
        """Number of tokens that the method adds to each text; none by default."""
        return 0

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Make the method's changes to a model whose parameters are all frozen.

        Args:
            model: the sequence classifier, changed in place.
            parts: its anatomy.

        Raises:
            InputError: if the method does not support this architecture or size.
        """
        raise NotImplementedError

    def select(
        self,
        model: PreTrainedModel,
        dataloader: Dataloader,
        *,
        learning_rate: float | None = None,
        head_learning_rate: float | None = None,
        weight_decay: float = 0.0,
    ) -> Selection:
        """Run the preliminary phases on a task's data; return what they select, for `adapt`.

        Each phase runs on a copy of the model. A head that a phase trains is copied into the model, if what
        follows starts with it. See `gluelamp.methods.phase_loop.PhaseLoop` for optimiser and schedule.

        Args:
            model: not adapted.
            dataloader: batches of the model's inputs with ``labels``, moved to its device. Scores are
                computed on its first examples: let it shuffle.
            learning_rate: of phases that have none of their own; if None, both rates are those of the
                method's config.
            head_learning_rate: of the head; ``learning_rate`` if None.
            weight_decay: on all values that phases train.

        Returns:
            nothing selected, for a method without phases.

        Raises:
            InputError: if the method or its loss does not suit the model, or no rate is known.
        """
        # These modules import this one.
        from gluelamp.methods.phase_loop import PhaseLoop
        from gluelamp.methods.phases import run_phases
        from gluelamp.methods.registry import rates_or_default

        rates = rates_or_default(self, learning_rate, head_learning_rate)
        return run_phases(self, model, PhaseLoop(dataloader, *rates, weight_decay))

    def phases(self) -> tuple[Phase, ...]:
        """Return the preliminary phases, which run on the task's data before training; none by default."""
        return ()

    def selection_from_phases(
        self, model: PreTrainedModel, parts: Anatomy, results: Sequence[Mapping[str, Tensor]]
    ) -> Selection:
        """Return what the phases select for the task; nothing by default.

        Args:
            model: the bare sequence classifier.
            parts: its anatomy.
            results: of each phase, the tensors that it returned; see `gluelamp.methods.phases`.
        """
        return Selection()

    def selected_changes(
        self, model: PreTrainedModel, parts: Anatomy, selected: Mapping[str, Tensor]
    ) -> list[Change]:
        """Make the changes that the phases selected; by default those of `changes`.

        Args:
            model: as for `changes`.
            parts: its anatomy.
            selected: `Selection.tensors`.
        """
        return self.changes(model, parts)

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the training loss of a batch: by default the task's, of one forward pass.

        Args:
            changes: those that this method made.
            forward: runs the model on the batch; may be called more than once.
            task_loss: of the outputs that ``forward`` returns.
        """
        return one_pass(forward, task_loss)

    def check_task(self, kind: TaskKind) -> None:
        """Refuse a task that the method cannot train on, before any training.

        Args:
            kind: whether its labels are classes or numbers, or whether it is a mixture of tasks.

        Raises:
            InputError: with the reason, and what to set instead.
        """

    def resolve(self, backbone: str) -> dict[str, str]:
        """Check the files that the method reads, and return what replaces their paths in a run's identity.

        Args:
            backbone: checksum of the backbone's weights.

        Returns:
            by field, the checksum of the file it names; nothing for a method without files.

        Raises:
            InputError: if a file is missing or was made with another backbone.
        """
        return {}

    def adapt(self, model: PreTrainedModel, selection: Selection | None = None) -> Adaptation:
        """Freeze a model, apply the method, and unfreeze the head.

        Args:
            model: of ``transformers``, with a head for sequence or token classification or for question
                answering, or a bare encoder; see `gluelamp.backbones.anatomy.anatomy`. On any device, changed
                in place.
            selection: what the method's phases selected, from `select` or
                `gluelamp.methods.storage.read_selection`. Only a method with phases needs one.

        Raises:
            InputError: if the method does not support this model, or has phases and gets no selection.
        """
        if selection is None:
            if self.phases():
                raise InputError(
                    f"{type(self).__name__} with these options has a preliminary phase, and adapt() got no "
                    "selection. Make one with select(model, dataloader), read that of a saved task with "
                    "gluelamp.read_selection() or, to count or to time without training, take "
                    "untrained_selection()."
                )
            selection = Selection()
        # Everything is frozen first, so that only what the method and the head unfreeze is trained.
        parts = anatomy(model)
        refuse_adapted(model)
        self._check_model(model, parts)
        model.requires_grad_(False)
        # Counted before the changes, which may replace or add parameters.
        size = sum(model.get_parameter(name).numel() for name in parts.encoder_parameters)
        device = model.device
        changes = self.selected_changes(model, parts, selection.tensors)
        if device.type not in ("cpu", "meta"):
            model.to(device)  # type: ignore[arg-type]  # new modules are made on the CPU; `to` is decorated
        head = self.head(parts)
        if not changes and not head:
            raise InputError(
                f"{type(self).__name__} trains the head alone, and {type(model).__name__} has none. Take "
                "another method, or a model with a head, such as AutoModelForSequenceClassification."
            )
        for value in head.values():
            value.requires_grad_(True)
        adaptation = Adaptation(
            model,
            changes,
            head,
            parts.encoder_parameters,
            size,
            method=self,
            selection=selection.tensors,
            # `one_pass` itself means that the loss is a mean over rows, so that profiles can be stacked.
            objective=one_pass if type(self).loss is Method.loss else partial(self.loss, changes),
            needs_every_token=self.needs_every_token,
        )
        for name, initial in selection.initial_values.items():
            adaptation.trainable[name].data.copy_(initial)
        return adaptation

    def _check_model(self, model: PreTrainedModel, parts: Anatomy) -> None:
        if self.needs_classifier and not parts.classifies_texts:
            raise InputError(
                f"{type(self).__name__} needs a sequence classifier, because of its loss or of tokens that "
                f"it inserts, and {type(model).__name__} is none. Take another method, or "
                "AutoModelForSequenceClassification."
            )

    def head(self, parts: Anatomy) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained with the task head, by full name."""
        pooler = [parts.pooler] if parts.pooler and self.trains_pooler else []
        return {
            f"{part.path}.{name}": value
            for part in (*parts.head, *pooler)
            for name, value in part.module.named_parameters()
        }
