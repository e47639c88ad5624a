"""Which runs stand in a paper's table: trained alike, one setting a method, whatever their scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gluelamp.records import FoundRun
from gluelamp.reporting.entries import Entry, entries, score_rows

AddRun = Callable[..., FoundRun]


def only(runs: list[FoundRun]) -> list[Entry]:
    (some,) = entries(runs).values()
    return some


def test_an_entry_is_all_seeds_of_a_method_on_a_task(add_run: AddRun) -> None:
    runs = [
        add_run(method, task, seed=seed) for method in "ba" for task in ("sst2", "rte") for seed in (2, 1)
    ]
    some = only(runs)
    assert [(entry.label, entry.task) for entry in some] == [
        *(("a", "sst2"), ("a", "rte")),
        *(("b", "sst2"), ("b", "rte")),
    ]
    assert all([record.config["seed"] for _, record in entry.runs] == [1, 2] for entry in some)


def test_the_setting_with_the_most_runs_stands_whatever_its_score(add_run: AddRun) -> None:
    few = [add_run("a", wrong=0, options={"rank": 1})]
    many = [add_run("a", wrong=50, seed=seed, options={"rank": 2}) for seed in (1, 2)]
    (entry,) = only([*few, *many])
    assert entry.scores().tolist() == [0.5, 0.5]


def test_a_method_has_one_setting_on_all_tasks_that_which_it_ran_on_the_most(add_run: AddRun) -> None:
    runs = [add_run("a", options={"rank": 1}), add_run("a", wrong=30, options={"rank": 2})]
    assert only(runs)[0].scores().tolist() == [0.5]
    runs += [add_run("a", "sst2", options={"rank": 2})]
    runs += [add_run("a", seed=seed, options={"rank": 1}) for seed in (2, 3)]
    assert {entry.task: entry.scores().tolist() for entry in only(runs)} == {"sst2": [0.5], "rte": [0.7]}


def test_a_task_on_which_a_method_ran_in_another_setting_alone_has_no_entry(add_run: AddRun) -> None:
    runs = [add_run("lora", task, options={"rank": 8}) for task in ("cola", "sst2")]
    runs += [add_run("lora", "rte", options={"rank": 64}), add_run("full", "rte")]
    assert [(entry.label, entry.task) for entry in only(runs)] == [
        *(("full", "rte"), ("lora", "cola"), ("lora", "sst2")),
    ]


def training(epochs: int, **changes: object) -> dict[str, object]:
    return {"trainer": {"epochs": epochs, "learning_rate": 0.1, **changes}}


def test_all_methods_were_trained_as_most_runs_were(add_run: AddRun) -> None:
    runs = [add_run(method, **training(3)) for method in "ab"]
    runs += [add_run("b", seed=seed, wrong=0, **training(10)) for seed in (1, 2)]
    runs += [add_run("c", **training(3, batch_size=16)), add_run("d", **training(10))]
    runs += [add_run(method, "sst2", **training(3)) for method in "ab"]
    assert {(entry.label, entry.task, entry.epochs) for entry in only(runs)} == {
        *(("a", "rte", 3), ("a", "sst2", 3), ("b", "rte", 3), ("b", "sst2", 3)),
    }


def test_learning_rates_are_a_methods_own(add_run: AddRun) -> None:
    rates = ("learning_rate", "head_learning_rate")
    runs = [add_run("a", **training(3)), *(add_run(rate, **training(3, **{rate: 0.2})) for rate in rates)]
    assert [entry.label for entry in only(runs)] == ["a", *sorted(rates)]


@pytest.mark.parametrize("other", [{"head": {"train_pooler": True}}, {"checksum": "d" * 64}])
def test_head_and_weights_are_the_same_for_all(add_run: AddRun, other: dict[str, object]) -> None:
    runs = [*(add_run(method) for method in "ab"), add_run("c", **other)]
    assert [entry.label for entry in only(runs)] == ["a", "b"]


def test_sources_backbones_and_subsets_are_never_mixed(add_run: AddRun) -> None:
    runs = [
        add_run("a"),
        add_run("a", source="hub"),
        add_run("a", backbone="bert_base"),
        add_run("a", max_train_examples=100),
    ]
    assert list(entries(runs)) == [
        ("hub", "minilm_l6"),
        ("local", "bert_base"),
        ("local", "minilm_l6"),
        ("local (subset)", "minilm_l6"),
    ]


def test_of_two_versions_of_a_task_that_with_the_most_runs_stands(add_run: AddRun) -> None:
    runs = [add_run("a", fingerprint="1"), add_run("a", fingerprint="2"), add_run("b", fingerprint="2")]
    assert {record.data["fingerprint"] for entry in only(runs) for _, record in entry.runs} == {"2"}


def test_failures_and_other_benchmarks_are_passed_over(add_run: AddRun, add_record: AddRun) -> None:
    runs = [add_run("a")]
    failed = add_record("a", error="broken", seed=9)
    assert len(only([*runs, (runs[0][0], failed)])[0].runs) == 1


def test_the_strict_selection_counts_only_where_all_runs_have_it(add_run: AddRun, add_record: AddRun) -> None:
    runs = [add_run("a")]
    assert only(runs)[0].selection == "held_out"
    old = add_record("b", "rte", 0.6)
    assert {entry.selection for entry in only([*runs, (runs[0][0], old)])} == {"best"}


def test_rows_have_scores_intervals_and_shares_of_the_backbone(add_run: AddRun) -> None:
    runs = [add_run("a", wrong=20, seed=seed, stored=8000) for seed in (1, 2)]
    (row,) = score_rows(only(runs)).to_dict("records")
    assert (row["mean"], row["std"], row["seeds"], row["metric"]) == (0.8, 0, 2, "accuracy")
    # of 100 rows; both seeds err on the same ones, so a second seed adds nothing
    assert row["high"] - row["mean"] == pytest.approx(1.96 * (0.8 * 0.2 / 100) ** 0.5, rel=0.05)
    assert row["trained_pct"] == 1.0
    assert row["stored_pct"] == 2.0  # 8,000 of 4 x 100,000 bytes


def test_without_predictions_there_is_a_score_and_no_interval(add_run: AddRun) -> None:
    run = add_run("a", wrong=20)
    (run[0] / "predictions.parquet").unlink()
    (row,) = score_rows(only([run])).to_dict("records")
    assert row["mean"] == 0.8
    assert str(row["low"]) == "nan"
