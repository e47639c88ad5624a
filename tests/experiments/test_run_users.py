"""Runs on a task whose rows belong to users."""

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
from gluelamp.experiments.users import selected_users
from gluelamp.profiles import ProfileStore
from gluelamp.records import RunRecord
from gluelamp.tasks.config import TaskConfig
from gluelamp.tasks.mixture import find_task
from gluelamp.tasks.task import TaskData
from gluelamp.training.trainer import DivergedError, Trainer

TinyRun = Callable[..., RunConfig]
PER_USER = (
    *("task=lamp2n", "task.max_users=4", "task.max_train_examples=null", "method=lora"),
    *("trainer.dropout=0", "trainer.batch_size=8", "trainer.epochs=2", "trainer.profiles_per_pass=4"),
    *(
        "trainer.eps=1e-2",
        "trainer.precision=fp32",
    ),  # the default eps turns rounding into steps
)


def predictions(config: RunConfig, selection: str = "last") -> pd.DataFrame:
    rows = pd.read_parquet(run_folder(config) / "predictions.parquet")
    return rows[rows["selection"] == selection].reset_index(drop=True)


def outputs(rows: pd.DataFrame) -> np.ndarray:
    return rows.filter(like="output_").to_numpy()


@pytest.fixture(scope="module")
def per_user_run(
    tiny_config: TinyRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, RunRecord]:
    """A finished run with a profile for each of four users, trained in the same passes."""
    config = tiny_config(tmp_path_factory.mktemp("per_user"), *PER_USER)
    return config, execute(config)


def test_profiles_of_one_pass_are_those_that_are_trained_one_by_one(
    per_user_run: tuple[RunConfig, RunRecord], tiny_run: TinyRun
) -> None:
    (together, record), single = per_user_run, tiny_run(*PER_USER, "trainer.profiles_per_pass=1")
    other = execute(single)
    assert record.identity != other.identity
    np.testing.assert_allclose(outputs(predictions(together)), outputs(predictions(single)), atol=2e-5)
    assert record.metrics["last"] == pytest.approx(other.metrics["last"])
    assert (record.parameters, record.bytes) == (other.parameters, other.bytes)
    assert 0 < record.parameters.live <= record.parameters.trained
    stores = [ProfileStore.open(run_folder(config) / "last.profiles") for config in (together, single)]
    assert stores[0].ids == stores[1].ids
    for name in stores[0].ids:
        for key, value in stores[0].read(name).items():
            np.testing.assert_allclose(value, stores[1].read(name)[key], atol=2e-5)


def test_the_metrics_are_over_all_rows_each_with_the_profile_of_its_user(
    per_user_run: tuple[RunConfig, RunRecord],
) -> None:
    config, record = per_user_run
    rows = predictions(config)
    for split, suffix in (("validation", ""), ("test", "_test")):
        part = rows[rows["split"] == split]
        predicted = outputs(part).argmax(axis=1)
        assert record.metrics["last"][f"accuracy{suffix}"] == accuracy_score(part["label"], predicted)
        macro_f1 = f1_score(part["label"], predicted, labels=range(15), average="macro", zero_division=0)
        assert record.metrics["last"][f"macro_f1{suffix}"] == pytest.approx(macro_f1)
    assert (record.protocol.users, record.protocol.diverged) == (4, {})
    described = record.protocol.selection + record.protocol.validation_reused
    assert [name for name in ("best", "last", "held_out") if name in described] == list(record.metrics)
    assert [entry["epoch"] for entry in record.history] == [1, 2]
    assert not (run_folder(config) / "users").exists()


def test_the_majority_baselines_are_the_most_frequent_training_classes(
    per_user_run: tuple[RunConfig, RunRecord],
) -> None:
    config, _ = per_user_run
    train = plan_run(config).data[0].splits["train"]
    rows = predictions(config)
    assert set(rows["baseline_all"]) == {train["label"].mode()[0]}
    for user, part in rows.groupby("user"):
        assert set(part["baseline_user"]) == {train[train["user"] == user]["label"].mode()[0]}


