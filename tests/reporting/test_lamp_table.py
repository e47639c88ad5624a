"""The table of tasks with persons, against numbers made by hand and scikit-learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from gluelamp.cli.app import CONFIGS
from gluelamp.errors import InputError
from gluelamp.records import RunRecord, write_json
from gluelamp.reporting import write_tables
from gluelamp.reporting.site import write_report
from gluelamp.tasks.lamp.tasks import LAMP

AddRecord = Callable[..., RunRecord]
Answers = Mapping[str, Sequence[tuple[float, float]]]
"""By person, label and prediction of each test row."""

COSTS = {
    "parameters": {"trained": 1200, "head": 30},
    "bytes": {"method": 156, "head": 120, "shared": 1000},
}


def add_run(
    root: Path,
    method: str,
    answers: Answers,
    *,
    task: str = "lamp2n",
    users: str = "each",
    seed: int = 0,
    source: str = "local",
    fingerprint: str = "f" * 64,
    deviations: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    epochs: int = 3,
    diverged: Sequence[str] = (),
    error: str | None = None,
    **settings: object,
) -> Path:
    """Write a record with its predictions, and return its folder."""
    persons = {"users": users, "min_user_rows": 20, "max_users": None, "user_group": None, **settings}
    config = {
        "backbone": {"name": "minilm", "checksum": "c" * 64},
        "method": {"name": method, **(options or {})},
        "task": {"name": task, "max_train_examples": None, "members": [], **persons},
        "data": {"fingerprint": fingerprint},
        "trainer": {"epochs": epochs},
        "seed": seed,
    }
    main, identity = LAMP[task].main_metric, hashlib.sha256(json.dumps(config).encode()).hexdigest()[:16]
    folder = root / "runs" / "minilm" / method / task / identity
    rows = {"train": 9, "validation": 9, "test": 9}
    content = {
        "schema_version": 1,
        "identity": identity,
        "status": "failed" if error else "complete",
        "config": config,
        "data": {"source": source, "fingerprint": fingerprint, "rows": rows, "deviations": deviations},
        "backbone": {"name": "minilm", "checksum": "c" * 64},
        "protocol": {"diverged": dict.fromkeys(diverged, "not finite")},
        "main_metric": main,
        "metrics": {selection: {"epoch": epochs, main: 0.5} for selection in ("best", "last")},
        "history": [],
        **COSTS,
        **{section: {} for section in ("speed", "memory", "versions", "git", "device")},
        "error": error,
    }
    write_json(folder / "record.json", content)
    predictions(task, answers).to_parquet(folder / "predictions.parquet", index=False)
    return folder


def predictions(task: str, answers: Answers) -> pd.DataFrame:
    """Return the file of a run; the best epoch's rows and the validation rows are all wrong."""
    rows = []
    for user, pairs in answers.items():
        for position, (label, predicted) in enumerate(pairs):
            for selection, split in (("best", "test"), ("last", "validation"), ("last", "test")):
                is_scored = (selection, split) == ("last", "test")
                outputs = outputs_of(task, predicted if is_scored else label + 1)
                row = {"selection": selection, "split": split, "idx": 100 * int(user[1:]) + position}
                guesses = {"baseline_all": 1.0, "baseline_user": float(min(pairs)[0])}
                rows.append({**row, "label": label, "user": user, **guesses, **outputs})
    return pd.DataFrame(rows)


def outputs_of(task: str, predicted: float) -> dict[str, float]:
    classes = len(LAMP[task].labels)
    values = [float(number == predicted % classes) for number in range(classes)] if classes else [predicted]
    return {f"output_{number}": value for number, value in enumerate(values)}


def table(root: Path) -> pd.DataFrame:
    write_tables(root)
    return pd.read_csv(root / "tables" / "lamp.csv")


def page(root: Path) -> str:
    write_tables(root)
    return (root / "tables" / "lamp.md").read_text(encoding="utf-8")


