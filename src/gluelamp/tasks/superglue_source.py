"""The sources of SuperGLUE (hub, official JSON lines, prepared copy, sample), and the rows made of theirs.

The official files and the hub have the same columns, except that the files nest some of them. The rows of a
task are the following; `gluelamp.tasks.superglue` has their columns.

- CB, RTE, BoolQ and the diagnostics: as they are.
- WiC: the word is marked in both sentences, ``The *bank* of the river.``
- WSC: the noun phrase and the pronoun are marked, ``*Mark* told Pete that #he# was late.`` (as in T5's input,
  Raffel et al., JMLR 2020, appendix D.14, which marks them in the same way)
- COPA: a row for each choice; the question, in the words of the COPA test, follows the premise.
- MultiRC: a row for each answer, which follows its question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.sample.superglue import official_records
from gluelamp.tasks.sources import find_split_files, read_hub, read_local, read_prepared, read_tables
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.tables import (
    SAMPLE_PLACE,
    Reading,
    Table,
    checked_idx,
    checked_texts,
    numbered,
    numbers,
    require_columns,
)
from gluelamp.tasks.task import Task

REPOSITORY = "aps/super_glue"

# The folder of each task in the official files. The hub's configurations have the tasks' names, except RTE's.
_FOLDERS = {
    "boolq": "BoolQ",
    "cb": "CB",
    "copa": "COPA",
    "multirc": "MultiRC",
    "super_rte": "RTE",
    "wic": "WiC",
    "wsc": "WSC",
    "axb": "AX-b",
    "axg": "AX-g",
}
_DIAGNOSTICS = ("axb", "axg")
_RTE = SUPERGLUE["super_rte"]
_PAIR = {"sentence1": "premise", "sentence2": "hypothesis"}
_PUNCTUATION = ".,;:!?'\""
# The questions of the COPA test (Roemmele, Bejan and Gordon, 2011)
_QUESTIONS = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


def read_superglue_local(task: Task, root: Path, avoid: Path | None = None) -> Reading | None:
    """Read one task from a folder, or from ``superglue`` inside it; None if it holds nothing of the task.

    RTE's rows may also be those of GLUE.

    Args:
        task: a declaration of `gluelamp.tasks.superglue`.
        root: the folder.
        avoid: a folder that must not be read, because it will be overwritten.

    Raises:
        InputError: if a file is broken or differs from the prepared one.
    """
    for folder in (root, root / "superglue"):
        if avoid and folder.resolve() == avoid.resolve():
            continue
        if prepared := read_prepared(task, folder):
            return prepared
        if tables := _official(task, folder):
            own = Reading(
                {split: task_rows(task, table) for split, table in tables.items()}, "local", str(folder)
            )
            return (
                _with_training_rows(own, read_superglue_local(_RTE, root, avoid))
                if _is_diagnostic(task)
                else own
            )
    if task is _RTE and (glue := read_local(GLUE["rte"], root, avoid)):
        tables = {
            split: replace(table, rows=table.rows.rename(columns=_PAIR))
            for split, table in glue.tables.items()
        }
        note = "the rows are those of GLUE's RTE, whose test split may be in another order than SuperGLUE's"
        return replace(glue, tables=tables, deviations=(*glue.deviations, note))
    return None


def read_superglue_hub(task: Task, config: DataConfig) -> Reading:
    """Read one task from the hub.

    Raises:
        HubUnavailableError: if the hub does not answer.
        InputError: if it answers and the revision or the download fails.
    """
    name = "rte" if task is _RTE else task.name
    reading = read_hub(REPOSITORY, name, config.revision, config.hub_timeout_s)
    if _is_diagnostic(task):  # the hub calls the only split of a diagnostic set `test`
        reading = replace(reading, tables={"validation": reading.tables["test"]})
    made = replace(reading, tables={split: task_rows(task, table) for split, table in reading.tables.items()})
    return _with_training_rows(made, read_superglue_hub(_RTE, config)) if _is_diagnostic(task) else made


def read_superglue_sample(task: Task) -> Reading:
    """Return the bundled sample of a SuperGLUE task, whose records become rows as the official ones do."""
    tables = {
        split: Table(numbered(pd.DataFrame(records)), f"the bundled sample, {task.name}/{split}")
        for split, records in official_records(task).items()
    }
    made = {split: task_rows(task, table) for split, table in tables.items()}
    reading = Reading(made, "sample", SAMPLE_PLACE)
    return _with_training_rows(reading, read_superglue_sample(_RTE)) if _is_diagnostic(task) else reading


def expected_superglue_files(task: Task) -> str:
    """Return a sentence on the files of a task in a local folder."""
    folder = _FOLDERS[task.name]
    if _is_diagnostic(task):
        return f"Expected are {folder}/{folder}.jsonl, and RTE/train.jsonl or GLUE's RTE for the training."
    return f"Expected are {folder}/train.jsonl, val.jsonl and test.jsonl, or a copy that prepare wrote."


def _is_diagnostic(task: Task) -> bool:
    return task.name in _DIAGNOSTICS


def _with_training_rows(diagnostics: Reading, rte: Reading | None) -> Reading:
    if rte is None or "train" not in rte.tables:
        return diagnostics  # `load_task_data` names the missing training split
    train = rte.tables["train"]
    alone = train.rows["idx"].astype(str)  # RTE has no pairs: each row is a group of its own
    train = replace(train, rows=train.rows.assign(group=alone))
    return replace(diagnostics, tables={"train": train, **diagnostics.tables})


def _official(task: Task, root: Path) -> dict[str, Table]:
    """Return the tables of official files, or of files in the hub's layout; empty if nothing is there."""
    folder = root / _FOLDERS[task.name]
    if _is_diagnostic(task):
        files = {"validation": folder / f"{folder.name}.jsonl"}
    else:
        files = {
            split: folder / f"{'val' if split == 'validation' else split}.jsonl" for split in task.splits
        }
    present = {split: [path] for split, path in files.items() if path.is_file()}
    return read_tables(present or _hub_files(task, root))