def test_a_profile_does_not_depend_on_the_other_users(
    per_user_run: tuple[RunConfig, RunRecord], tiny_run: TinyRun
) -> None:
    half = tiny_run(*PER_USER, "task.user_group=1")
    execute(half)
    rows, all_rows = predictions(half), predictions(per_user_run[0])
    assert rows["user"].nunique() == 2
    same = all_rows[all_rows["user"].isin(rows["user"])]
    np.testing.assert_allclose(outputs(same), outputs(rows), atol=2e-5)


def test_the_user_groups_are_a_partition_of_the_users(tiny_run: TinyRun) -> None:
    def users(*overrides: str) -> set[str]:
        return set(plan_run(tiny_run(*PER_USER, *overrides)).data[0].splits["train"]["user"])

    first, second = users("task.user_group=0"), users("task.user_group=1")
    assert not first & second
    assert first | second == users()
    everyone = plan_run(tiny_run(*PER_USER, "task.max_users=null")).data[0].splits
    counts = pd.concat(everyone.values())["user"].value_counts()
    assert set(counts.nlargest(4)) == {counts[name] for name in users()}
    assert users("task.max_users=null", "task.min_user_rows=50") == set(counts[counts >= 50].index)


def test_users_without_rows_in_every_split_have_no_profile() -> None:
    users = {"train": ["a", "a", "b", "b", "b"], "validation": ["a"], "test": ["a"]}
    splits = {name: pd.DataFrame({"user": names}) for name, names in users.items()}
    data = TaskData(find_task("lamp1", ()), "local", splits, "0" * 64)
    each = selected_users(data, TaskConfig(name="lamp1", profiles="per_user", min_user_rows=3)).splits
    assert {name: list(rows["user"]) for name, rows in each.items()} == users | {"train": ["a", "a"]}
    shared = selected_users(data, TaskConfig(name="lamp1", min_user_rows=3)).splits
    assert {name: list(rows["user"]) for name, rows in shared.items()} == users


def test_profiles_that_start_from_the_shared_one_end_closer_to_it(
    per_user_run: tuple[RunConfig, RunRecord], tiny_run: TinyRun
) -> None:
    shared = tiny_run(*PER_USER, "task.profiles=shared", "trainer.profiles_per_pass=1")
    record = execute(shared)
    assert "macro_f1_test" in record.metrics["last"]
    assert predictions(shared)["user"].nunique() == 4
    assert (run_folder(shared) / "last.safetensors").exists()

    config = tiny_run(*PER_USER, "task.profiles=shared_then_per_user")
    execute(config)
    assert not list(run_folder(config).glob("phase-*"))
    started = outputs(predictions(config))
    to_shared, to_independent = (
        np.abs(started - outputs(predictions(other))).mean() for other in (shared, per_user_run[0])
    )
    assert 0 < to_shared < to_independent


