"""Tasks made from templates: CoLA, SST-2, QQP, QNLI, WNLI.

The two sides of each template have about the same words, so that only their arrangement gives the label.
"""

from __future__ import annotations

from random import Random

from gluelamp.tasks.sample import words
from gluelamp.tasks.sample.events import Example
from gluelamp.tasks.sample.words import Scene

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
_WNLI = (
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
    return (_fill(rng.choice(_COLA)[1 - label], _slots(rng, scene)),), label


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
    return (_fill(rng.choice(_SST2), slots),), int(label)


def qqp(rng: Random, scene: Scene) -> Example:
    """Return two questions that have the same answer (1) or not (0)."""
    label = int(rng.random() < 0.37)
    same, different = rng.choice(_QQP)
    first, second = rng.sample(same, 2)
    slots = _slots(rng, scene)
    return (_fill(first, slots), _fill(second if label else rng.choice(different), slots)), label


def qnli(rng: Random, scene: Scene) -> Example:
    """Return a question and a sentence that answers it (0) or does not (1)."""
    question, *replies = rng.choice(_QNLI)
    label, slots = rng.choice((0, 1)), _slots(rng, scene)
    return (_fill(question, slots), _fill(rng.choice(replies[label]), slots)), label


def wnli(rng: Random, scene: Scene) -> Example:
    """Return a sentence, and its reason with the pronoun's referent (1) or the other character (0)."""
    event, *reasons = rng.choice(_WNLI)
    referent, label, slots = rng.choice((0, 1)), rng.choice((0, 1)), _slots(rng, scene)
    reason, pronoun = reasons[referent], rng.choice(("he", "she"))
    named = "{a}" if (referent == 0) == label else "{b}"
    return (_fill(f"{event} {pronoun} {reason}.", slots), _fill(f"{named} {reason}.", slots)), label


def _fill(template: str, slots: dict[str, str]) -> str:
    return words.sentence(template.format_map(slots))


def _slots(rng: Random, scene: Scene) -> dict[str, str]:
    """Return words for the templates: characters a, b; objects t, u; cities x, y, z; verbs V, W, I."""
    first, second = rng.sample(scene.characters, 2)
    trait, other_trait = rng.sample(words.TRAITS, 2)
    slots = {
        "A": first, "B": second, "trait": trait,
        "a": f"the {trait} {first}", "as": f"the {trait} {words.with_s(first)}",
        "b": f"the {other_trait} {second}", "bs": f"the {other_trait} {words.with_s(second)}",
        "n": rng.choice(words.NUMBERS),
        "place": rng.choice(scene.places), "time": rng.choice(words.TIMES),
        "self": rng.choice(("himself", "herself")),
        "will": rng.choice(("will", "did not", "could")),
        "Ied": words.past(rng.choice(words.INTRANSITIVE)),
    }  # fmt: skip
    slots |= zip("tu", rng.sample(scene.objects, 2), strict=True)
    slots |= zip("xyz", rng.sample(words.CITIES, 3), strict=True)
    slots |= {f"{name}s": words.with_s(slots[name]) for name in "tu"}
    slots["W"], slots["W_not"] = rng.sample(list(words.THING_VERBS), 2)
    slots["V"] = rng.choice(list(words.SOCIAL_VERBS))
    slots["Vs"] = words.with_s(slots["V"])
    for verb in "VW":
        synonym = words.SYNONYMS[slots[verb]]
        slots |= {f"{verb}ed": words.past(slots[verb]), f"{verb}syn": synonym}
        slots[f"{verb}syned"] = words.past(synonym)
    return slots


def _opinion(rng: Random, aspect: str, positive: bool) -> str:
    # A negated adjective of the opposite polarity: the single word contradicts the label.
    if rng.random() < 0.3:
        negation = rng.choice(("not", "never", "hardly", "far from", "anything but"))
        return f"the {aspect} is {negation} {_adjective(rng, not positive)}"
    stress = rng.choice(("really", "quite", "always", "rather"))
    return f"the {aspect} is {stress} {_adjective(rng, positive)}"


def _adjective(rng: Random, positive: bool) -> str:
    return rng.choice(words.POSITIVE if positive else words.NEGATIVE)