def _hub_files(task: Task, root: Path) -> dict[str, list[Path]]:
    if _is_diagnostic(task):
        files = find_split_files(root / task.name, ["test"])
        return {"validation": files["test"]} if files else {}
    # Elsewhere than in a folder of SuperGLUE, `rte` holds the rows of GLUE.
    name = "rte" if task is _RTE and root.name == "superglue" else task.name
    return find_split_files(root / name, task.splits)


def task_rows(task: Task, table: Table) -> Table:
    """Return the rows of a task from those of the hub or of an official file.

    Args:
        task: a declaration of `gluelamp.tasks.superglue`.
        table: as it was read; the columns that the official files nest may be nested or not.

    Raises:
        InputError: if a column is missing, or a value is not allowed.
    """
    make = _MAKERS.get(task.name)
    return make(table) if make else table


def _wic(table: Table) -> Table:
    marked = {}
    for number in (1, 2):
        names = [f"{name}{number}" for name in ("sentence", "start", "end")]
        require_columns(table.origin, table.rows.columns, names)
        texts, starts, ends = (
            checked_texts(table, names[0]),
            *(numbers(table.rows[name]) for name in names[1:]),
        )
        inside = (starts >= 0) & (starts < ends) & (ends <= texts.str.len()) & (starts % 1 + ends % 1 == 0)
        table.refuse(~inside, partial(_no_span, table, names))
        spans = zip(texts, starts.astype(int), ends.astype(int), strict=True)
        marked[names[0]] = [f"{text[:start]}*{text[start:end]}*{text[end:]}" for text, start, end in spans]
    return replace(table, rows=table.rows.assign(**marked))


def _wsc(table: Table) -> Table:
    rows = table.rows
    if "target" in rows:
        targets = rows["target"].tolist()
        table.refuse(
            [not isinstance(target, dict) for target in targets],
            lambda row: (
                f"'target' is {targets[row]!r}; expected are the spans of a noun phrase and a pronoun."
            ),
        )
        table = replace(table, rows=rows.assign(**pd.DataFrame(targets, index=rows.index)))
    columns = ("text", "span1_index", "span1_text", "span2_index", "span2_text")
    require_columns(table.origin, table.rows.columns, columns)
    texts = checked_texts(table, "text")
    for number in (1, 2):
        names = ["text", f"span{number}_index", f"span{number}_text"]
        spans, starts = checked_texts(table, names[2]), numbers(table.rows[names[1]])
        occur = np.array([_occurs(*pair) for pair in zip(texts, spans, strict=True)])
        table.refuse(~(occur & (starts >= 0) & (starts % 1 == 0)), partial(_no_span, table, names))
    values = zip(*(table.rows[column] for column in columns), strict=True)
    return replace(table, rows=table.rows.assign(text=[_marked_spans(*each) for each in values]))


def _no_span(table: Table, names: Sequence[str], row: int) -> str:
    text, *span = table.rows[list(names)].iloc[row].tolist()
    named = " and ".join(f"{name}={value}" for name, value in zip(names[1:], span, strict=True))
    return f"{named} is no span of the {names[0]} {text!r}."


def _occurs(text: str, span: str) -> bool:
    # The words of some official spans are apart in the text, or have an ending there.
    found = _plain(text.split())
    return any(word.startswith(part) for part in _plain(span.split()) for word in found)


