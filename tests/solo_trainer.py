"""A trainer of a single profile."""

from __future__ import annotations

from gluelamp.training.profile_state import Profile, ProfileState
from gluelamp.training.trainer import Outcome, Trainer


class SoloTrainer(Trainer):
    """A trainer of one profile, whose outcome and state need no index."""

    def run(self) -> Outcome:  # type: ignore[override]
        (outcome,) = super().run()
        return outcome

    @property
    def state(self) -> ProfileState:
        return self.states[0]

    @property
    def profile(self) -> Profile:
        return self.state.profile