def row_of(root: Path, method: str, users: str = "each") -> pd.Series:
    rows = table(root).query("method == @method and users == @users")
    assert len(rows) == 1
    return rows.iloc[0]


def random_answers(seed: int, persons: int = 12, right: float = 0.6, classes: int = 15) -> Answers:
    """Return rows whose labels do not depend on the seed; persons have 3 to 8 of them."""
    labels, drawn = np.random.default_rng(99), np.random.default_rng(seed)
    answers = {}
    for number in range(persons):
        true = labels.integers(classes, size=3 + number % 6)
        wrong = drawn.random(len(true)) >= right
        guessed = np.where(wrong, drawn.integers(classes, size=len(true)), true)
        answers[f"p{number}"] = [(int(a), int(b)) for a, b in zip(true, guessed, strict=True)]
    return answers


def right(*counts: int, of: int = 10) -> Answers:
    """Return persons with so many right answers of ten."""
    return {f"p{n}": [(2, 2)] * count + [(2, 3)] * (of - count) for n, count in enumerate(counts)}


def pooled(answers: Answers) -> tuple[list[float], list[float]]:
    pairs = [pair for of_person in answers.values() for pair in of_person]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def person_accuracies(answers: Answers) -> list[float]:
    return [sum(a == b for a, b in pairs) / len(pairs) for pairs in answers.values()]


def test_scores_are_of_the_last_epoch_on_the_test_rows(tmp_path: Path) -> None:
    answers = random_answers(1)
    add_run(tmp_path, "xpeft", answers)
    row, (labels, predicted) = row_of(tmp_path, "xpeft"), pooled(answers)
    assert (row["persons"], row["test_rows"], row["seeds"], row["epochs"]) == (12, len(labels), 1, 3)
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted), abs=1e-6)
    f1 = sk.f1_score(labels, predicted, labels=range(15), average="macro", zero_division=0)
    assert row["macro_f1"] == pytest.approx(f1, abs=1e-6)
    each = person_accuracies(answers)
    assert row["person_metric"] == "accuracy"
    assert row["person_mean"] == pytest.approx(np.mean(each), abs=1e-6)
    again = np.random.default_rng(5).choice(each, (20_000, len(each))).mean(axis=1)
    # of 12 persons, Student's 2.201 of 11 degrees of freedom times the root of 12/11 in place of 1.960
    interval = np.quantile(again, [0.01076, 0.98924])
    # both bootstraps have noise: about 1 % of a width of 0.2
    assert row[["person_low", "person_high"]].tolist() == pytest.approx(list(interval), abs=0.005)


def test_values_and_bytes_are_those_of_the_record(tmp_path: Path) -> None:
    add_run(tmp_path, "xpeft", random_answers(1))
    columns = ["trained", "method_bytes", "head_bytes", "shared_bytes", "min_user_rows", "diverged"]
    assert row_of(tmp_path, "xpeft")[columns].tolist() == [1200, 156, 120, 1000, 20, 0]


def test_seeds_are_averaged_after_each_was_scored(tmp_path: Path) -> None:
    runs = [random_answers(seed, right=0.3 + 0.2 * seed) for seed in range(3)]
    for seed, answers in enumerate(runs):
        add_run(tmp_path, "xpeft", answers, seed=seed)
    row = row_of(tmp_path, "xpeft")
    each = [
        sk.f1_score(*pooled(run), labels=range(15), average="macro", zero_division=0) for run in runs
    ]  # fmt: skip
    assert (row["seeds"], row["persons"], row["test_rows"]) == (3, 12, len(pooled(runs[0])[0]))
    assert row["macro_f1"] == pytest.approx(np.mean(each), abs=1e-6)
    assert row["person_mean"] == pytest.approx(np.mean([person_accuracies(run) for run in runs]), abs=1e-6)


