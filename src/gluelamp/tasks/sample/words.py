"""The word lists of the sample, the regular inflections of English, and the words that fill templates."""

# ruff: noqa: SIM905 - lists of words are easier to read and edit as lines of words

# The order of all words is part of the sample: a random generator picks words by position. A changed order
# changes the rows, their fingerprint and the identity of every run on the sample.

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Scene:
    """The vocabulary of one domain: characters and objects by kind, and places.

    A kind is a hypernym, such as ``"artist"`` for ``"painter"``. Replacing a noun by its kind makes a weaker
    statement, from which the labels of the entailment tasks follow.
    """

    people: dict[str, str]
    things: dict[str, str]
    places: list[str]

    @property
    def characters(self) -> list[str]:
        """The people of all kinds."""
        return " ".join(self.people.values()).split()

    @property
    def objects(self) -> list[str]:
        """The things of all kinds."""
        return " ".join(self.things.values()).split()

    def kind(self, noun: str) -> str:
        """Return the kind of a noun, such as ``"artist"`` for ``"painter"``."""
        kinds = self.people | self.things
        return next(kind for kind, members in kinds.items() if noun in members.split())


# The two scenes have no noun in common. MNLI's mismatched splits and the diagnostic set use the second, so
# that they differ in domain from the training rows.
TOWN = Scene(
    people={
        "artist": "painter sculptor poet dancer singer",
        "athlete": "boxer swimmer sprinter cyclist skater",
        "official": "mayor senator governor minister judge",
        "scientist": "chemist biologist geologist physicist astronomer",
    },
    things={
        "instrument": "violin trumpet piano drum flute",
        "tool": "hammer drill shovel saw ladder",
        "vehicle": "truck tractor bicycle tram van",
        "garment": "coat scarf jacket skirt sweater",
    },
    places="at the museum,in the harbour,near the stadium,in the library,at the market,"
    "behind the station,in the park,near the castle,in Oslo,in Lima".split(","),
)
COUNTRY = Scene(
    people={
        "worker": "baker plumber carpenter gardener mechanic",
        "seafarer": "captain sailor fisher diver whaler",
        "soldier": "sergeant general archer guard scout",
        "villager": "shepherd miller blacksmith weaver potter",
    },
    things={
        "container": "basket bucket barrel bottle crate",
        "animal": "horse goat donkey rabbit hen",
        "boat": "canoe ferry raft yacht kayak",
        "plant": "rose cactus fern tulip orchid",
    },
    places="on the farm,near the river,in the barn,at the mill,in the valley,behind the chapel,"
    "on the island,near the lighthouse,in Cairo,in Quebec".split(","),
)


def _verbs(pairs: str) -> dict[str, str]:
    return dict(pair.split("/") for pair in pairs.split())


# Regular verbs, each with a synonym. Irregular verbs would need stored forms.
SOCIAL_VERBS = _verbs(
    "support/assist contact/reach hire/employ praise/compliment chase/pursue warn/alert "
    "greet/welcome question/interview scare/frighten rescue/save deceive/fool annoy/irritate"
)
THING_VERBS = _verbs(
    "repair/mend clean/wash inspect/examine purchase/acquire conceal/cover discard/dump "
    "carry/transport damage/wreck discover/locate display/exhibit collect/gather request/order"
)
SYNONYMS = SOCIAL_VERBS | THING_VERBS
INTRANSITIVE = "arrive sneeze yawn disappear laugh vanish stumble linger".split()
TRAITS = "old young tall clever tired cheerful famous quiet nervous brave".split()
TIMES = "on Monday,on Friday,on Sunday,last week,last night,this morning,in spring".split(",")
NUMBERS = "two three four five six seven eight nine".split()
CITIES = "Oslo Lima Cairo Quebec Delhi Paris Tokyo Rome Boston Dublin".split()
ASPECTS = "plot acting script music pacing dialogue ending cast camera humour".split()
POSITIVE = (
    "gripping charming clever funny moving fresh elegant brilliant superb warm witty inventive vivid tender"
).split()
NEGATIVE = (
    "dull clumsy boring stale messy shallow tedious bland awkward lifeless sluggish trite hollow muddled"
).split()


def with_s(word: str) -> str:
    """Return a regular noun's plural or a regular verb's third-person form."""
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def past(verb: str) -> str:
    """Return the past tense of a regular verb, which is also its participle."""
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def sentence(text: str) -> str:
    """Return the text with single spaces, no space before the full stop, and a capital letter."""
    text = " ".join(text.split()).replace(" .", ".")
    return text[0].upper() + text[1:]


def clause(text: str) -> str:
    """Return a sentence without its capital letter and full stop."""
    return text[0].lower() + text[1:].removesuffix(".")


def fill(template: str, slots: dict[str, str]) -> str:
    """Return a sentence: the template with words in the place of its braces."""
    return sentence(template.format_map(slots))


def for_templates(rng: Random, scene: Scene) -> dict[str, str]:
    """Return words for the templates: characters a, b; objects t, u; cities x, y, z; verbs V, W, I.

    A capital letter is a bare noun or verb, and a suffix its inflection.
    """
    first, second = rng.sample(scene.characters, 2)
    trait, other_trait = rng.sample(TRAITS, 2)
    slots = {
        "A": first, "B": second, "trait": trait,
        "a": f"the {trait} {first}", "as": f"the {trait} {with_s(first)}",
        "b": f"the {other_trait} {second}", "bs": f"the {other_trait} {with_s(second)}",
        "n": rng.choice(NUMBERS),
        "place": rng.choice(scene.places), "time": rng.choice(TIMES),
        "self": rng.choice(("himself", "herself")),
        "will": rng.choice(("will", "did not", "could")),
        "Ied": past(rng.choice(INTRANSITIVE)),
    }  # fmt: skip
    slots |= zip("tu", rng.sample(scene.objects, 2), strict=True)
    slots |= zip("xyz", rng.sample(CITIES, 3), strict=True)
    slots |= {f"{name}s": with_s(slots[name]) for name in "tu"}
    slots["W"], slots["W_not"] = rng.sample(list(THING_VERBS), 2)
    slots["V"] = rng.choice(list(SOCIAL_VERBS))
    slots["Vs"] = with_s(slots["V"])
    for verb in "VW":
        synonym = SYNONYMS[slots[verb]]
        slots |= {f"{verb}ed": past(slots[verb]), f"{verb}syn": synonym}
        slots[f"{verb}syned"] = past(synonym)
    return slots
