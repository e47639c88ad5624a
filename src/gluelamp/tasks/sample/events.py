"""Events, who did what to whom, as sentences whose relations follow from their fields.

Synonyms, voice and word order vary independently of the relation, so that counting words does not
reveal it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from gluelamp.tasks.sample import words
from gluelamp.tasks.sample.words import Scene

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)


@dataclass(frozen=True)
class Event:
    """One event; an empty field is not stated.

    Args:
        agent: a character, or the kind of one.
        verb: in its base form.
        patient: a character or an object, or the kind of one.
        place: with its preposition.
        time: with its preposition.
        trait: an adjective of the agent.
        count: the number of objects.
        negated: whether it did not happen.
    """

    agent: str
    verb: str
    patient: str
    place: str = ""
    time: str = ""
    trait: str = ""
    count: str = ""
    negated: bool = False


def sample_event(rng: Random, scene: Scene) -> Event:
    """Return an event between two characters, or between a character and an object."""
    social = rng.random() < 0.5
    agent = rng.choice(scene.characters)
    return Event(
        agent=agent,
        verb=rng.choice(list(words.SOCIAL_VERBS if social else words.THING_VERBS)),
        patient=_other(rng, scene.characters if social else scene.objects, agent),
        place=rng.choice(scene.places),
        time=rng.choice(words.TIMES),
        trait=rng.choice(words.TRAITS) if rng.random() < 0.4 else "",
        count=rng.choice(words.NUMBERS) if not social and rng.random() < 0.7 else "",
    )


def changeable(event: Event, scene: Scene) -> list[str]:
    """Return the fields whose change makes another event."""
    # Only events between characters have roles to exchange, and only counted objects a number.
    special = ["roles"] if event.patient in scene.characters else ["count"] if event.count else []
    return [*special, "agent", "patient", "verb", "place", "time"]


def change(rng: Random, event: Event, field: str, scene: Scene) -> Event:
    """Return the event with another word in one field, or with exchanged roles."""
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


def _with(event: Event, field: str, word: str) -> Event:
    changes: dict[str, Any] = {field: word}
    return replace(event, **changes)


def _other(rng: Random, options: list[str], *taken: str) -> str:
    return rng.choice([option for option in options if option not in taken])


def infer(rng: Random, scene: Scene, strong: Event, label: int) -> tuple[Event, Event]:
    """Return a premise and a hypothesis with the relation `label`."""
    negated = rng.random() < 0.25
    weak = weaken(rng, scene, strong)
    if label == CONTRADICTION:
        stated = [field for field in ("count", "place", "time") if getattr(strong, field)]
        clash = rng.choice(stated)
        # A negated weaker event contradicts the specific one. So does another count, place or time. Half
        # of the contradictions have no negation: "not" alone must not give the label away.
        pairs = [(strong, replace(weak, negated=True)), (replace(weak, negated=True), strong)]
        return rng.choice([*pairs, *[(strong, change(rng, strong, clash, scene))] * 2])
    if negated:
        strong, weak = replace(strong, negated=True), replace(weak, negated=True)
    # Entailment goes from the more specific event to the weaker one. Negation reverses it: whoever did not
    # meet an artist did not meet a painter.
    return (strong, weak) if (label == ENTAILMENT) != negated else (weak, strong)


def weaken(rng: Random, scene: Scene, event: Event) -> Event:
    """Return an event that is true whenever the given one is.

    One or two fields are less specific: a kind in place of a noun, or no place or time.
    """
    fields = [field for field in ("agent", "patient", "place", "time") if getattr(event, field)]
    rng.shuffle(fields)
    for field in fields[: rng.choice((1, 2))]:
        weaker = scene.kind(getattr(event, field)) if field in ("agent", "patient") else ""
        event = _with(event, field, weaker)
    return event


def say(rng: Random, event: Event) -> str:
    """Return a sentence with either of two verbs, in either voice, with the time first or last."""
    verb = rng.choice((event.verb, words.SYNONYMS[event.verb]))
    agent, patient = f"the {event.trait} {event.agent}", _patient(event)
    if rng.random() < 0.3:
        auxiliary = ("were" if event.count else "was") + (" not" if event.negated else "")
        clause = f"{patient} {auxiliary} {words.past(verb)} by {agent}"
    else:
        clause = f"{agent} {f'did not {verb}' if event.negated else words.past(verb)} {patient}"
    if event.time and rng.random() < 0.3:
        return words.sentence(f"{event.time}, {clause} {event.place}.")
    return words.sentence(f"{clause} {event.place} {event.time}.")


def ask(rng: Random, event: Event) -> str:
    """Return the question whether the event happened, as BoolQ's questions without capital and mark."""
    verb = rng.choice((event.verb, words.SYNONYMS[event.verb]))
    question = f"did the {event.agent} {verb} {_patient(event)} {event.place} {event.time}"
    return " ".join(question.split())


def _patient(event: Event) -> str:
    return f"{event.count} {words.with_s(event.patient)}" if event.count else f"the {event.patient}"
