"""The bundled LaMP-shaped sample: users who label texts on the same topics by different preferences.

Each user has a ranking of the themes of texts, and the ranking determines the labels. The rankings vary
around a common one. So a shared model is better than chance, and a model per user is better than the
shared one. The entries have the keys of the official records and are parsed by the same reader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from gluelamp.tasks.lamp.tasks import record_format
from gluelamp.tasks.sample import words
from gluelamp.tasks.sample.words import TOWN
from gluelamp.tasks.task import Task

_USERS = 24
_TEXTS = (30, 60)  # per user
_QUERIES = 6  # per user, where profile items have labels, too
_NOISE = 0.04  # fraction of random labels
_STRAY = 4.0  # standard deviation of a user's ranking from the common one, in ranks
_FILMS = 150  # the films that all users of movielens_rating rate

_THEMES = ("artist", "athlete", "official", "scientist", "vehicle", "garment")
_NEWS = ("culture & arts", "sports", "politics", "science & technology", "travel", "style & beauty")
_TAGS = ("romance", "action", "social commentary", "sci-fi", "comedy", "fantasy")
_CITATION = (
    'For an author who has written the paper with the title "{}", which reference is related? '
    'Just answer with [1] or [2] without explanation. [1]: "{}" [2]: "{}"'
)


@dataclass(frozen=True)
class _User:
    """The preferences that determine a user's labels.

    Args:
        ranks: the rank of each theme, 0 for the preferred one.
        leniency: added to each rating.
        aspect: the aspect of a film that has double weight.
    """

    ranks: dict[str, float]
    leniency: int
    aspect: str


@dataclass(frozen=True)
class _Kind:
    """The generator of the entries of one task.

    Args:
        instruction: the query, with braces for the text.
        make: returns one text and its label.
    """

    instruction: str
    make: Callable[[Random, _User], tuple[str, str]]


def questions_and_golds(task: Task) -> list[tuple[dict[str, Any], str]]:
    """Return the entries of a questions file, each with its gold output.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`; its class and score variants are the same.
    """
    base = task.name.removesuffix("_time").removesuffix("_score")
    # Python's generator with a string as seed gives the same numbers on every machine. The variants of a
    # task have the same seed and so the same rows.
    rng = Random(f"gluelamp sample {base}")
    named = base == "movielens_rating" or task.name.endswith("_time")
    seen: set[str] = set()
    entries: list[tuple[dict[str, Any], str]] = []
    for number in range(_USERS):
        user, count = _sample_user(rng), rng.randint(*_TEXTS)
        made = (
            _citations(rng, user, count, seen)
            if base == "lamp1"
            else _records(task, base, rng, user, count, seen)
        )
        for question, gold in made:
            identity = {"id": f"sample-{len(entries)}"} | ({"user_id": str(number + 1)} if named else {})
            entries.append((identity | question, gold))
    return entries


def _sample_user(rng: Random) -> _User:
    positions = {theme: rank + rng.gauss(0, _STRAY) for rank, theme in enumerate(_THEMES)}
    ranking = sorted(positions, key=positions.__getitem__)
    ranks = {theme: float(rank) for rank, theme in enumerate(ranking)}
    return _User(ranks, rng.choice((-1, 0, 0, 1)), rng.choice(words.ASPECTS))


def _records(
    task: Task, base: str, rng: Random, user: _User, count: int, seen: set[str]
) -> list[tuple[dict[str, Any], str]]:
    """Return records whose profiles have all other texts of the user with their labels."""
    kind, form = _KINDS[base], record_format(task)
    own: dict[str, str] = {}
    while len(own) < count:
        text, label = kind.make(rng, user)
        if text not in own and text not in seen:
            own[text] = label if rng.random() >= _NOISE else rng.choice(_ANSWERS[base])
    # A text that two users have would merge them when users are recovered from texts. Films are texts of
    # many users, whose records therefore have user ids.
    if base != "movielens_rating":
        seen.update(own)
    items = [
        {"id": str(at), form.text_key: text, str(form.label_key): own[text]} for at, text in enumerate(own)
    ]
    return [
        (
            {
                "input": kind.instruction.format(text),
                "profile": [item for item in items if item[form.text_key] != text],
            },
            own[text],
        )
        for text in list(own)[:_QUERIES]
    ]


def _citations(rng: Random, user: _User, count: int, seen: set[str]) -> list[tuple[dict[str, Any], str]]:
    """Return one record per paper; the profiles have the titles of the user's papers and no labels."""
    titles = [_new_title(rng, rng.choice(_THEMES), seen) for _ in range(count)]
    profile = [{"id": str(at), "title": title, "abstract": ""} for at, title in enumerate(titles)]
    records = []
    for title in titles:
        themes = rng.sample(_THEMES, 2)
        first, second = (_new_title(rng, theme, seen) for theme in themes)
        likes_first = (user.ranks[themes[0]] < user.ranks[themes[1]]) != (rng.random() < _NOISE)
        question = _CITATION.format(title, first, second)
        records.append(({"input": question, "profile": profile}, "[1]" if likes_first else "[2]"))
    return records


def _new_title(rng: Random, theme: str, seen: set[str]) -> str:
    while True:
        title = f"How {_clause(rng, theme)}"
        if title not in seen:
            seen.add(title)
            return title


def _article(labels: tuple[str, ...]) -> Callable[[Random, _User], tuple[str, str]]:
    """Return a generator of texts on two themes, labelled by the theme that the user prefers."""
    names = dict(zip(_THEMES, labels, strict=True))

    def make(rng: Random, user: _User) -> tuple[str, str]:
        themes = rng.sample(_THEMES, 2)
        return _about(rng, themes), names[min(themes, key=user.ranks.__getitem__)]

    return make


def _review(rng: Random, user: _User) -> tuple[str, str]:
    """Return four opinions and a rating: their sum, with the user's aspect twice, plus the leniency."""
    others = rng.sample([aspect for aspect in words.ASPECTS if aspect != user.aspect], 3)
    liked = {aspect: rng.random() < 0.55 for aspect in (user.aspect, *others)}
    aspects = rng.sample(list(liked), len(liked))
    opinions = [
        f"the {aspect} was {rng.choice(words.POSITIVE if liked[aspect] else words.NEGATIVE)}"
        for aspect in aspects
    ]
    total = sum(1 if good else -1 for good in liked.values()) + (1 if liked[user.aspect] else -1)
    start = f"I saw this film {rng.choice(words.TIMES)}"
    text = words.sentence(f"{start}: {', '.join(opinions[:-1])} and {opinions[-1]}.")
    return text, _rating(3.2 + 0.4 * total + user.leniency)


def _film(rng: Random, user: _User) -> tuple[str, str]:
    """Return one of the films of all users; the rating decreases with the ranks of its themes."""
    number = rng.randrange(_FILMS)
    # The film's own generator: all users see the same text.
    film_rng = Random(f"gluelamp sample film {number}")
    themes = film_rng.sample(_THEMES, 2)
    title = f"The {film_rng.choice(words.TRAITS)} {_noun(film_rng, themes[0])} {number}".title()
    text = f"{title} ({film_rng.randint(1950, 1999)}). {_about(film_rng, themes)}"
    return text, _rating(5.3 - sum(user.ranks[theme] for theme in themes) / 2 + user.leniency)


def _rating(score: float) -> str:
    return str(min(max(1, round(score)), 5))


def _about(rng: Random, themes: list[str]) -> str:
    first, second = (_clause(rng, theme) for theme in themes)
    return words.sentence(f"{first}, while {second}.")


def _clause(rng: Random, theme: str) -> str:
    trait, noun = rng.choice(words.TRAITS), _noun(rng, theme)
    verb = words.past(rng.choice(list(words.THING_VERBS)))
    if theme in TOWN.people:
        other = rng.choice(f"{TOWN.things['instrument']} {TOWN.things['tool']}".split())
        return f"the {trait} {noun} {verb} the {other} {rng.choice(TOWN.places)} {rng.choice(words.TIMES)}"
    return f"a {trait} guest {verb} the {noun} {rng.choice(TOWN.places)} {rng.choice(words.TIMES)}"


def _noun(rng: Random, theme: str) -> str:
    return rng.choice((TOWN.people | TOWN.things)[theme].split())


_RATINGS = ("1", "2", "3", "4", "5")
_ANSWERS = {"lamp2n": _NEWS, "lamp2m": _TAGS, "lamp3": _RATINGS, "movielens_rating": _RATINGS}
_KINDS = {
    "lamp2n": _Kind("Which category does this article relate to? article: {}", _article(_NEWS)),
    "lamp2m": _Kind("Which tag does this movie relate to? description: {}", _article(_TAGS)),
    "lamp3": _Kind("What is the score of the following review on a scale of 1 to 5? review: {}", _review),
    "movielens_rating": _Kind("What score would this user give the following movie? movie: {}", _film),
}