def _marked_spans(text: str, noun_start: float, noun: str, pronoun_start: float, pronoun: str) -> str:
    words = text.split()
    starts = _nearest(words, int(noun_start), noun), _nearest(words, int(pronoun_start), pronoun)
    for first, span, mark in zip(starts, (noun, pronoun), "*#", strict=True):
        last = min(first + len(span.split()), len(words)) - 1
        words[first] = mark + words[first]
        end = len(words[last].rstrip(_PUNCTUATION))
        words[last] = words[last][:end] + mark + words[last][end:]
    return " ".join(words)


def _nearest(words: list[str], start: int, span: str) -> int:
    """Return the position of a span in the words of a text.

    Some official positions are wrong by some words. The nearest position at which the words are those of the
    span is taken; if there is none, the official one.
    """
    wanted = _plain(span.split())
    found = [at for at in range(len(words)) if _plain(words[at : at + len(wanted)]) == wanted]
    return min(found, key=lambda at: abs(at - start), default=min(start, len(words) - 1))


def _plain(words: list[str]) -> list[str]:
    return [word.casefold().strip(_PUNCTUATION) for word in words]


def _copa(table: Table) -> Table:
    rows = table.rows
    require_columns(table.origin, rows.columns, ("premise", "choice1", "choice2", "question", "idx"))
    questions = rows["question"].map(_QUESTIONS)
    table.refuse(
        questions.isna(), lambda row: f"question {rows['question'].iloc[row]!r} is not 'cause' or 'effect'."
    )
    premises = checked_texts(table, "premise") + " " + questions.tolist()
    idx = checked_idx(table)
    choices = []
    for number in (0, 1):
        choice = checked_texts(table, f"choice{number + 1}")
        made = {"idx": idx * 2 + number, "group": idx.astype(str), "premise": premises, "choice": choice}
        if "label" in rows:
            # a label that is no choice stays as it is: -1 where it is hidden, else it is refused later
            label, raw = numbers(rows["label"]), rows["label"].reset_index(drop=True)
            made["label"] = label.eq(number).astype(object).where(label.isin((0, 1)), raw)
        choices.append(pd.DataFrame(made).set_axis(rows.index))
    return replace(table, rows=pd.concat(choices).sort_values("idx", kind="stable"))


def _multirc(table: Table) -> Table:
    if "passage" in table.rows:
        table = replace(table, rows=_answers(table))
    rows = table.rows
    require_columns(table.origin, rows.columns, ("paragraph", "question", "answer", "idx"))
    made = rows.assign(
        idx=[idx["answer"] for idx in rows["idx"]],
        group=[f"{idx['paragraph']}-{idx['question']}" for idx in rows["idx"]],
        answer=rows["question"] + " " + rows["answer"],
    )
    return replace(table, rows=made)


def _answers(table: Table) -> pd.DataFrame:
    """Return a row for each answer of the nested passages, with the columns of the hub."""
    answers: list[dict[str, Any]] = []
    lines: list[int] = []
    for line, paragraph, passage in zip(
        table.rows.index, table.rows["idx"], table.rows["passage"], strict=True
    ):
        try:
            for question in passage["questions"]:
                for answer in question["answers"]:
                    idx = {"paragraph": int(paragraph), "question": int(question["idx"])}
                    idx["answer"] = answer["idx"]
                    texts = {"paragraph": passage["text"], "question": question["question"]}
                    label = {"label": answer["label"]} if "label" in answer else {}
                    answers.append({**texts, "answer": answer["text"], "idx": idx, **label})
                    lines.append(line)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{table.origin}, {table.unit} {line} is no passage of MultiRC: expected are a text and "
                "questions, each with idx, question and answers, and these with idx and text."
            ) from error
    if not answers:
        raise InputError(f"{table.origin} has no answers.")
    return pd.DataFrame(answers, index=lines)


def _axb(table: Table) -> Table:
    return replace(table, rows=table.rows.rename(columns=_PAIR))


def _axg(table: Table) -> Table:
    # The two rows of a pair follow one another: the same sentences with a female and with a male pronoun. The
    # official `pair_id` differs between them.
    require_columns(table.origin, table.rows.columns, ("idx",))
    idx = checked_idx(table)
    alone = idx.groupby(idx // 2).transform("size") != 2
    table.refuse(alone, lambda row: f"idx {idx[row]} has no partner; the rows 2k and 2k + 1 are a pair.")
    return replace(table, rows=table.rows.assign(group=(idx // 2).astype(str).tolist()))


_MAKERS: dict[str, Callable[[Table], Table]] = {
    "wic": _wic,
    "wsc": _wsc,
    "copa": _copa,
    "multirc": _multirc,
    "axb": _axb,
    "axg": _axg,
}