def test_a_resumed_run_does_not_train_finished_groups_again(
    tiny_run: TinyRun, tiny_config: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overrides = (*PER_USER, "trainer.profiles_per_pass=2", "trainer.epochs=1", "seed=1")
    config, undisturbed = tiny_run(*overrides), tiny_config(tmp_path / "undisturbed", *overrides)
    execute(undisturbed)
    run, groups = Trainer.run, []

    def killed_in_the_second(self: Trainer) -> list:
        groups.append(self)
        if len(groups) == 2:
            raise KilledError
        return run(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", killed_in_the_second)
        with pytest.raises(KilledError):
            execute(config)
    steps = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, active: (steps.append(active), step(self, active)))
    execute(config)
    trained = {id(state) for active in steps for state in active}
    assert len(trained) == 2
    np.testing.assert_array_equal(outputs(predictions(config)), outputs(predictions(undisturbed)))


def test_a_run_fails_if_every_user_diverges(tiny_run: TinyRun) -> None:
    config = tiny_run(*PER_USER, "trainer.learning_rate=1e38", "trainer.head_learning_rate=1e38")
    with pytest.raises(DivergedError, match=r"every user .*Lower trainer\.learning_rate"):
        execute(config)
    assert json.loads((run_folder(config) / "record.json").read_text())["status"] == "failed"


def test_a_user_who_diverges_is_named_and_the_others_are_unchanged(
    per_user_run: tuple[RunConfig, RunRecord], tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run(*PER_USER, "trainer.pass_tokens=4095")
    read_losses = Trainer._read_losses

    def third_user_diverges(self: Trainer, active: list) -> None:
        read_losses(self, active)
        if not self.errors:
            self._stop_diverged(self.states[2], "The loss of step 1 is nan.")

    monkeypatch.setattr(Trainer, "_read_losses", third_user_diverges)
    record = execute(config)
    (name,) = record.protocol.diverged
    rows, expected = predictions(config), predictions(per_user_run[0])
    others = rows["user"] != name
    np.testing.assert_allclose(outputs(rows[others]), outputs(expected[others]), atol=2e-5)
    assert not outputs(rows[~others]).any()
    assert record.status == "complete"


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        (("trainer.profiles_per_pass=3",), "group-3"),
        (("trainer.profiles_per_pass=1", "method=lt_sft", "task.max_users=2"), "group-1/0/phase-1"),
    ],
    ids=["last user", "in a phase"],
)
def test_a_user_who_is_trained_alone_and_diverges_is_named(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], folder: str
) -> None:
    poison(monkeypatch, 1, folder)
    config = tiny_run(*PER_USER, *overrides, "trainer.epochs=1")
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
    record = execute(tiny_run(*PER_USER, "trainer.profiles_per_pass=2", "trainer.epochs=1"))
    assert record.memory.peak_bytes == 3


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("task.min_user_rows=2",), r"task\.min_user_rows=2 .* 3 or more"),
        (("task.profiles=shared",), r"trainer\.profiles_per_pass=4 .*task\.profiles=shared"),
        (
            ("trainer.graphs=true",),
            r"not allowed with trainer\.graphs=true.*profiles_per_pass=1",
        ),
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
def test_settings_that_do_not_fit_are_refused_before_training(
    tiny_run: TinyRun, overrides: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        execute(tiny_run(*PER_USER, *overrides))
    assert not list(tmp_path.rglob("record.json"))


def test_a_method_with_a_phase_but_no_selection_can_start_from_a_shared_profile(tiny_run: TinyRun) -> None:
    overrides = (
        "task.profiles=shared_then_per_user",
        "trainer.profiles_per_pass=1",
        "trainer.epochs=1",
        "task.max_users=2",
    )
    assert execute(tiny_run(*PER_USER, *overrides, "method=hadamard")).status == "complete"


def test_a_task_without_users_has_no_profiles_per_user(tiny_run: TinyRun) -> None:
    with pytest.raises(InputError, match=r"task\.profiles='per_user' is not allowed.*no users"):
        plan_run(tiny_run("task=cola", "+task.profiles=per_user", "+task.min_user_rows=5"))


@pytest.mark.parametrize("users", ["shared", "per_user"])
def test_the_stored_bytes_do_not_depend_on_the_precision_of_the_passes(tiny_run: TinyRun, users: str) -> None:
    together = 4 if users == "per_user" else 1
    config = tiny_run(
        *(*PER_USER, f"task.profiles={users}", f"trainer.profiles_per_pass={together}"),
        *("trainer.precision=bf16", "trainer.epochs=1", "task.max_users=2"),
    )
    record = execute(config)
    assert record.bytes.method == 4 * record.parameters.trained
    assert record.bytes.head == 4 * record.parameters.head