def halves(answers: Answers) -> list[Answers]:
    names = list(answers)
    return [{name: answers[name] for name in names[group::2]} for group in (0, 1)]


def test_both_groups_of_users_are_one_row(tmp_path: Path) -> None:
    answers, scores = random_answers(3), ["persons", "test_rows", "accuracy", "macro_f1", "person_mean"]
    add_run(tmp_path / "whole", "lora", answers)
    for group, half in enumerate(halves(answers)):
        add_run(tmp_path / "halves", "lora", half, user_group=group)
    one, two = (row_of(tmp_path / folder, "lora") for folder in ("whole", "halves"))
    assert two[[*scores, "person_low"]].tolist() == one[[*scores, "person_low"]].tolist()
    assert (two["persons"], two["seeds"]) == (12, 1)


def test_a_run_on_all_and_a_run_on_a_group_are_two_rows(tmp_path: Path) -> None:
    answers = random_answers(3)
    add_run(tmp_path, "lora", answers, users="shared")
    add_run(tmp_path, "lora", halves(answers)[0], users="shared", user_group=0)
    rows = table(tmp_path).query("method.str.startswith('lora')")
    assert dict(zip(rows["method"], rows["persons"], strict=True)) == {
        "lora [task.user_group=halves]": 6,
        "lora [task.user_group=null]": 12,
    }


def test_protocols_are_rows_in_order_and_no_variants(tmp_path: Path) -> None:
    for users in ("shared_then_each", "each", "shared"):
        for method in ("xpeft", "head_only"):
            add_run(tmp_path, method, random_answers(4), users=users)
    lines = [line.split(" | ")[:2] for line in page(tmp_path).splitlines() if line.startswith("| ")][2:]
    assert lines == [
        ["| majority (all)", "all"],
        ["| majority (own)", "each"],
        *[[f"| {m}", users] for users in ("all", "each", "all, then each") for m in ("head_only", "xpeft")],
    ]


def test_a_planted_difference_is_found_in_pairs(tmp_path: Path) -> None:
    # persons differ by far more than the methods do: only pairs can tell
    add_run(tmp_path, "head_only", right(0, 2, 4, 6, 8, 1, 3, 5))
    add_run(tmp_path, "pfeiffer", right(1, 3, 5, 7, 9, 2, 4, 7))
    row = row_of(tmp_path, "pfeiffer")
    assert row["vs_head_only"] == pytest.approx(np.mean([0.1] * 7 + [0.2]), abs=1e-6)
    assert 0.1 <= row["vs_head_only_low"] < row["vs_head_only"] < row["vs_head_only_high"] <= 0.2
    assert (row["vs_head_only_persons"], row["vs_head_only_verdict"]) == (8, "better")
    assert row[["vs_pfeiffer", "vs_pfeiffer_verdict"]].isna().all()
    other = row_of(tmp_path, "head_only")
    assert other["vs_pfeiffer"] == pytest.approx(-row["vs_head_only"])
    assert other["vs_pfeiffer_verdict"] == "worse"
    assert other[["vs_head_only", "vs_head_only_verdict"]].isna().all()
    assert "| +11.25 [+10.00, +15.00] (8) |  | better |  |" in page(tmp_path)


def test_the_report_sorts_the_table_by_numbers(tmp_path: Path) -> None:
    add_run(tmp_path, "head_only", right(0, 2, 4))
    add_run(tmp_path, "pfeiffer", right(1, 3, 6))
    write_report(tmp_path, tmp_path / "published", CONFIGS)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    _, lamp = report.split('<section id="lamp"')
    assert 'data-order="0.1333333333">+13.33 [+10.00, +20.00] (3)</td>' in " ".join(lamp.split())
    assert '<th scope="col" class="number">vs head_only</th>' in lamp


