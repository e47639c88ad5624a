"""The table of tasks with users, against numbers computed by hand and by scikit-learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from gluelamp.errors import InputError
from gluelamp.io import write_json
from gluelamp.records import find_runs
from gluelamp.reporting.rendering import page_files
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.tables.lamp import lamp_page, lamp_rows
from gluelamp.tasks.lamp.tasks import LAMP

Answers = Mapping[str, Sequence[tuple[float, float]]]
"""By user, label and prediction of each test row."""

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
    profiles: str = "per_user",
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
    users = {"profiles": profiles, "min_user_rows": 20, "max_users": None, "user_group": None, **settings}
    config = {
        "backbone": {"name": "minilm", "checksum": "c" * 64},
        "method": {"name": method, **(options or {})},
        "task": {"name": task, "max_train_examples": None, "members": [], **users},
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
    """Return the file of a run; all rows of the best epoch and of the validation split are wrong."""
    rows = []
    for user, pairs in answers.items():
        for position, (label, predicted) in enumerate(pairs):
            for selection, split in (("best", "test"), ("last", "validation"), ("last", "test")):
                is_scored = (selection, split) == ("last", "test")
                outputs = outputs_for(task, predicted if is_scored else label + 1)
                row = {"selection": selection, "split": split, "idx": 100 * int(user[1:]) + position}
                guesses = {"baseline_all": 1.0, "baseline_user": float(min(pairs)[0])}
                rows.append({**row, "label": label, "user": user, **guesses, **outputs})
    return pd.DataFrame(rows)


def outputs_for(task: str, predicted: float) -> dict[str, float]:
    classes = len(LAMP[task].labels)
    values = [float(number == predicted % classes) for number in range(classes)] if classes else [predicted]
    return {f"output_{number}": value for number, value in enumerate(values)}


def table(root: Path) -> pd.DataFrame:
    return lamp_rows(score_table(find_runs(root)))


def page(root: Path) -> str:
    failed = [record for _, record in find_runs(root) if record.status == "failed"]
    return page_files(root, lamp_page(table(root), failed))[root / "lamp.md"]


def only(rows: pd.DataFrame, method: str, profiles: str = "per_user") -> pd.Series:
    (row,) = rows.query("method == @method and profiles == @profiles").to_dict("records")
    return pd.Series(row)


def random_answers(seed: int, users: int = 12, right: float = 0.6, classes: int = 15) -> Answers:
    """Return rows whose labels do not depend on the seed; users have 3 to 8 of them."""
    labels, rng = np.random.default_rng(99), np.random.default_rng(seed)
    answers = {}
    for number in range(users):
        true = labels.integers(classes, size=3 + number % 6)
        wrong = rng.random(len(true)) >= right
        guessed = np.where(wrong, rng.integers(classes, size=len(true)), true)
        answers[f"p{number}"] = [(int(a), int(b)) for a, b in zip(true, guessed, strict=True)]
    return answers


def right(*counts: int, total: int = 10) -> Answers:
    """Return users with these numbers of right answers."""
    return {f"p{n}": [(2, 2)] * count + [(2, 3)] * (total - count) for n, count in enumerate(counts)}


def pooled(answers: Answers) -> tuple[list[float], list[float]]:
    pairs = [pair for user in answers.values() for pair in user]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def user_accuracies(answers: Answers) -> list[float]:
    return [sum(a == b for a, b in pairs) / len(pairs) for pairs in answers.values()]


def test_scores_are_from_the_test_rows_after_the_last_epoch(tmp_path: Path) -> None:
    answers = random_answers(1)
    add_run(tmp_path, "xpeft", answers)
    row, (labels, predicted) = only(table(tmp_path), "xpeft"), pooled(answers)
    columns = ["users", "test_rows", "seeds", "epochs", "min_user_rows", "diverged"]
    assert row[columns].tolist() == [12, len(labels), 1, 3, 20, 0]
    sizes = ["trained", "method_bytes", "head_bytes", "shared_bytes"]
    assert row[sizes].tolist() == [1200, 156, 120, 1000]
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    f1 = sk.f1_score(labels, predicted, labels=range(15), average="macro", zero_division=0)
    assert row["macro_f1"] == pytest.approx(f1)
    users = user_accuracies(answers)
    assert (row["user_metric"], row["user_mean"]) == ("accuracy", pytest.approx(np.mean(users)))
    again = np.random.default_rng(5).choice(users, (20_000, len(users))).mean(axis=1)
    # 12 users: Student's 2.201 (11 degrees of freedom) times sqrt(12 / 11) instead of 1.960
    interval = np.quantile(again, [0.01076, 0.98924])
    # both bootstraps have noise: about 1 % of a width of 0.2
    assert row[["user_low", "user_high"]].tolist() == pytest.approx(list(interval), abs=0.005)


def test_seeds_are_averaged_after_each_was_scored(tmp_path: Path) -> None:
    runs = [random_answers(seed, right=0.3 + 0.2 * seed) for seed in range(3)]
    for seed, answers in enumerate(runs):
        add_run(tmp_path, "xpeft", answers, seed=seed)
    row = only(table(tmp_path), "xpeft")
    f1 = [sk.f1_score(*pooled(run), labels=range(15), average="macro", zero_division=0) for run in runs]
    assert (row["seeds"], row["users"], row["test_rows"]) == (3, 12, len(pooled(runs[0])[0]))
    assert row["macro_f1"] == pytest.approx(np.mean(f1))
    assert row["user_mean"] == pytest.approx(np.mean([user_accuracies(run) for run in runs]))


def halves(answers: Answers) -> list[Answers]:
    names = list(answers)
    return [{name: answers[name] for name in names[group::2]} for group in (0, 1)]


def test_both_groups_of_users_are_one_row_and_a_run_on_all_users_is_another(tmp_path: Path) -> None:
    answers, scores = random_answers(3), ["users", "seeds", "test_rows", "accuracy", "macro_f1", "user_low"]
    for group, half in enumerate(halves(answers)):
        add_run(tmp_path, "lora", half, user_group=group)
    two_halves = only(table(tmp_path), "lora")
    add_run(tmp_path, "lora", answers)
    rows = table(tmp_path)
    all_users = only(rows, "lora [task.user_group=null]")
    assert two_halves[scores].tolist() == all_users[scores].tolist()
    assert two_halves["users"] == 12
    assert only(rows, "lora [task.user_group=halves]")["accuracy"] == all_users["accuracy"]


def test_profiles_are_rows_in_order_and_no_variants(tmp_path: Path) -> None:
    for profiles in ("shared_then_per_user", "per_user", "shared"):
        for method in ("xpeft", "head_only"):
            add_run(tmp_path, method, random_answers(4), profiles=profiles)
    lines = [line.split(" | ")[:2] for line in page(tmp_path).splitlines() if line.startswith("| ")][2:]
    titles = ("shared", "per user", "shared, then per user")
    assert lines == [
        ["| majority (all)", "shared"],
        ["| majority (own)", "per user"],
        *[[f"| {method}", title] for title in titles for method in ("head_only", "xpeft")],
    ]


def test_differences_are_paired_by_user(tmp_path: Path) -> None:
    # users differ far more than methods do: only pairs show a difference
    add_run(tmp_path, "head_only", right(0, 2, 4, 6, 8, 1, 3, 5))
    add_run(tmp_path, "pfeiffer", right(1, 3, 5, 7, 9, 2, 4, 7))
    add_run(tmp_path, "xpeft", right(0, 2, 4, 6, 8, 1, 3, 5))
    add_run(tmp_path, "hiwi", right(1, 1, 5, 5, 9, 0, 4, 4))
    rows = table(tmp_path)
    row, reference = only(rows, "pfeiffer"), only(rows, "head_only")
    assert row["vs_head_only"] == pytest.approx(np.mean([0.1] * 7 + [0.2]))
    assert 0.1 <= row["vs_head_only_low"] < row["vs_head_only"] < row["vs_head_only_high"] <= 0.2
    assert (row["vs_head_only_users"], row["vs_head_only_verdict"]) == (8, "better")
    assert row[["vs_pfeiffer", "vs_pfeiffer_verdict"]].isna().all()
    assert reference["vs_pfeiffer"] == pytest.approx(-row["vs_head_only"])
    assert reference["vs_pfeiffer_verdict"] == "worse"
    assert reference[["vs_head_only", "vs_head_only_verdict"]].isna().all()
    assert [only(rows, method)["vs_head_only_verdict"] for method in ("xpeft", "hiwi")] == ["tie", "tie"]
    same = only(rows, "xpeft")[["vs_head_only", "vs_head_only_low", "vs_head_only_high"]]
    assert same.tolist() == [0, 0, 0]
    assert "| +11.25 [+10.00, +15.00] (8) |  | better |  |" in page(tmp_path)


def test_equal_means_over_seeds_have_no_difference(tmp_path: Path) -> None:
    for seed, (ours, reference) in enumerate([(0, 0), (1, 0), (2, 3)]):  # as floats, the means differ
        add_run(tmp_path, "head_only", right(reference, reference), seed=seed)
        add_run(tmp_path, "xpeft", right(ours, ours), seed=seed)
    row = only(table(tmp_path), "xpeft")
    assert (row["vs_head_only"], row["vs_head_only_verdict"]) == (0, "tie")


def test_only_common_users_are_paired_and_one_user_has_no_verdict(tmp_path: Path) -> None:
    warm = {name: pairs for name, pairs in right(9, 9, 9, 9).items() if name in ("p1", "p3")}
    add_run(tmp_path, "head_only", right(0, 7, 0, 8))
    add_run(tmp_path, "xpeft_warm", warm, user_group=1, options={"bank": "b" * 64})
    add_run(tmp_path, "lora", {"p1": [(2, 2)], "p9": [(2, 2)]})
    add_run(tmp_path, "xpeft", {"p8": [(2, 2)]})
    rows = table(tmp_path)
    two, one, none = (only(rows, method) for method in ("xpeft_warm", "lora", "xpeft"))
    assert two["vs_head_only"] == pytest.approx((0.2 + 0.1) / 2)
    assert (two["users"], two["vs_head_only_users"]) == (2, 2)
    assert (one["vs_head_only"], one["vs_head_only_users"]) == (pytest.approx(0.3), 1)
    assert one[["vs_head_only_low", "vs_head_only_verdict"]].replace("", np.nan).isna().all()
    assert none.filter(like="vs_head_only").isna().all()


def test_runs_with_different_banks_for_the_same_users_are_refused(tmp_path: Path) -> None:
    for bank in ("b", "c"):
        add_run(tmp_path, "xpeft_warm", right(9, 9), user_group=1, options={"bank": bank * 64})
    with pytest.raises(InputError, match="same users and the same seed, but different banks"):
        table(tmp_path)


def test_without_the_reference_with_the_same_profiles_cells_are_empty(tmp_path: Path) -> None:
    add_run(tmp_path, "xpeft", random_answers(1))
    add_run(tmp_path, "head_only", random_answers(2), profiles="shared")
    add_run(tmp_path, "head_only", random_answers(2), fingerprint="a" * 64)
    assert table(tmp_path).query("method == 'xpeft'").filter(like="vs_").isna().all(axis=None)
    line = next(line for line in page(tmp_path).splitlines() if line.startswith("| xpeft |"))
    assert line.endswith("| 1,200 | 156 | 120 | 1,000 |  |  |  |  |")


def test_of_several_references_the_one_with_the_same_users_and_epochs_counts(tmp_path: Path) -> None:
    add_run(tmp_path, "head_only", right(1, 1), epochs=3)
    add_run(tmp_path, "head_only", right(4, 4), epochs=9)
    add_run(tmp_path, "xpeft", right(6, 6), epochs=9)
    assert only(table(tmp_path), "xpeft")["vs_head_only"] == pytest.approx(0.2)
    add_run(tmp_path, "head_only", right(5, 5), epochs=9, options={"rank": 5})
    assert np.isnan(only(table(tmp_path), "xpeft")["vs_head_only"])


def test_lower_errors_are_better(tmp_path: Path) -> None:
    labels = {"p1": [1.0, 5.0], "p2": [2.0, 4.0, 4.0]}
    for method, error in (("head_only", 0.5), ("xpeft", -0.25), ("pfeiffer", 1.0)):
        answers = {name: [(label, label + error) for label in values] for name, values in labels.items()}
        add_run(tmp_path, method, answers, task="lamp3_score")
    rows = table(tmp_path)
    row = only(rows, "xpeft")
    assert row[["mae", "rmse", "user_mean"]].tolist() == pytest.approx([0.25, 0.25, 0.25])
    assert row[["accuracy", "macro_f1"]].isna().all()
    assert row[["vs_head_only", "vs_pfeiffer"]].tolist() == pytest.approx([-0.25, -0.75])
    assert row[["vs_head_only_verdict", "vs_pfeiffer_verdict"]].tolist() == ["better", "better"]
    assert only(rows, "pfeiffer")["vs_head_only_verdict"] == "worse"
    median = only(rows, "median (all)", "shared")  # predicts 1
    assert median["mae"] == pytest.approx((0 + 4 + 1 + 3 + 3) / 5)
    assert median["user_mean"] == pytest.approx((4 / 2 + 7 / 3) / 2)
    assert "| −0.250 [−0.250, −0.250] (2) | −0.750 [−0.750, −0.750] (2) | better | better |" in page(tmp_path)


def test_baselines_have_the_users_of_the_largest_run(tmp_path: Path) -> None:
    answers = {"p1": [(1, 1), (4, 4), (1, 0)], "p2": [(3, 3), (3, 0)], "p3": [(1, 1)]}
    for seed in (0, 1):
        add_run(tmp_path, "head_only", answers, seed=seed)
    add_run(tmp_path, "lora", {"p1": answers["p1"]})
    rows = table(tmp_path)
    shared = only(rows, "majority (all)", "shared")  # predicts 1 for all users
    own = only(rows, "majority (own)")  # predicts 1, 3 and 1
    assert (shared["users"], shared["test_rows"]) == (3, 6)
    assert shared["accuracy"] == pytest.approx(3 / 6)
    assert shared["user_mean"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert own["accuracy"] == pytest.approx(5 / 6)
    assert own[["seeds", "trained", "method_bytes"]].isna().all()
    assert own["vs_head_only"] == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert own["vs_head_only_verdict"] == "tie"
    assert np.isnan(shared["vs_head_only"])  # no run has one shared profile


def test_a_bank_in_a_label_has_eight_digits(tmp_path: Path) -> None:
    for bank in ("a", "b"):
        add_run(tmp_path, "xpeft_warm", random_answers(1), options={"bank": bank * 64})
    assert set(table(tmp_path)["method"][2:]) == {"xpeft_warm [bank=aaaaaaaa]", "xpeft_warm [bank=bbbbbbbb]"}


def test_a_section_describes_its_data_and_names_diverged_and_failed_runs(tmp_path: Path) -> None:
    partial = ("train_questions.json is missing; the official one has 5,914", "the profiles are rebuilt")
    for seed, users in enumerate((["p1", "p4"], ["p1"])):
        add_run(tmp_path, "lora", random_answers(seed), seed=seed, deviations=partial, diverged=users)
    sample = {"source": "sample", "fingerprint": "5" * 64, "min_user_rows": 25}
    add_run(tmp_path, "lora", random_answers(1), task="lamp3", **sample)
    add_run(tmp_path, "pafi", {}, error="out of memory")
    head, local, synthetic, failed = page(tmp_path).split("\n## ")
    assert "after the last epoch. No epoch is selected" in head
    assert local.startswith("local (deviates) data, lamp2n, minilm\n")
    assert "".join(f"- {sentence}\n" for sentence in partial) in local
    assert "- Diverged trainings of lora, profiles per user: 3." in local
    for section, digits, minimum in ((local, "ffffffff", 20), (synthetic, "55555555", 25)):
        assert f"Data {digits}, weights cccccccc; users with at least {minimum} rows.\n" in section
        assert "Not comparable with published LaMP or X-PEFT numbers" in section
        assert ("bundled sample is synthetic" in section) == (section is synthetic)
    assert "| minilm | pafi | lamp2n | 0 | out of memory |" in failed


def test_missing_predictions_are_named(tmp_path: Path) -> None:
    path = add_run(tmp_path, "lora", random_answers(1)) / "predictions.parquet"
    pd.read_parquet(path).drop(columns="user").to_parquet(path)
    with pytest.raises(InputError, match=r"predictions\.parquet has no column 'user'"):
        table(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"predictions\.parquet is missing: the scores of task 'lamp2n'"):
        table(tmp_path)
