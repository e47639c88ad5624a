"""The trainer, of one profile."""

from __future__ import annotations

from gluelamp.training.learner import Learner, Profile
from gluelamp.training.trainer import Outcome, Trainer


class SoloTrainer(Trainer):
    """A trainer of one profile, which is at hand."""

    def run(self) -> Outcome:  # type: ignore[override]
        (outcome,) = super().run()
        return outcome

    @property
    def learner(self) -> Learner:
        return self.learners[0]

    @property
    def profile(self) -> Profile:
        return self.learner.profile