def test_a_tie_is_called_a_tie(tmp_path: Path) -> None:
    add_run(tmp_path, "head_only", right(2, 5, 8, 4))
    add_run(tmp_path, "pfeiffer", right(2, 5, 8, 4))
    add_run(tmp_path, "xpeft", right(1, 6, 9, 3))
    verdicts = [row_of(tmp_path, method)["vs_head_only_verdict"] for method in ("pfeiffer", "xpeft")]
    assert verdicts == ["tie", "tie"]
    same = row_of(tmp_path, "pfeiffer")
    assert same[["vs_head_only", "vs_head_only_low", "vs_head_only_high"]].tolist() == [0, 0, 0]
    assert "| +0.00 [−10.00, +10.00] (4) | +0.00 [−10.00, +10.00] (4) | tie | tie |\n" in page(tmp_path)


def test_equal_means_over_seeds_are_no_difference(tmp_path: Path) -> None:
    for seed, (ours, theirs) in enumerate([(0, 0), (1, 0), (2, 3)]):  # as floats, the means are not equal
        add_run(tmp_path, "head_only", right(theirs, theirs), seed=seed)
        add_run(tmp_path, "xpeft", right(ours, ours), seed=seed)
    row = row_of(tmp_path, "xpeft")
    assert (row["vs_head_only"], row["vs_head_only_verdict"]) == (0, "tie")


def test_only_persons_whom_both_have_are_paired(tmp_path: Path) -> None:
    warm = {name: pairs for name, pairs in right(9, 9, 9, 9).items() if name in ("p1", "p3")}
    add_run(tmp_path, "head_only", right(0, 7, 0, 8))
    add_run(tmp_path, "xpeft_warm", warm, user_group=1, options={"bank": "b" * 64})
    row = row_of(tmp_path, "xpeft_warm")
    assert row["vs_head_only"] == pytest.approx((0.2 + 0.1) / 2)
    assert (row["persons"], row["vs_head_only_persons"]) == (2, 2)


def test_runs_on_other_banks_for_the_same_persons_are_not_one_row(tmp_path: Path) -> None:
    for bank in ("b", "c"):
        add_run(tmp_path, "xpeft_warm", right(9, 9), user_group=1, options={"bank": bank * 64})
    with pytest.raises(InputError, match="same persons with the same seed, but on other banks"):
        table(tmp_path)


def test_one_person_has_no_verdict_and_none_in_common_no_difference(tmp_path: Path) -> None:
    add_run(tmp_path, "head_only", {"p1": [(2, 3)]})
    add_run(tmp_path, "lora", {"p1": [(2, 2)], "p2": [(2, 2)]})
    add_run(tmp_path, "xpeft", {"p3": [(2, 2)]})
    one, none = row_of(tmp_path, "lora"), row_of(tmp_path, "xpeft")
    assert (one["vs_head_only"], one["vs_head_only_persons"]) == (1, 1)
    assert one[["vs_head_only_low", "vs_head_only_verdict"]].isna().all()
    assert none.filter(like="vs_head_only").isna().all()
    assert "| +100.00 (1) |" in page(tmp_path)


def test_without_the_reference_under_the_same_protocol_cells_are_empty(tmp_path: Path) -> None:
    add_run(tmp_path, "xpeft", random_answers(1))
    add_run(tmp_path, "head_only", random_answers(2), users="shared")
    add_run(tmp_path, "head_only", random_answers(2), fingerprint="a" * 64)
    rows = table(tmp_path)
    assert rows.query("method == 'xpeft'").filter(like="vs_").isna().all(axis=None)
    line = next(line for line in page(tmp_path).splitlines() if line.startswith("| xpeft |"))
    assert line.endswith("| 1,200 | 156 | 120 | 1,000 |  |  |  |  |")


