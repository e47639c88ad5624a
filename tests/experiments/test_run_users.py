"""Runs on a task whose rows belong to persons."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from experiments.helpers import KilledError, poison, run_folder
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.experiments.user_selection import selected_users
from gluelamp.profiles import ProfileStore
from gluelamp.tasks.config import TaskConfig
from gluelamp.tasks.mixture import find_task
from gluelamp.tasks.task import TaskData
from gluelamp.training.trainer import DivergedError, Trainer

TinyRun = Callable[..., RunConfig]
EACH = (
    *("task=lamp2n", "task.max_users=4", "task.max_train_examples=null", "method=lora"),
    *("trainer.dropout=0", "trainer.batch_size=8", "trainer.epochs=2", "trainer.profiles_per_pass=4"),
    *("trainer.eps=1e-2", "trainer.precision=fp32"),  # with Adam's own eps rounding alone makes full steps
)


def predictions(config: RunConfig, selection: str = "last") -> pd.DataFrame:
    rows = pd.read_parquet(run_folder(config) / "predictions.parquet")
    return rows[rows["selection"] == selection].reset_index(drop=True)


def outputs(rows: pd.DataFrame) -> np.ndarray:
    return rows.filter(like="output_").to_numpy()


def test_those_who_train_together_cannot_be_replayed_as_graphs(tiny_run: TinyRun) -> None:
    with pytest.raises(
        InputError, match=r"not allowed with trainer\.graphs=true.*Take trainer\.profiles_per_pass=1"
    ):
        execute(tiny_run(*EACH, "trainer.graphs=true"))


def test_those_who_train_together_end_as_if_each_had_trained_alone(tiny_run: TinyRun) -> None:
    together, alone = tiny_run(*EACH), tiny_run(*EACH, "trainer.profiles_per_pass=1")
    records = [execute(config) for config in (together, alone)]
    assert run_folder(together) != run_folder(alone)
    np.testing.assert_allclose(outputs(predictions(together)), outputs(predictions(alone)), atol=2e-5)
    assert records[0].metrics["last"] == pytest.approx(records[1].metrics["last"])
    assert records[0].parameters == records[1].parameters
    assert records[0].bytes == records[1].bytes
    stores = [ProfileStore.open(run_folder(config) / "last.profiles") for config in (together, alone)]
    assert stores[0].ids == stores[1].ids
    for name in stores[0].ids:
        for key, value in stores[0].read(name).items():
            np.testing.assert_allclose(value, stores[1].read(name)[key], atol=2e-5)


def test_the_metrics_are_those_of_all_rows_each_under_its_own_person(tiny_run: TinyRun) -> None:
    config = tiny_run(*EACH)
    record = execute(config)
    rows = predictions(config)
    for split, suffix in (("validation", ""), ("test", "_test")):
        own = rows[rows["split"] == split]
        guessed = outputs(own).argmax(axis=1)
        assert record.metrics["last"][f"accuracy{suffix}"] == accuracy_score(own["label"], guessed)
        found = f1_score(own["label"], guessed, labels=range(15), average="macro", zero_division=0)
        assert record.metrics["last"][f"macro_f1{suffix}"] == pytest.approx(found)
    assert record.protocol.users == 4
    assert record.protocol.diverged == {}
    claimed = record.protocol.selection + record.protocol.validation_reused
    assert [name for name in ("best", "last", "held_out") if name in claimed] == list(record.metrics)
    assert [entry["epoch"] for entry in record.history] == [1, 2]
    assert not (run_folder(config) / "users").exists()


def test_the_guesses_without_a_model_are_the_most_frequent_training_classes(tiny_run: TinyRun) -> None:
    config = tiny_run(*EACH)
    execute(config)
    train = plan_run(config).data[0].splits["train"]
    rows = predictions(config)
    assert set(rows["baseline_all"]) == {train["label"].mode()[0]}
    for user, own in rows.groupby("user"):
        assert set(own["baseline_user"]) == {train[train["user"] == user]["label"].mode()[0]}


def test_a_person_is_the_same_whoever_else_is_there(tiny_run: TinyRun) -> None:
    everyone, half = tiny_run(*EACH), tiny_run(*EACH, "task.user_group=1")
    for config in (everyone, half):
        execute(config)
    few = predictions(half)
    assert few["user"].nunique() == 2
    rows = predictions(everyone)
    same = rows[rows["user"].isin(few["user"])]
    np.testing.assert_allclose(outputs(same), outputs(few), atol=2e-5)


def test_the_groups_share_the_persons_out(tiny_run: TinyRun) -> None:
    def persons(*overrides: str) -> set[str]:
        return set(plan_run(tiny_run(*EACH, *overrides)).data[0].splits["train"]["user"])

    first, second = persons("task.user_group=0"), persons("task.user_group=1")
    assert not first & second
    assert first | second == persons()
    everyone = plan_run(tiny_run(*EACH, "task.max_users=null")).data[0].splits
    counts = pd.concat(everyone.values())["user"].value_counts()
    assert set(counts.nlargest(4)) == {counts[name] for name in persons()}
    assert persons("task.max_users=null", "task.min_user_rows=50") == set(counts[counts >= 50].index)


def test_persons_without_rows_in_every_split_have_no_adaptation_of_their_own() -> None:
    users = {"train": ["a", "a", "b", "b", "b"], "validation": ["a"], "test": ["a"]}
    splits = {name: pd.DataFrame({"user": some}) for name, some in users.items()}
    data = TaskData(find_task("lamp1", ()), "local", splits, "0" * 64)
    each = selected_users(data, TaskConfig(name="lamp1", profiles="per_user", min_user_rows=3)).splits
    assert {name: list(rows["user"]) for name, rows in each.items()} == users | {"train": ["a", "a"]}
    shared = selected_users(data, TaskConfig(name="lamp1", min_user_rows=3)).splits
    assert {name: list(rows["user"]) for name, rows in shared.items()} == users


def test_one_adaptation_for_all_has_their_scores_too(tiny_run: TinyRun) -> None:
    config = tiny_run(*EACH, "task.profiles=shared", "trainer.profiles_per_pass=1")
    record = execute(config)
    assert "macro_f1_test" in record.metrics["last"]
    assert predictions(config)["user"].nunique() == 4
    assert (run_folder(config) / "last.safetensors").exists()


def test_each_can_begin_with_what_all_have_learnt(tiny_run: TinyRun) -> None:
    """They end nearer to it than persons who begin anew."""
    shared = tiny_run(*EACH, "task.profiles=shared", "trainer.profiles_per_pass=1")
    execute(shared)
    config = tiny_run(*EACH, "task.profiles=shared_then_per_user")
    execute(config)
    assert not list(run_folder(config).glob("phase-*"))
    start, each = outputs(predictions(shared)), outputs(predictions(config))
    anew = tiny_run(*EACH)
    execute(anew)
    distances = [np.abs(each - other).mean() for other in (start, outputs(predictions(anew)))]
    assert 0 < distances[0] < distances[1]


def test_a_killed_run_does_not_train_again_who_was_done(
    tiny_run: TinyRun, tiny_config: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tiny_run(*EACH, "trainer.profiles_per_pass=2", "seed=1")
    undisturbed = tiny_config(tmp_path / "undisturbed", *EACH, "trainer.profiles_per_pass=2", "seed=1")
    execute(undisturbed)
    run, groups = Trainer.run, []

    def die_in_the_second(self: Trainer) -> list:
        groups.append(self)
        if len(groups) == 2:
            raise KilledError
        return run(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", die_in_the_second)
        with pytest.raises(KilledError):
            execute(config)
    steps = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, active: (steps.append(active), step(self, active)))
    execute(config)
    trained = {id(state) for active in steps for state in active}
    assert len(trained) == 2
    np.testing.assert_array_equal(outputs(predictions(config)), outputs(predictions(undisturbed)))


def test_a_run_in_which_everybody_diverges_has_failed(tiny_run: TinyRun) -> None:
    config = tiny_run(*EACH, "trainer.learning_rate=1e38", "trainer.head_learning_rate=1e38")
    with pytest.raises(DivergedError, match=r"every user .*Lower trainer\.learning_rate"):
        execute(config)
    assert json.loads((run_folder(config) / "record.json").read_text())["status"] == "failed"


def test_a_person_who_diverges_is_named_and_the_others_stay(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tiny_run(*EACH)
    execute(good)
    ill = tiny_run(*EACH, "seed=0", "trainer.pass_tokens=4095")
    give_up = Trainer._read_losses

    def one_is_ill(self: Trainer, active: list) -> None:
        give_up(self, active)
        if not self.errors:
            self._stop_diverged(self.states[2], "The loss of step 1 is nan.")

    monkeypatch.setattr(Trainer, "_read_losses", one_is_ill)
    record = execute(ill)
    (name,) = record.protocol.diverged
    rows, expected = predictions(ill), predictions(good)
    others = rows["user"] != name
    np.testing.assert_allclose(outputs(rows[others]), outputs(expected[others]), atol=2e-5)
    assert not outputs(rows[~others]).any()
    assert json.loads((run_folder(ill) / "record.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        (("trainer.profiles_per_pass=3",), "group-3"),
        (("trainer.profiles_per_pass=1", "method=lt_sft"), "group-3/0/phase-1"),
    ],
    ids=["last of four", "in a phase"],
)
def test_a_person_who_trains_alone_and_diverges_is_named_and_the_others_stay(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], folder: str
) -> None:
    poison(monkeypatch, 1, folder)
    config = tiny_run(*EACH, *overrides)
    record = execute(config)
    rows = predictions(config)
    last = max(rows["user"])
    assert record.protocol.diverged.keys() == {last}
    assert record.protocol.diverged[last].startswith("The loss of step 1 is nan.")
    assert not outputs(rows[rows["user"] == last]).any()
    assert outputs(rows[rows["user"] != last]).all()


def test_the_peak_memory_is_that_of_the_largest_group(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([3, 2])
    monkeypatch.setattr("gluelamp.training.trainer.peak_memory", lambda _: {"peak_bytes": next(peaks)})
    record = execute(tiny_run(*EACH, "trainer.profiles_per_pass=2", "trainer.epochs=1"))
    assert record.memory.peak_bytes == 3


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("task.min_user_rows=2",), r"task\.min_user_rows=2 .* 3 or more"),
        (("task.profiles=shared",), r"trainer\.profiles_per_pass=4 .*task\.profiles=shared"),
        (("method=fish",), r"trainer\.profiles_per_pass=4 .*'fish'"),
        (("method=pafi",), r"trainer\.profiles_per_pass=1"),
        (("task.min_user_rows=500",), r"No user .* is left"),
        (("task.max_train_examples=48",), r"task\.max_train_examples=48 .*task\.max_users"),
        (
            ("task.profiles=shared_then_per_user", "trainer.profiles_per_pass=1", "method=spt_lora"),
            r"task\.profiles=shared_then_per_user .*'spt_lora'.* Take task\.profiles=per_user\.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_cannot_be_is_refused_before_training(
    tiny_run: TinyRun, overrides: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        execute(tiny_run(*EACH, *overrides))
    assert not list(tmp_path.rglob("record.json"))


def test_a_head_that_is_trained_first_does_not_hinder_a_shared_start(tiny_run: TinyRun) -> None:
    """Such a method has a phase, but chooses nothing by which persons would differ."""
    overrides = (
        "task.profiles=shared_then_per_user",
        "trainer.profiles_per_pass=1",
        "trainer.epochs=1",
        "task.max_users=2",
    )
    assert execute(tiny_run(*EACH, *overrides, "method=hadamard")).status == "complete"


def test_rows_of_nobody_cannot_be_shared_out(tiny_run: TinyRun) -> None:
    with pytest.raises(InputError, match=r"task\.profiles='per_user' is not allowed.*no users"):
        plan_run(tiny_run("task=cola", "+task.profiles=per_user", "+task.min_user_rows=5"))


@pytest.mark.parametrize("users", ["shared", "per_user"])
def test_bytes_are_those_of_what_is_stored_whatever_the_passes_compute_in(
    tiny_run: TinyRun, users: str
) -> None:
    together = 4 if users == "per_user" else 1
    config = tiny_run(
        *EACH, f"task.profiles={users}", f"trainer.profiles_per_pass={together}", "trainer.precision=bf16"
    )
    record = execute(config)
    assert record.bytes.method == 4 * record.parameters.trained
    assert record.bytes.head == 4 * record.parameters.head
