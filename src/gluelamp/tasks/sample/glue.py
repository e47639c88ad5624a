"""The examples of the GLUE-shaped sample: one function for each task.

MRPC, STS-B, MNLI (and AX) and RTE are made from events: who did what to whom. The label of a pair follows
from the edits between two events, not from their wording. Synonyms, voice and word order vary independently,
so that counting words does not solve the tasks.

CoLA, SST-2, QQP, QNLI and WNLI are made from templates. The two sides of each template have about the same
words, so that only their arrangement gives the label.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from gluelamp.tasks.sample import words
from gluelamp.tasks.sample.events import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    change,
    changeable,
    infer,
    sample_event,
    say,
)
from gluelamp.tasks.sample.words import Scene

Example = tuple[tuple[str, ...], float]

# The points of STS-B's scale that one change of meaning costs. A similarity starts at five points.
_COSTS = {
    "time": 0.8, "place": 1, "count": 1, "roles": 1.4, "agent": 1.4, "patient": 1.6, "verb": 2,
}  # fmt: skip


def mrpc(rng: Random, scene: Scene) -> Example:
    """Return one event in two wordings (1), or two events that differ in one or two fields (0)."""
    event, equivalent = sample_event(rng, scene), rng.random() < 0.72
    other = event
    if not equivalent:
        for field in rng.sample(changeable(event, scene), rng.choice((1, 2))):
            other = change(rng, other, field, scene)
    if rng.random() < 0.5:
        other = replace(other, trait="")
    return (say(rng, event), say(rng, other)), int(equivalent)


def stsb(rng: Random, scene: Scene) -> Example:
    """Return two events and their similarity, by the kind and number of the edits between them."""
    event = sample_event(rng, scene)
    other, score = event, 5.0
    if rng.random() < 0.12:
        other, score = sample_event(rng, scene), 0.3
    else:
        fields = changeable(event, scene)
        rng.shuffle(fields)
        for field in fields[: rng.choice((0, 1, 1, 2, 2, 3, 4))]:
            other, score = change(rng, other, field, scene), score - _COSTS[field]
    judged = score + rng.uniform(-0.5, 0.5)  # human annotators disagree, too
    return (say(rng, event), say(rng, other)), min(max(0.0, round(judged, 1)), 5.0)


def mnli(rng: Random, scene: Scene) -> Example:
    """Return an event, and one that follows (0), may be true in addition (1) or contradicts it (2)."""
    event, label = sample_event(rng, scene), rng.choice((ENTAILMENT, NEUTRAL, CONTRADICTION))
    premise, hypothesis = infer(rng, scene, event, label)
    return (say(rng, premise), say(rng, hypothesis)), label


def rte(rng: Random, scene: Scene) -> Example:
    """Return a premise of two events, and a hypothesis on one of them that follows (0) or does not (1)."""
    first, second = (replace(sample_event(rng, scene), place="", trait="") for _ in range(2))
    entailed = rng.random() < 0.5
    label = ENTAILMENT if entailed else rng.choice((NEUTRAL, CONTRADICTION))
    premise, hypothesis = infer(rng, scene, first, label)
    mixable = label == NEUTRAL and second.agent not in (first.agent, first.patient)
    if mixable and rng.random() < 0.5:  # the hypothesis has the agent of the other event
        premise, hypothesis = first, replace(first, agent=second.agent)
    sentences = [say(rng, premise), say(rng, replace(second, time=""))]
    rng.shuffle(sentences)
    joined = f"{sentences[0][:-1]}, and {words.clause(sentences[1])}."
    return (joined, say(rng, hypothesis)), int(not entailed)


# Each row: an acceptable and an unacceptable sentence that differ in one rule of grammar. Capital letters
# name roles: A and B characters, V a verb, a suffix its inflection.
_COLA = (
    ("{a} {place} {Vs} {b}.", "{a} {place} {V} {b}."),
    ("{as} {place} {V} {b}.", "{as} {place} {Vs} {b}."),
    ("{a} {Ved} {self} {place} {time}.", "{as} {Ved} {self} {place} {time}."),
    ("{as} {Ved} themselves {place} {time}.", "{a} {Ved} themselves {place} {time}."),
    ("{a} {Ved} {b} {place}.", "{a} {Ved} {place} {time}."),
    ("{a} {Ied} {place} {time}.", "{a} {Ied} {b} {place}."),
    ("{a} {will} {V} {b} {place}.", "{a} {will} {Ved} {b} {place}."),
    ("{a} had {Ved} {bs} {place}.", "{a} had {V} {bs} {place}."),
    ("{a} {Ved} {bs} {time}.", "{a} {bs} {Ved} {time}."),
    ("the {trait} {A} {Ved} {b} {time}.", "the {A} {trait} {Ved} {b} {time}."),
    ("the {A} {Ved} the {B} {place}.", "{A} the {Ved} the {B} {place}."),
    ("who did {a} {V} {place} {time}?", "who did {a} {V} {b} {place}?"),
    ("did {a} {V} {b} {time}?", "did {a} {V} {time}?"),
    ("{a} who {Ved} {bs} has {Ied}.", "{a} who {Ved} {bs} have {Ied}."),
    ("{as} {place} have {Ied}.", "{as} have {place} the {Ied}."),
    ("{b} was {Ved} by {a} {time}.", "{b} was {Ved} {a} by {time}."),
)
# {yes} is a clause and {good} an adjective with the opinion of the label; {no} and {bad} have the opposite.
_SST2 = (
    "{yes} and {yes_too}.",
    "{no}, but {yes}.",
    "although {no}, {yes}.",
    "{yes}, although {no}.",
    "I cannot say that {no}.",
    "I must say that {yes}.",
    "I expected a rather {bad} film and found the {aspect} {good}.",
    "the critics who called the {aspect} {bad} missed how {good} it is.",
    "{no} at first, yet in the end {yes}.",
    "the {aspect} is more {good} than {bad}.",
)
# Each row: wordings of one question, and similar wordings of another question.
_QQP = (
    (
        ("how do I travel from {x} to {y}?", "what is the fastest route to {y} from {x}?",
         "how can I get to {y} if I leave from {x}?"),
        ("how do I travel from {y} to {x}?", "what is the fastest route to {x} from {y}?",
         "how can I get to {z} if I leave from {x}?"),
    ),
    (
        ("how can I {W} a {t} in {x}?", "what is the best way to {Wsyn} a {t} in {x}?",
         "in {x}, who can teach me to {W} a {t}?"),
        ("how can I {W} a {u} in {x}?", "what is the best way to {Wsyn} a {t} in {y}?",
         "in {x}, who can teach me to {W_not} a {t}?"),
    ),
    (
        ("is a {t} cheaper than a {u} in {x}?", "in {x}, does a {u} cost more than a {t}?",
         "can I get a {t} in {x} for less than a {u}?"),
        ("is a {u} cheaper than a {t} in {x}?", "in {x}, does a {t} cost more than a {u}?",
         "can I get a {t} in {y} for less than a {u}?"),
    ),
    (
        ("why did {a} {V} {b} in {x}?", "what made {a} {Vsyn} {b} in {x}?",
         "for what reason was {b} {Ved} by {a} in {x}?"),
        ("why did {b} {V} {a} in {x}?", "what made {a} {Vsyn} {b} in {y}?",
         "for what reason was {a} {Ved} by {b} in {x}?"),
    ),
)  # fmt: skip
# Each row: a question, sentences that answer it, and sentences that do not.
_QNLI = (
    ("who did {a} {V} {place}?",
     ("{a} {Vsyned} {b} {place} {time}.", "{b} was {Ved} by {a} {place}."),
     ("{b} {Vsyned} {a} {place} {time}.", "{a} was {Ved} by {b} {place}.")),
    ("who {Ved} {a} {place}?",
     ("{a} was {Ved} by {b} {place}.", "{b} {Vsyned} {a} {place} {time}."),
     ("{a} was {Ved} {place} {time}.", "{a} {Vsyned} {b} {place} {time}.")),
    ("when did {a} {V} {b}?",
     ("{a} {Vsyned} {b} {place} {time}.", "{time}, {b} was {Ved} by {a}."),
     ("{a} {Vsyned} {b} {place}.", "{time}, {a} was {Ved} by {b}.")),
    ("where did {a} {W} {n} {ts}?",
     ("{a} {Wed} {n} {ts} {place}.", "{n} {ts} were {Wsyned} by {a} {place} {time}."),
     ("{a} {Wed} {n} {ts} {time}.", "{n} {ts} were {Wsyned} by {b} {place} {time}.")),
    ("how many {ts} did {a} {W} {place}?",
     ("{a} {Wed} {n} {ts} {place}.", "{n} {ts} were {Wsyned} by {a} {place}."),
     ("{a} {Wed} the {ts} {place} {time}.", "{n} {us} were {Wsyned} by {a} {place}.")),
)  # fmt: skip
# Each row: an event, a reason that is true of its subject, and a reason that is true of its object.
WINOGRAD = (
    ("{a} thanked {b} because", "had been rescued", "had been so kind"),
    ("{a} paid {b} because", "owed some money", "had done the work"),
    ("{a} envied {b} because", "had lost the race", "had won the race"),
    ("{a} called {b} because", "needed some advice", "gave good advice"),
    ("{a} could not see {b} because", "had gone blind", "had hidden well"),
    ("{a} punished {b} because", "wanted more order", "had broken a rule"),
    ("{a} overtook {b} because", "ran so fast", "ran so slowly"),
)


def cola(rng: Random, scene: Scene) -> Example:
    """Return a sentence that is grammatical (1) or violates one rule of its construction (0)."""
    label = int(rng.random() < 0.7)
    return (words.fill(rng.choice(_COLA)[1 - label], words.for_templates(rng, scene)),), label


def sst2(rng: Random, scene: Scene) -> Example:
    """Return an opinion on a film, positive (1) or negative (0) as a whole, not word by word."""
    del scene
    label = rng.random() < 0.53
    aspect, other = rng.sample(words.ASPECTS, 2)
    slots = {
        "yes": _opinion(rng, aspect, label),
        "yes_too": _opinion(rng, other, label),
        "no": _opinion(rng, other, not label),
        "aspect": aspect,
        "good": _adjective(rng, label),
        "bad": _adjective(rng, not label),
    }
    return (words.fill(rng.choice(_SST2), slots),), int(label)


def qqp(rng: Random, scene: Scene) -> Example:
    """Return two questions that have the same answer (1) or not (0)."""
    label = int(rng.random() < 0.37)
    same, different = rng.choice(_QQP)
    first, second = rng.sample(same, 2)
    slots = words.for_templates(rng, scene)
    return (words.fill(first, slots), words.fill(second if label else rng.choice(different), slots)), label


def qnli(rng: Random, scene: Scene) -> Example:
    """Return a question and a sentence that answers it (0) or does not (1)."""
    question, *replies = rng.choice(_QNLI)
    label, slots = rng.choice((0, 1)), words.for_templates(rng, scene)
    return (words.fill(question, slots), words.fill(rng.choice(replies[label]), slots)), label


def wnli(rng: Random, scene: Scene) -> Example:
    """Return a sentence, and its reason with the pronoun's referent (1) or the other character (0)."""
    event, *reasons = rng.choice(WINOGRAD)
    referent, label, slots = rng.choice((0, 1)), rng.choice((0, 1)), words.for_templates(rng, scene)
    reason, pronoun = reasons[referent], rng.choice(("he", "she"))
    named = "{a}" if (referent == 0) == label else "{b}"
    return (words.fill(f"{event} {pronoun} {reason}.", slots), words.fill(f"{named} {reason}.", slots)), label


def _opinion(rng: Random, aspect: str, positive: bool) -> str:
    # A negated adjective of the opposite polarity: the single word contradicts the label.
    if rng.random() < 0.3:
        negation = rng.choice(("not", "never", "hardly", "far from", "anything but"))
        return f"the {aspect} is {negation} {_adjective(rng, not positive)}"
    stress = rng.choice(("really", "quite", "always", "rather"))
    return f"the {aspect} is {stress} {_adjective(rng, positive)}"


def _adjective(rng: Random, positive: bool) -> str:
    return rng.choice(words.POSITIVE if positive else words.NEGATIVE)