def test_of_several_references_the_one_on_the_same_persons_and_epochs_counts(tmp_path: Path) -> None:
    add_run(tmp_path, "head_only", right(1, 1), epochs=3)
    add_run(tmp_path, "head_only", right(4, 4), epochs=9)
    add_run(tmp_path, "xpeft", right(6, 6), epochs=9)
    assert row_of(tmp_path, "xpeft")["vs_head_only"] == pytest.approx(0.2)
    add_run(tmp_path, "head_only", right(5, 5), epochs=9, options={"scale": 0.5})
    assert np.isnan(row_of(tmp_path, "xpeft")["vs_head_only"])


def test_of_errors_less_is_better(tmp_path: Path) -> None:
    labels = {"p1": [1.0, 5.0], "p2": [2.0, 4.0, 4.0]}

    def off_by(error: float) -> Answers:
        return {name: [(label, label + error) for label in values] for name, values in labels.items()}

    add_run(tmp_path, "head_only", off_by(0.5), task="lamp3_score")
    add_run(tmp_path, "xpeft", off_by(-0.25), task="lamp3_score")
    add_run(tmp_path, "pfeiffer", off_by(1.0), task="lamp3_score")
    row = row_of(tmp_path, "xpeft")
    assert row[["mae", "rmse", "person_mean"]].tolist() == pytest.approx([0.25, 0.25, 0.25])
    assert row[["accuracy", "macro_f1"]].isna().all()
    assert row[["vs_head_only", "vs_pfeiffer"]].tolist() == pytest.approx([-0.25, -0.75])
    assert row[["vs_head_only_verdict", "vs_pfeiffer_verdict"]].tolist() == ["better", "better"]
    assert row_of(tmp_path, "pfeiffer")["vs_head_only_verdict"] == "worse"
    everyone = row_of(tmp_path, "median (all)", "shared")  # guesses 1
    assert everyone["mae"] == pytest.approx((0 + 4 + 1 + 3 + 3) / 5)
    assert everyone["person_mean"] == pytest.approx((4 / 2 + 7 / 3) / 2, abs=1e-6)
    assert "| −0.250 [−0.250, −0.250] (2) | −0.750 [−0.750, −0.750] (2) | better | better |" in page(tmp_path)


def test_baselines_are_scored_on_the_run_with_most_persons(tmp_path: Path) -> None:
    answers = {"p1": [(1, 1), (4, 4), (1, 0)], "p2": [(3, 3), (3, 0)], "p3": [(1, 1)]}
    for seed in (0, 1):
        add_run(tmp_path, "head_only", answers, seed=seed)
    add_run(tmp_path, "lora", {"p1": answers["p1"]})
    everyone = row_of(tmp_path, "majority (all)", "shared")  # guesses 1 for all
    own = row_of(tmp_path, "majority (own)", "each")  # guesses 1, 3 and 1
    assert (everyone["persons"], everyone["test_rows"]) == (3, 6)
    assert everyone["accuracy"] == pytest.approx(3 / 6)
    assert everyone["person_mean"] == pytest.approx((2 / 3 + 0 + 1) / 3, abs=1e-6)
    assert own["accuracy"] == pytest.approx(5 / 6, abs=1e-6)
    assert own[["seeds", "trained", "method_bytes"]].isna().all()
    assert own["vs_head_only"] == pytest.approx((0 + 1 / 2 + 0) / 3, abs=1e-6)
    assert own["vs_head_only_verdict"] == "tie"
    assert np.isnan(everyone["vs_head_only"])  # no run with one adaptation for all


def test_a_bank_is_named_by_a_few_digits(tmp_path: Path) -> None:
    for bank in ("a", "b"):
        add_run(tmp_path, "xpeft_warm", random_answers(1), options={"bank": bank * 64})
    assert set(table(tmp_path)["method"][2:]) == {"xpeft_warm [bank=aaaaaaaa]", "xpeft_warm [bank=bbbbbbbb]"}


