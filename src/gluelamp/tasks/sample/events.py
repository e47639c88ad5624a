"""Tasks made of little events, who did what to whom: MRPC, STS-B, MNLI (and AX), RTE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from gluelamp.tasks.sample import words
from gluelamp.tasks.sample.words import Scene

Example = tuple[tuple[str, ...], float]

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)
# What one change of meaning takes off the five points of STS-B.
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
    """Draw one event worded twice (1), or two that differ in one or two fields (0)."""
    event, equivalent = _draw(rng, scene), rng.random() < 0.72
    other = event
    if not equivalent:
        for field in rng.sample(_fields(event, scene), rng.choice((1, 2))):
            other = _change(rng, other, field, scene)
    if rng.random() < 0.5:
        other = replace(other, trait="")
    return (_say(rng, event), _say(rng, other)), int(equivalent)


def stsb(rng: Random, scene: Scene) -> Example:
    """Draw two events and their similarity, by the kind and number of the edits between them."""
    event = _draw(rng, scene)
    other, score = event, 5.0
    if rng.random() < 0.12:
        other, score = _draw(rng, scene), 0.3
    else:
        fields = _fields(event, scene)
        rng.shuffle(fields)
        for field in fields[: rng.choice((0, 1, 1, 2, 2, 3, 4))]:
            other, score = _change(rng, other, field, scene), score - _COSTS[field]
    judged = score + rng.uniform(-0.5, 0.5)  # human judges do not agree either
    return (_say(rng, event), _say(rng, other)), min(max(0.0, round(judged, 1)), 5.0)


def mnli(rng: Random, scene: Scene) -> Example:
    """Draw an event, and what follows from it (0), may be true as well (1) or cannot be (2)."""
    event, label = _draw(rng, scene), rng.choice((ENTAILMENT, NEUTRAL, CONTRADICTION))
    premise, hypothesis = _infer(rng, scene, event, label)
    return (_say(rng, premise), _say(rng, hypothesis)), label


def rte(rng: Random, scene: Scene) -> Example:
    """Draw a premise of two events, and a hypothesis on one that follows (0) or does not (1)."""
    first, second = (replace(_draw(rng, scene), place="", trait="") for _ in range(2))
    entailed = rng.random() < 0.5
    label = ENTAILMENT if entailed else rng.choice((NEUTRAL, CONTRADICTION))
    premise, hypothesis = _infer(rng, scene, first, label)
    mixable = label == NEUTRAL and second.agent not in (first.agent, first.patient)
    if mixable and rng.random() < 0.5:  # the deed of the one with the agent of the other
        premise, hypothesis = first, replace(first, agent=second.agent)
    clauses = [_say(rng, premise)[:-1], _say(rng, replace(second, time=""))[:-1]]
    rng.shuffle(clauses)
    joined = f"{clauses[0]}, and {clauses[1][0].lower()}{clauses[1][1:]}."
    return (joined, _say(rng, hypothesis)), int(not entailed)


def _draw(rng: Random, scene: Scene) -> _Event:
    social = rng.random() < 0.5
    agent = rng.choice(scene.persons)
    return _Event(
        agent=agent,
        verb=rng.choice(list(words.PERSON_VERBS if social else words.THING_VERBS)),
        patient=_other(rng, scene.persons if social else scene.objects, agent),
        place=rng.choice(scene.places),
        time=rng.choice(words.TIMES),
        trait=rng.choice(words.TRAITS) if rng.random() < 0.4 else "",
        count=rng.choice(words.NUMBERS) if not social and rng.random() < 0.7 else "",
    )


def _fields(event: _Event, scene: Scene) -> list[str]:
    special = ["roles"] if event.patient in scene.persons else ["count"] if event.count else []
    return [*special, "agent", "patient", "verb", "place", "time"]


def _change(rng: Random, event: _Event, field: str, scene: Scene) -> _Event:
    if field == "roles":
        return replace(event, agent=event.patient, patient=event.agent)
    social = event.patient in scene.persons
    options = {
        "agent": scene.persons,
        "patient": scene.persons if social else scene.objects,
        "verb": list(words.PERSON_VERBS if social else words.THING_VERBS),
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
    """Return a premise and a hypothesis that stand in the relation `label`."""
    negated = rng.random() < 0.25
    weak = _weaken(rng, scene, strong)
    if label == CONTRADICTION:
        stated = [field for field in ("count", "place", "time") if getattr(strong, field)]
        clash = rng.choice(stated)
        pairs = [(strong, replace(weak, negated=True)), (replace(weak, negated=True), strong)]
        return rng.choice([*pairs, *[(strong, _change(rng, strong, clash, scene))] * 2])
    if negated:
        strong, weak = replace(strong, negated=True), replace(weak, negated=True)
    # A negation turns the direction of entailment round.
    return (strong, weak) if (label == ENTAILMENT) != negated else (weak, strong)


def _weaken(rng: Random, scene: Scene, event: _Event) -> _Event:
    fields = [field for field in ("agent", "patient", "place", "time") if getattr(event, field)]
    rng.shuffle(fields)
    for field in fields[: rng.choice((1, 2))]:
        less = scene.kind(getattr(event, field)) if field in ("agent", "patient") else ""
        event = _with(event, field, less)
    return event


def _say(rng: Random, event: _Event) -> str:
    """Word an event with either of two verbs, in either voice, with the time first or last."""
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
