"""The SuperGLUE-shaped sample: records with the keys of the official JSONL files.

BoolQ, CB, MultiRC, RTE and AX-b are made from events, WSC and AX-g from the Winograd templates of GLUE's
sample, COPA and WiC from templates of their own. As in GLUE's sample, the label follows from the arrangement
of the words, not from the words alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

from gluelamp.tasks.sample import glue, words
from gluelamp.tasks.sample.events import ENTAILMENT, Event, ask, change, sample_event, say
from gluelamp.tasks.sample.words import COUNTRY, TOWN, Scene
from gluelamp.tasks.task import Task

Record = dict[str, Any]

_NOISE = 0.04  # fraction of wrong labels in train and validation, so that no method reaches 100 %
_ROWS = {"train": 512, "validation": 64, "test": 64}  # a row for each choice of COPA and answer of MultiRC
_DIAGNOSTICS = ("axb", "axg")

# Verbs whose complement is true, also under negation; open; false.
_FACTIVE = ("knew", "noticed", "remembered", "did not know", "did not notice", "forgot")
_OPEN = ("hoped", "believed", "suspected", "claimed", "did not believe", "did not claim")
_FALSE = ("pretended", "imagined", "falsely believed", "falsely claimed", "lied")
# Each row: an event, its cause and its effect.
_COPA = (
    ("{a} fell asleep {place}", "{a} had worked all night", "{a} did not hear the alarm"),
    ("{a} slipped {place}", "the ground was wet", "{a} hurt an ankle"),
    ("{a} was thirsty {time}", "{a} had eaten salty soup", "{a} drank a glass of water"),
    ("{a} lost the key {place}", "the pocket had a hole", "{a} could not open the door"),
    ("{a} lit a candle {time}", "the lamp was broken", "the wall became bright"),
    ("{a} wrote to {b} {time}", "{a} had insulted {b}", "{b} forgave {a}"),
    ("{a} bought a {t} {place}", "the old {t} was stolen", "{a} had no money left"),
    ("{a} caught a cold {time}", "{a} had walked in the snow", "{a} stayed in bed"),
    ("{a} missed the train {time}", "{a} had woken up late", "{a} waited for the next one"),
    ("{a} burned the dinner {time}", "the stove was too hot", "{a} ordered a pizza"),
    ("{a} called the police {time}", "a thief had broken a window", "an officer came to help"),
    ("{a} won the prize {place}", "{a} had practised every day", "the crowd applauded {a}"),
)
# Each row: a word, and sentences with each of two senses of it.
_WIC = (
    ("bank", ("{a} paid some money into the {w}.", "the {w} {place} gave {a} a loan."),
     ("{a} fished from the {w} of the river.", "the boat landed at the left {w}.")),
    ("bat", ("{a} hit the ball with a {w}.", "a wooden {w} broke in the game {place}."),
     ("a {w} slept in the cave.", "{a} saw a {w} catch an insect at night.")),
    ("bark", ("the {w} of the dog woke {a}.", "{a} heard a loud {w} {place}."),
     ("{a} peeled the {w} from the tree.", "the {w} of an oak is rough.")),
    ("crane", ("a {w} lifted the steel beam {place}.", "{a} operates a {w} at the building site."),
     ("a {w} built its nest {place}.", "{a} photographed a {w} with long legs.")),
    ("seal", ("a {w} swam near the ice.", "{a} fed fish to the {w}."),
     ("{a} pressed a {w} on the letter.", "the {w} of the envelope was broken.")),
    ("trunk", ("the elephant raised its {w}.", "{a} was sprayed by the {w} of an elephant."),
     ("{a} put the bags into the {w} of the car.", "the {w} was too small for the {t}.")),
    ("match", ("{a} lit the fire with a {w}.", "the last {w} was wet."),
     ("{a} lost the {w} {place}.", "the {w} ended without a goal.")),
    ("pitch", ("the {w} of the voice of {a} was high.", "{a} sang at the wrong {w}."),
     ("the players left the {w} {place}.", "{a} ran across the {w} after the goal.")),
)  # fmt: skip


def official_records(task: Task) -> dict[str, list[Record]]:
    """Return the sample of one SuperGLUE task.

    Args:
        task: a declaration of `gluelamp.tasks.superglue`.

    Returns:
        The records of each split with the keys of the official files. Test records have no label. The two
        diagnostic sets have no training records of their own.
    """
    splits = ("validation",) if task.name in _DIAGNOSTICS else task.splits
    seen: set[str] = set()
    return {split: _split(task, split, seen) for split in splits}


def _split(task: Task, split: str, seen: set[str]) -> list[Record]:
    # Python's generator with a string as seed gives the same numbers on every machine; the tests pin them.
    rng = Random(f"gluelamp sample {task.name} {split}")
    make, rows = _MAKERS[task.name]
    diagnostic = task.name in _DIAGNOSTICS
    scene = COUNTRY if diagnostic else TOWN  # the diagnostic sets are from another domain than RTE
    records: list[Record] = []
    while len(records) * rows < _ROWS[split]:
        made = make(rng, scene)
        content = json.dumps(made)
        if content not in seen:
            seen.add(content)
            records += made
    _number(records)
    for labelled in _labelled(records):
        if split == "test":
            del labelled["label"]
        elif not diagnostic and rng.random() < _NOISE:
            labelled["label"] = _wrong(rng, task, labelled["label"])
    return records


def _number(records: Iterable[Record]) -> None:
    # The numbers of MultiRC's questions and answers continue from one paragraph to the next.
    question_numbers, answer_numbers = count(), count()
    for number, record in enumerate(records):
        record["idx"] = number
        for question in _questions(record):
            question["idx"] = next(question_numbers)
            for answer in question["answers"]:
                answer["idx"] = next(answer_numbers)


def _labelled(records: Iterable[Record]) -> Iterator[Record]:
    for record in records:
        answers = [answer for question in _questions(record) for answer in question["answers"]]
        yield from answers or [record]


def _questions(record: Record) -> list[Record]:
    passage = record.get("passage")
    return passage["questions"] if isinstance(passage, dict) else []


def _wrong(rng: Random, task: Task, label: Any) -> Any:
    if isinstance(label, str):
        return rng.choice([other for other in task.labels if other != label])
    return type(label)(1 - label)


def _boolq(rng: Random, scene: Scene) -> list[Record]:
    """Make a passage of three events, and a question on one of them; one field is changed if it is false."""
    passage = _passage(rng, scene, 3)
    event, label = rng.choice(passage), rng.random() < 0.6
    if not label:
        event = change(rng, event, rng.choice(("agent", "patient", "place", "time")), scene)
    return [{"question": ask(rng, event), "passage": _text(rng, passage), "label": label}]


def _cb(rng: Random, scene: Scene) -> list[Record]:
    """Make a complement clause under a verb that implies it, leaves it open or denies it."""
    event, other = sample_event(rng, scene), sample_event(rng, scene)
    label = rng.choices(("entailment", "contradiction", "neutral"), (4, 4, 2))[0]
    # A negated hypothesis exchanges entailment and contradiction.
    negated = rng.random() < 0.25
    verbs = _OPEN if label == "neutral" else _FACTIVE if (label == "entailment") != negated else _FALSE
    speaker = rng.choice([name for name in scene.characters if name not in (event.agent, event.patient)])
    premise = words.sentence(f"the {speaker} {rng.choice(verbs)} that {words.clause(say(rng, event))}.")
    hypothesis = say(rng, replace(event, negated=negated))
    return [{"premise": f"{say(rng, other)} {premise}", "hypothesis": hypothesis, "label": label}]


def _copa(rng: Random, scene: Scene) -> list[Record]:
    """Make an event, and its cause and effect, or one of them and that of another event."""
    (event, *own), (_, *others) = rng.sample(_COPA, 2)
    asked, label = rng.choice((0, 1)), rng.choice((0, 1))
    # The wrong choice answers the other question on this event, or the same question on another one.
    wrong = own[1 - asked] if rng.random() < 0.3 else others[asked]
    slots = words.for_templates(rng, scene)
    premise, right, wrong = (words.fill(f"{text}.", slots) for text in (event, own[asked], wrong))
    choices = (right, wrong) if label == 0 else (wrong, right)
    question = ("cause", "effect")[asked]
    return [
        {
            "premise": premise,
            "choice1": choices[0],
            "choice2": choices[1],
            "question": question,
            "label": label,
        }
    ]


def _multirc(rng: Random, scene: Scene) -> list[Record]:
    """Make a passage of four events, and two questions with three and five answers."""
    passage = _passage(rng, scene, 4)
    first, second = rng.sample(passage, 2)
    questions = [_question(rng, scene, event, passage, n) for event, n in ((first, 3), (second, 5))]
    rng.shuffle(questions)
    return [{"passage": {"text": _text(rng, passage), "questions": questions}}]


def _question(rng: Random, scene: Scene, event: Event, passage: list[Event], size: int) -> Record:
    others = [each for each in passage if each is not event]
    verb, patient = rng.choice((event.verb, words.SYNONYMS[event.verb])), f"the {event.patient}"
    if rng.random() < 0.5:
        question = f"Who {words.past(verb)} {patient}?"
        right = [f"The {event.agent}", _one_of_kind(scene, event.agent)]
        wrong = [f"The {each.agent}" for each in others] + [
            _one_of_kind(scene, each.agent) for each in others
        ]
    else:
        question = f"Where and when did the {event.agent} {verb} {patient}?"
        right = [event.place, f"{event.place} {event.time}", event.time]
        wrong = [each.place for each in others] + [f"{each.place} {each.time}" for each in others]
    wrong = [answer for answer in dict.fromkeys(wrong) if answer not in right]
    truths = rng.sample(right, rng.choice((1, 2)))
    answers = [(text, 1) for text in truths] + [(text, 0) for text in rng.sample(wrong, size - len(truths))]
    rng.shuffle(answers)
    return {
        "question": question,
        "answers": [{"text": words.sentence(text), "label": label} for text, label in answers],
    }


def _one_of_kind(scene: Scene, noun: str) -> str:
    kind = scene.kind(noun)
    return f"{'An' if kind[0] in 'aeiou' else 'A'} {kind}"


def _passage(rng: Random, scene: Scene, size: int) -> list[Event]:
    """Return events without a field in common, so that one word is enough to ask for one of them."""
    passage: list[Event] = []
    while len(passage) < size:
        event = replace(sample_event(rng, scene), count="")
        if all(_fields(event).isdisjoint(_fields(other)) for other in passage):
            passage.append(event)
    return passage


def _fields(event: Event) -> set[str]:
    return {event.agent, event.verb, event.patient, event.place, event.time}


def _text(rng: Random, passage: Iterable[Event]) -> str:
    return " ".join(say(rng, event) for event in passage)


def _rte(rng: Random, scene: Scene) -> list[Record]:
    (premise, hypothesis), label = glue.rte(rng, scene)
    return [{"premise": premise, "hypothesis": hypothesis, "label": _entailment(label == ENTAILMENT)}]


def _axb(rng: Random, scene: Scene) -> list[Record]:
    (premise, hypothesis), label = glue.mnli(rng, scene)
    return [{"sentence1": premise, "sentence2": hypothesis, "label": _entailment(label == ENTAILMENT)}]


def _axg(rng: Random, scene: Scene) -> list[Record]:
    """Make two rows that differ in the gender of a pronoun, which does not change the label."""
    event, reason, named, label = _winograd(rng)
    slots = words.for_templates(rng, scene)
    hypothesis = words.fill(f"{named} {reason}.", slots)
    return [
        {
            "premise": words.fill(f"{event} {pronoun} {reason}.", slots),
            "hypothesis": hypothesis,
            "label": _entailment(label),
        }
        for pronoun in ("he", "she")
    ]


def _entailment(label: bool) -> str:
    return "entailment" if label else "not_entailment"


def _wsc(rng: Random, scene: Scene) -> list[Record]:
    """Make a sentence in which a pronoun refers to the noun phrase, or to the other one."""
    event, reason, named, label = _winograd(rng)
    slots, pronoun = words.for_templates(rng, scene), rng.choice(("he", "she"))
    text, noun = words.fill(f"{event} {pronoun} {reason}.", slots), named.format_map(slots)
    position = text.lower().index(noun)
    target = {
        "span1_text": text[position : position + len(noun)],
        "span1_index": len(text[:position].split()),
        "span2_text": pronoun,
        "span2_index": text.split().index(pronoun),
    }
    return [{"text": text, "target": target, "label": label}]


def _winograd(rng: Random) -> tuple[str, str, str, bool]:
    """Return an event, its reason, a noun phrase, and whether the reason's subject is the noun phrase."""
    event, *reasons = rng.choice(glue.WINOGRAD)
    referent, named = rng.choice((0, 1)), rng.choice((0, 1))
    return event, reasons[referent], ("{a}", "{b}")[named], referent == named


def _wic(rng: Random, scene: Scene) -> list[Record]:
    """Make two sentences with one word, in the same sense or in two."""
    word, *senses = rng.choice(_WIC)
    label, first = rng.random() < 0.5, rng.choice((0, 1))
    second = first if label else 1 - first
    record: Record = {"word": word, "label": label}
    templates = rng.sample(senses[first], 2) if label else [rng.choice(senses[i]) for i in (first, second)]
    for number, template in enumerate(templates, 1):
        text = words.fill(template, words.for_templates(rng, scene) | {"w": word})
        match = re.search(rf"\b{word}\b", text)
        assert match
        record |= {f"sentence{number}": text, f"start{number}": match.start(), f"end{number}": match.end()}
    return [record]


# The maker of each task, and the rows of the task's table for each of its records.
_MAKERS: dict[str, tuple[Callable[[Random, Scene], list[Record]], int]] = {
    "boolq": (_boolq, 1),
    "cb": (_cb, 1),
    "copa": (_copa, 2),
    "multirc": (_multirc, 8),
    "super_rte": (_rte, 1),
    "wic": (_wic, 1),
    "wsc": (_wsc, 1),
    "axb": (_axb, 1),
    "axg": (_axg, 1),
}