def test_glue_s_table_does_not_know_of_runs_with_persons(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola")
    before = {path.name: path.read_bytes() for path in write_tables(tmp_path)}
    assert {"glue_accuracy.csv", "glue_accuracy.md"} <= before.keys()
    add_run(tmp_path, "pafi", random_answers(1))
    add_run(tmp_path, "pafi", {}, error="broken", seed=1)
    after = {path.name: path.read_bytes() for path in write_tables(tmp_path)}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"lamp.csv", "lamp.md", "lamp.tex"}


def test_a_mixture_has_no_persons_even_under_the_name_of_a_task_with_some(tmp_path: Path) -> None:
    add_run(tmp_path, "pafi", random_answers(1), members=["cola", "rte"])
    assert [path.name for path in write_tables(tmp_path)] == ["glue_accuracy.csv", "glue_accuracy.md"]


def test_regenerated_tables_have_the_same_bytes(tmp_path: Path) -> None:
    for seed in (2, 0):
        for method in ("xpeft", "head_only", "pfeiffer"):
            for task in ("lamp3", "lamp2n"):
                add_run(tmp_path, method, random_answers(seed, classes=5), task=task, seed=seed)
    first = {path.name: path.read_bytes() for path in write_tables(tmp_path)}
    assert {path.name: path.read_bytes() for path in write_tables(tmp_path)} == first
    titles = [line for line in first["lamp.md"].decode().splitlines() if line.startswith("## ")]
    assert titles == ["## local data, lamp2n, minilm", "## local data, lamp3, minilm"]
    assert all(b"\r" not in content and content.endswith(b"\n") for content in first.values())


def test_a_section_says_whose_rows_they_are(tmp_path: Path) -> None:
    partial = ("train_questions.json is missing; the official one has 5,914", "the profiles are rebuilt")
    add_run(tmp_path, "lora", random_answers(1), deviations=partial)
    add_run(tmp_path, "lora", random_answers(1), source="sample", fingerprint="5" * 64, min_user_rows=25)
    head, local, sample = page(tmp_path).split("\n## ")
    assert "after the last epoch. No epoch is selected" in head
    assert local.startswith("local (subset) data, lamp2n, minilm\n")
    assert "".join(f"- {sentence}\n" for sentence in partial) in local
    for section, digits, least in ((local, "ffffffff", 20), (sample, "55555555", 25)):
        assert f"Data {digits}, weights cccccccc; users with at least {least} rows.\n" in section
        assert "Not comparable with published LaMP or X-PEFT numbers" in section
        assert ("bundled sample is synthetic" in section) == (section is sample)


def test_trainings_that_diverged_are_told(tmp_path: Path) -> None:
    add_run(tmp_path, "lora", random_answers(1), diverged=["p1", "p4"])
    add_run(tmp_path, "lora", random_answers(2), diverged=["p1"], seed=1)
    add_run(tmp_path, "xpeft", random_answers(2))
    assert row_of(tmp_path, "lora")["diverged"] == 3
    notes = [line for line in page(tmp_path).splitlines() if line.startswith("- Diverged runs")]
    assert notes == [
        "- Diverged runs with lora, one adaptation for each: 3. Their rows are scored with diverged values."
    ]


def test_failed_runs_are_listed_and_not_scored(tmp_path: Path) -> None:
    add_run(tmp_path, "lora", {}, error="out of memory")
    assert len(table(tmp_path)) == 0
    assert "| minilm | lora | lamp2n | 0 | out of memory |" in page(tmp_path)


def test_predictions_that_are_missing_are_named(tmp_path: Path) -> None:
    path = add_run(tmp_path, "lora", random_answers(1)) / "predictions.parquet"
    pd.read_parquet(path).drop(columns="user").to_parquet(path)
    with pytest.raises(InputError, match=r"predictions\.parquet has no column 'user'"):
        write_tables(tmp_path)
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"predictions\.parquet cannot be read as a whole Parquet file"):
        write_tables(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"predictions\.parquet is missing: the scores of task 'lamp2n'"):
        write_tables(tmp_path)
