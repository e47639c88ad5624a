"""Tasks made from events, who did what to whom: MRPC, STS-B, MNLI (and AX), RTE.

The label of a pair follows from the edits between two events, not from their wording. Synonyms, voice and
word order vary independently, so that counting words does not solve the tasks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from gluelamp.tasks.sample import words
from gluelamp.tasks.sample.words import Scene

Example = tuple[tuple[str, ...], float]

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)
# The points of STS-B's scale that one change of meaning costs. A similarity starts at five points.
_COSTS = {
    "time": 0.8, "place": 1, "count": 1, "roles": 1.4, "agent": 1.4, "patient": 1.6, "verb": 2,
}  # fmt: skip


@dataclass(frozen=True)
class _Event:
    agent: str
    verb: str
    patient: str
    place: str = ""
    time: str = ""
    trait: str = ""
    count: str = ""
    negated: bool = False


def mrpc(rng: Random, scene: Scene) -> Example:
    """Return one event in two wordings (1), or two events that differ in one or two fields (0)."""
    event, equivalent = _sample_event(rng, scene), rng.random() < 0.72
    other = event
    if not equivalent:
        for field in rng.sample(_fields(event, scene), rng.choice((1, 2))):
            other = _change(rng, other, field, scene)
    if rng.random() < 0.5:
        other = replace(other, trait="")
    return (_say(rng, event), _say(rng, other)), int(equivalent)


def stsb(rng: Random, scene: Scene) -> Example:
    """Return two events and their similarity, by the kind and number of the edits between them."""
    event = _sample_event(rng, scene)
    other, score = event, 5.0
    if rng.random() < 0.12:
        other, score = _sample_event(rng, scene), 0.3
    else:
        fields = _fields(event, scene)
        rng.shuffle(fields)
        for field in fields[: rng.choice((0, 1, 1, 2, 2, 3, 4))]:
            other, score = _change(rng, other, field, scene), score - _COSTS[field]
    judged = score + rng.uniform(-0.5, 0.5)  # human annotators disagree, too
    return (_say(rng, event), _say(rng, other)), min(max(0.0, round(judged, 1)), 5.0)


def mnli(rng: Random, scene: Scene) -> Example:
    """Return an event, and one that follows (0), may be true in addition (1) or contradicts it (2)."""
    event, label = _sample_event(rng, scene), rng.choice((ENTAILMENT, NEUTRAL, CONTRADICTION))
    premise, hypothesis = _infer(rng, scene, event, label)
    return (_say(rng, premise), _say(rng, hypothesis)), label


def rte(rng: Random, scene: Scene) -> Example:
    """Return a premise of two events, and a hypothesis on one of them that follows (0) or does not (1)."""
    first, second = (replace(_sample_event(rng, scene), place="", trait="") for _ in range(2))
    entailed = rng.random() < 0.5
    label = ENTAILMENT if entailed else rng.choice((NEUTRAL, CONTRADICTION))
    premise, hypothesis = _infer(rng, scene, first, label)
    mixable = label == NEUTRAL and second.agent not in (first.agent, first.patient)
    if mixable and rng.random() < 0.5:  # the hypothesis has the agent of the other event
        premise, hypothesis = first, replace(first, agent=second.agent)
    clauses = [_say(rng, premise)[:-1], _say(rng, replace(second, time=""))[:-1]]
    rng.shuffle(clauses)
    joined = f"{clauses[0]}, and {clauses[1][0].lower()}{clauses[1][1:]}."
    return (joined, _say(rng, hypothesis)), int(not entailed)


def _sample_event(rng: Random, scene: Scene) -> _Event:
    social = rng.random() < 0.5
    agent = rng.choice(scene.characters)
    return _Event(
        agent=agent,
        verb=rng.choice(list(words.SOCIAL_VERBS if social else words.THING_VERBS)),
        patient=_other(rng, scene.characters if social else scene.objects, agent),
        place=rng.choice(scene.places),
        time=rng.choice(words.TIMES),
        trait=rng.choice(words.TRAITS) if rng.random() < 0.4 else "",
        count=rng.choice(words.NUMBERS) if not social and rng.random() < 0.7 else "",
    )


def _fields(event: _Event, scene: Scene) -> list[str]:
    # Only events between characters have roles to exchange, and only counted objects a number.
    special = ["roles"] if event.patient in scene.characters else ["count"] if event.count else []
    return [*special, "agent", "patient", "verb", "place", "time"]


def _change(rng: Random, event: _Event, field: str, scene: Scene) -> _Event:
    if field == "roles":
        return replace(event, agent=event.patient, patient=event.agent)
    social = event.patient in scene.characters
    options = {
        "agent": scene.characters,
        "patient": scene.characters if social else scene.objects,
        "verb": list(words.SOCIAL_VERBS if social else words.THING_VERBS),
        "place": scene.places,
        "time": words.TIMES,
        "count": words.NUMBERS,
    }[field]
    other = _other(rng, options, event.agent, event.patient, getattr(event, field))
    return _with(event, field, other)


def _with(event: _Event, field: str, word: str) -> _Event:
    changes: dict[str, Any] = {field: word}
    return replace(event, **changes)


def _other(rng: Random, options: list[str], *taken: str) -> str:
    return rng.choice([option for option in options if option not in taken])


def _infer(rng: Random, scene: Scene, strong: _Event, label: int) -> tuple[_Event, _Event]:
    """Return a premise and a hypothesis with the relation `label`."""
    negated = rng.random() < 0.25
    weak = _weaken(rng, scene, strong)
    if label == CONTRADICTION:
        stated = [field for field in ("count", "place", "time") if getattr(strong, field)]
        clash = rng.choice(stated)
        # A negated weaker event contradicts the specific one. So does another count, place or time. Half
        # of the contradictions have no negation: "not" alone must not give the label away.
        pairs = [(strong, replace(weak, negated=True)), (replace(weak, negated=True), strong)]
        return rng.choice([*pairs, *[(strong, _change(rng, strong, clash, scene))] * 2])
    if negated:
        strong, weak = replace(strong, negated=True), replace(weak, negated=True)
    # Entailment goes from the more specific event to the weaker one. Negation reverses it: whoever did not
    # meet an artist did not meet a painter.
    return (strong, weak) if (label == ENTAILMENT) != negated else (weak, strong)


def _weaken(rng: Random, scene: Scene, event: _Event) -> _Event:
    # A kind in place of a noun, or no place or time: the result is true whenever the event is.
    fields = [field for field in ("agent", "patient", "place", "time") if getattr(event, field)]
    rng.shuffle(fields)
    for field in fields[: rng.choice((1, 2))]:
        weaker = scene.kind(getattr(event, field)) if field in ("agent", "patient") else ""
        event = _with(event, field, weaker)
    return event


def _say(rng: Random, event: _Event) -> str:
    """Return a sentence with either of two verbs, in either voice, with the time first or last."""
    verb = rng.choice((event.verb, words.SYNONYMS[event.verb]))
    agent = f"the {event.trait} {event.agent}"
    patient = f"the {event.patient}"
    if event.count:
        patient = f"{event.count} {words.with_s(event.patient)}"
    if rng.random() < 0.3:
        auxiliary = ("were" if event.count else "was") + (" not" if event.negated else "")
        clause = f"{patient} {auxiliary} {words.past(verb)} by {agent}"
    else:
        clause = f"{agent} {f'did not {verb}' if event.negated else words.past(verb)} {patient}"
    if event.time and rng.random() < 0.3:
        return words.sentence(f"{event.time}, {clause} {event.place}.")
    return words.sentence(f"{clause} {event.place} {event.time}.")
