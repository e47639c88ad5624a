"""Comparisons of predictions of any program, against scipy and formulas written out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest, bootstrap, permutation_test
from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

from gluelamp.errors import InputError
from gluelamp.records import FoundRun, find_runs
from gluelamp.reporting.compare import COLUMNS, compare
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.signature import parse_signature
from gluelamp.reporting.summary import summarise
from gluelamp.reporting.tables.paired import paired_rows

AddRun = Callable[..., FoundRun]

ROWS = 200


def table(values: Sequence[Any] | np.ndarray, column: str = "prediction") -> pd.DataFrame:
    return pd.DataFrame({"id": range(len(values)), column: values})


def flipped(labels: np.ndarray, probability: float, seed: int) -> np.ndarray:
    """Return labels of two classes of which some are wrong."""
    return np.where(np.random.default_rng(seed).random(len(labels)) < probability, 1 - labels, labels)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, ROWS)


def test_intervals_of_one_seed_are_those_of_scipys_paired_bootstrap(labels: np.ndarray) -> None:
    first, second = flipped(labels, 0.2, 1), flipped(labels, 0.35, 2)
    rows = compare({"a": table(first), "b": table(second)}, table(labels, "label"), resamples=9999)

    def error(statistic: Callable[..., float]) -> float:
        data = (labels, first, second)
        generator = np.random.default_rng(3)
        return bootstrap(
            data,
            statistic,
            paired=True,
            vectorized=False,
            n_resamples=4000,
            method="percentile",
            rng=generator,
        ).standard_error

    score = error(lambda truth, one, _: np.mean(truth == one))
    difference = error(lambda truth, one, other: np.mean(truth == other) - np.mean(truth == one))
    a, b = rows.iloc[0], rows.iloc[1]
    assert a["score"] == np.mean(first == labels)
    assert b["difference"] == pytest.approx(np.mean(second == labels) - np.mean(first == labels))
    # both errors are from resamples, 4,000 of which give them within 1.1 %
    assert (a["high"] - a["low"]) / 2 == pytest.approx(1.96 * score, rel=0.04)
    assert (b["difference_high"] - b["difference_low"]) / 2 == pytest.approx(1.96 * difference, rel=0.04)


@pytest.mark.parametrize("wrong", [14, 18, 24])
def test_p_values_are_near_those_of_exact_tests(wrong: int) -> None:
    labels = np.ones(400, int)
    first, second = labels.copy(), labels.copy()
    first[:10], second[10 : 10 + wrong] = 0, 0
    p = compare({"a": table(first), "b": table(second)}, table(labels, "label"))["p"].iloc[1]
    # McNemar's exact test is of the rows on which exactly one is right; mid-p makes it less conservative.
    exact = binomtest(wrong, wrong + 10).pvalue - binom.pmf(wrong, wrong + 10, 0.5)
    assert p == pytest.approx(exact, abs=0.03)


def test_the_p_value_of_errors_is_near_that_of_a_permutation_test() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    first, second = truth + rng.normal(0, 1, 60), truth + rng.normal(0, 1.5, 60)
    rows = compare({"a": table(first), "b": table(second)}, table(truth, "label"), metric="mae")
    errors = (abs(second - truth), abs(first - truth))
    exact = permutation_test(
        errors,
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=9999,
        rng=np.random.default_rng(1),
    )
    assert rows["difference"].iloc[1] == pytest.approx(exact.statistic)
    assert rows["p"].iloc[1] == pytest.approx(exact.pvalue, abs=0.02)
    assert rows["verdict"].iloc[1] == "worse"  # a larger error


def test_holms_correction_is_over_all_differences_to_the_baseline(labels: np.ndarray) -> None:
    systems = {
        name: table(flipped(labels, p, seed))
        for seed, (name, p) in enumerate(zip("abcd", (0.3, 0.1, 0.22, 0.2), strict=True))
    }
    rows = compare(systems, table(labels, "label")).iloc[1:].sort_values("p")
    p = rows["p"].tolist()
    first = min(1, 3 * p[0])
    second = max(first, min(1, 2 * p[1]))
    assert rows["p_holm"].tolist() == pytest.approx([first, second, max(second, p[2])], rel=1e-12)
    assert [one == "tie" for one in rows["verdict"]] == [one >= 0.05 for one in rows["p_holm"]]


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        ("f1", f1_score),
        ("macro_f1", lambda labels, outputs: f1_score(labels, outputs, average="macro")),
        ("matthews_correlation", matthews_corrcoef),
        ("roc_auc", roc_auc_score),
        ("rmse", lambda labels, outputs: np.sqrt(np.mean((labels - outputs) ** 2))),
    ],
)
def test_scores_are_those_of_scikit_learn(
    labels: np.ndarray, metric: str, reference: Callable[..., float]
) -> None:
    outputs = flipped(labels, 0.3, 1)
    rows = compare({"a": table(outputs)}, table(labels, "label"), metric=metric)
    assert rows["score"].iloc[0] == pytest.approx(reference(labels, outputs))


def test_more_files_of_a_system_are_seeds(labels: np.ndarray) -> None:
    seeds = [table(flipped(labels, 0.2, seed)) for seed in range(3)]
    rows = compare({"a": seeds, "b": seeds[0]}, table(labels, "label"))
    assert rows["seeds"].tolist() == [3, 1]
    assert rows["score"].iloc[0] == pytest.approx(
        np.mean([(one["prediction"] == labels).mean() for one in seeds])
    )


def test_the_order_of_rows_and_the_format_of_the_file_have_no_effect(
    labels: np.ndarray, tmp_path: Path
) -> None:
    names = np.array(["no", "yes"])
    gold, predicted = names[labels], names[flipped(labels, 0.2, 1)]
    frame = table(predicted).sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.tsv", index=False, sep="\t")
    table(predicted).to_parquet(tmp_path / "c.parquet")
    table(predicted).to_json(tmp_path / "d.jsonl", orient="records", lines=True)
    table(gold, "label").to_csv(tmp_path / "gold.csv", index=False)
    systems = {path.stem: path for path in sorted(tmp_path.glob("?.*"))}
    rows = compare(systems, tmp_path / "gold.csv", metric="f1", positive="yes")
    assert rows["score"].nunique() == rows["low"].nunique() == rows["high"].nunique() == 1
    assert (rows["p"].iloc[1:] == 1).all()


def test_numbers_in_different_spellings_are_the_same_class(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prediction\n0,1\n1,0.0\n2, 2\n")
    (tmp_path / "b.jsonl").write_text(
        "".join(
            json.dumps({"id": place, "prediction": one}) + "\n" for place, one in enumerate((1, 0.0, "2"))
        )
    )
    labels = pd.DataFrame({"id": ["0", "1", "2"], "label": ["1", "0", "2.0"]})
    rows = compare({"a": tmp_path / "a.csv", "b": tmp_path / "b.jsonl"}, labels)
    assert rows["score"].tolist() == [1.0, 1.0]


def test_classes_that_are_no_equal_numbers_stay_apart() -> None:
    labels = table(["1.50", 0.0, str(2**60), "v1"], "label")
    equal, other = ["1.5", "-0", str(2**60), "v1"], [1.25, 1, str(2**60 + 1), "v1"]
    rows = compare({"equal": table(equal), "other": table(other)}, labels)
    assert rows["score"].tolist() == [1.0, 0.25]


def test_none_and_na_are_labels_and_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prediction,label\n0,None,None\n1,NA,NA\n")
    assert compare({"a": tmp_path / "a.csv"})["score"].iloc[0] == 1
    (tmp_path / "a.csv").write_text("id,prediction,label\n0,,None\n1,NA,NA\n")
    with pytest.raises(InputError, match=r"a.csv: 1 of 2 predictions are missing or not finite \(ids '0'"):
        compare({"a": tmp_path / "a.csv"})


def test_rows_of_a_group_are_resampled_together(labels: np.ndarray) -> None:
    # each row twice: without groups the interval would be narrower by the square root of two
    outputs = flipped(labels, 0.3, 1)
    once = compare({"a": table(outputs)}, table(labels, "label")).iloc[0]
    gold = table(np.tile(labels, 2), "label").assign(pair=np.tile(np.arange(ROWS), 2))
    twice = compare({"a": table(np.tile(outputs, 2))}, gold, columns={"group": "pair"}).iloc[0]
    assert (twice["low"], twice["high"]) == pytest.approx((once["low"], once["high"]), abs=0.005)
    assert parse_signature(twice["signature"])["bootstrap"] == "groups"


def sentences() -> list[tuple[str, dict[str, Any], str]]:
    labels = table([0, 1, 1, 0], "label")
    good = table([0, 1, 0, 0])
    more = pd.DataFrame({"id": [0, 1, 1, 9], "prediction": [0, 1, 1, 1]})
    strange = good.assign(prediction=["x", "y", "x", "y"])
    relabelled = good.assign(label=[1, 1, 1, 1])
    return [
        (
            "ids",
            {"systems": {"a": more}, "labels": labels},
            r"A data frame of predictions does not fit a data frame of labels, which has 4 ids: 2 ids are "
            r"missing \('2', '3'\); 1 id is surplus \('9'\); 1 id is repeated \('1'\)\.",
        ),
        (
            "classes",
            {"systems": {"a": strange}, "labels": labels},
            "No prediction of 'a' is a class of the labels",
        ),
        (
            "labels",
            {"systems": {"a": good.assign(label=[0, 1, 1, 0]), "b": relabelled}},
            r"have different labels for 2 of 4 ids \('0', '3'\)",
        ),
        ("no labels", {"systems": {"a": good}}, "has no labels. Give a file of labels with gold=FILE"),
        (
            "missing",
            {"systems": {"a": good.assign(prediction=[0, 1, None, 1])}, "labels": labels},
            "1 of 4 predictions",
        ),
        (
            "infinite",
            {
                "systems": {"a": good.assign(prediction=[0, 1, np.inf, 1.0])},
                "labels": labels,
                "metric": "mae",
            },
            "1 of 4 predictions are missing or no finite number",
        ),
        (
            "metric",
            {"systems": {"a": good}, "labels": labels, "metric": "accurac"},
            "did you mean 'accuracy'",
        ),
        ("baseline", {"systems": {"a": good}, "labels": labels, "baseline": "b"}, "baseline 'b' is unknown"),
        (
            "positive",
            {"systems": {"a": good}, "labels": labels, "metric": "f1", "positive": "x"},
            "positive=CLASS",
        ),
        ("resamples", {"systems": {"a": good}, "labels": labels, "resamples": 1}, "at least 100 resamples"),
        ("confidence", {"systems": {"a": good}, "labels": labels, "confidence": 95.0}, "such as 0.95"),
        ("nothing", {"systems": {}}, "nothing to compare"),
        (
            "column",
            {"systems": {"a": good}, "labels": labels, "columns": {"prediction": "answr"}},
            "column 'answr' is unknown",
        ),
        (
            "group",
            {"systems": {"a": good}, "labels": labels, "columns": {"group": "question"}},
            "a data frame of labels: column 'question' is unknown",
        ),
        ("group metric", {"systems": {"a": good}, "labels": labels, "metric": "exact_match"}, "group=COLUMN"),
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"), [one[1:] for one in sentences()], ids=[one[0] for one in sentences()]
)
def test_bad_input_is_refused_in_a_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compare(**arguments)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "id,prediction\n", "has an unknown type. Allowed: .csv, .tsv, .jsonl, .parquet."),
        ("a.jsonl", '{"id": 1}\n{"id"', "line 2"),
        ("a.jsonl", "[1]\n", "line 1 is not an object"),
        ("a.parquet", "no parquet", "cannot be read as a whole Parquet file"),
        ("a.csv", "", "cannot be read as CSV"),
        (
            "a.csv",
            "key,answer\n1,2\n",
            "has no column id or idx or index or doc_id; name the column with id=COLUMN. Its columns: key,",
        ),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence) as error:
        compare({"a": tmp_path / name}, table([1], "label"))
    assert name in str(error.value)


def samples(path: Path, right: Sequence[int], filters: Sequence[str] = ("none",)) -> Path:
    """Write samples of a task with three choices as lm-eval does: targets and likelihoods are text."""
    lines = []
    for number, one in enumerate(right):
        target = number % 3
        chosen = target if one else (target + 1) % 3
        likelihoods = [["-1.5" if choice == chosen else "-3.25", "False"] for choice in range(3)]
        lines += [
            {
                **{"doc_id": number, "doc": {"question": "?"}, "target": str(target), "arguments": {}},
                **{
                    "resps": [likelihoods],
                    "filtered_resps": likelihoods,
                    "filter": name,
                    "metrics": ["acc", "mcc"],
                },
                **{
                    "doc_hash": "d",
                    "prompt_hash": "p",
                    "target_hash": "t",
                    "acc": float(one),
                    "mcc": [target, chosen],
                },
            }
            for name in filters
        ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_samples_of_lm_eval_are_compared_by_their_own_scores_or_by_a_metric_of_the_answers(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    right = rng.random((2, 90)) < [[0.8], [0.5]]
    systems = {
        name: samples(tmp_path / f"{name}.jsonl", one.astype(int))
        for name, one in zip("ab", right, strict=True)
    }
    own, answers, pairs = (compare(systems, metric=name) for name in (None, "accuracy", "mcc"))
    assert own["score"].tolist() == answers["score"].tolist() == pytest.approx(right.mean(axis=1).tolist())
    assert own["p"].iloc[1] == answers["p"].iloc[1] < 0.01
    assert parse_signature(own["signature"].iloc[0])["metric"] == "acc"
    targets = np.arange(90) % 3
    chosen = np.where(right[0], targets, (targets + 1) % 3)
    assert pairs["score"].iloc[0] == pytest.approx(matthews_corrcoef(targets, chosen))


def test_samples_with_several_filters_need_a_choice(tmp_path: Path) -> None:
    path = samples(tmp_path / "a.jsonl", [1, 0, 1], filters=("strict", "flexible"))
    with pytest.raises(
        InputError, match="several answers for each id; give filter=strict or filter=flexible"
    ):
        compare({"a": path})
    assert compare({"a": path}, filter="flexible")["score"].iloc[0] == pytest.approx(2 / 3)


def test_folders_of_runs_have_the_numbers_of_the_tables(add_run: AddRun, tmp_path: Path) -> None:
    for seed in range(3):
        add_run("pafi", wrong=30 + 3 * seed, seed=seed)
        add_run("lora", wrong=20, start=20 + 5 * seed, seed=seed)
    root = tmp_path / "runs" / "minilm_l6"
    rows = compare({"pafi": root / "pafi" / "rte", "lora": root / "lora" / "rte"})
    summary = summarise(score_table(find_runs(tmp_path)))
    summary = summary[summary["selection"] == "held_out"].assign(label=summary["method"])
    expected = paired_rows(summary, "pafi").iloc[0]
    found = rows.iloc[1]
    for column, name in (
        ("difference", "difference"),
        ("low", "difference_low"),
        ("high", "difference_high"),
    ):
        assert found[name] == expected[column]
    assert (found["p_holm"], found["verdict"]) == (expected["p_holm"], expected["verdict"])
    fields = parse_signature(found["signature"])
    assert (fields["method"], fields["task"], fields["seeds"], fields["selection"]) == (
        "lora",
        "rte",
        "0,1,2",
        "held_out",
    )


def test_a_folder_with_runs_of_different_settings_is_refused(add_run: AddRun, tmp_path: Path) -> None:
    add_run("pafi", seed=0)
    add_run("pafi", seed=1, epochs=7)
    with pytest.raises(InputError, match="has runs with different settings"):
        compare({"pafi": tmp_path / "runs" / "minilm_l6" / "pafi"})


def test_the_same_command_gives_the_same_numbers(labels: np.ndarray) -> None:
    arguments = {"systems": {"a": table(flipped(labels, 0.2, 1))}, "labels": table(labels, "label")}
    first, second = compare(**arguments), compare(**arguments)
    pd.testing.assert_frame_equal(first, second)
    assert list(first) == COLUMNS


def test_the_mean_of_scores_is_of_samples_alone(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(InputError, match="metric 'mean' is unknown"):
        compare({"a": table(labels)}, table(labels, "label"), metric="mean")
    rows = compare({"a": samples(tmp_path / "a.jsonl", [1, 0])})
    assert (rows["metric"].iloc[0], rows["score"].iloc[0]) == ("acc", 0.5)


@pytest.mark.parametrize("values", [[0.5, 3.0], ["text", "text"], [[0, 1, 2], [0, 1, 2]]])
def test_scores_of_samples_that_are_not_from_0_to_1_are_refused(tmp_path: Path, values: list[Any]) -> None:
    lines = [
        {"doc_id": place, "target": "0", "filtered_resps": ["0"], "brier": value, "acc": 1.0}
        for place, value in enumerate(values)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="'brier' are not scores between 0 and 1"):
        compare({"a": path})
    assert compare({"a": path}, metric="acc")["score"].iloc[0] == 1


@pytest.mark.parametrize("ids", [[1, 2, 3], [1.0, 2.0, 3.0], ["1", "2.0", "3"]])
def test_equal_ids_are_one_id_however_they_are_spelt(ids: list[object]) -> None:
    gold = pd.DataFrame({"id": [1, 2, 3], "label": ["a", "b", "a"]})
    system = pd.DataFrame({"id": ids, "prediction": ["a", "b", "b"]})
    assert compare({"a": system}, gold)["score"].iloc[0] == pytest.approx(2 / 3)
