"""Signatures: their text, its inverse, and what they hold of runs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.records import FoundRun, find_runs
from gluelamp.reporting.rendering import Table, Text, texts
from gluelamp.reporting.rendering.terminal import print_table
from gluelamp.reporting.results import Results, write_tables
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.signature import (
    KEYS,
    common_signature,
    parse_signature,
    shared_signature,
    signature,
)
from gluelamp.reporting.summary import summarise

AddRun = Callable[..., FoundRun]
CHARACTERS = "ab1 :|%=,.[]\\\"'\n\r\té−ᶜ\u2028|%7C"


def test_a_signature_is_parsed_back_whatever_its_values_are() -> None:
    rng = random.Random(0)
    for _ in range(500):
        keys = rng.sample(KEYS, rng.randint(0, len(KEYS)))
        fields = {key: "".join(rng.choices(CHARACTERS, k=rng.randint(0, 12))) for key in keys}
        text = signature(fields)
        assert parse_signature(text) == fields
        assert len(text.splitlines()) <= 1
        assert [part.partition(":")[0] for part in text.split("|") if part] == sorted(keys, key=KEYS.index)


def test_a_value_of_none_is_left_out_and_an_unknown_key_is_refused() -> None:
    assert signature({"metric": "f1", "task": None, "seeds": 3}) == "metric:f1|seeds:3"
    with pytest.raises(KeyError, match="sedes"):
        signature({"sedes": 3})
    with pytest.raises(ValueError, match="'f1' is no part of a signature"):
        parse_signature("f1|seeds:3")


def test_the_signatures_of_a_table_are_split_and_joined_without_loss() -> None:
    lines = [signature({"task": "rte", "method": name, "options": f"rank={name}"}) for name in "ab"]
    common, own = shared_signature(lines)
    assert (common, own) == ("task:rte", ["method:a|options:rank=a", "method:b|options:rank=b"])
    assert [parse_signature(common) | parse_signature(one) for one in own] == list(
        map(parse_signature, lines)
    )
    assert shared_signature([]) == ("", [])
    assert common_signature(pd.DataFrame({"signature": [lines[0], None, ""]})) == lines[0]


def test_the_signature_of_a_score_has_its_settings_seeds_and_resampling(
    add_run: AddRun, tmp_path: Path
) -> None:
    for seed in (2, 1):
        add_run("pafi", seed=seed, options={"density": 0.01, "exclude": None})
    rows = summarise(score_table(find_runs(tmp_path)))
    found = parse_signature(rows[rows["selection"] == "last"]["signature"].iloc[0])
    expected = {
        **{"benchmark": "glue", "task": "rte", "metric": "accuracy", "backbone": "minilm_l6"},
        **{"weights": "cccccccc", "method": "pafi", "options": "density=0.01", "data": "local"},
        **{"fingerprint": "ffffffff", "head": "linear", "selection": "last", "epochs": "3", "seeds": "1,2"},
        **{"rows": "100", "bootstrap": "rows", "resamples": "2000", "bootstrap_seed": "0", "level": "0.95"},
    }
    assert expected.items() <= found.items()


def test_signatures_are_equal_exactly_if_all_settings_but_the_seed_are(
    add_run: AddRun, tmp_path: Path
) -> None:
    for seed in (0, 1):
        add_run("pafi", seed=seed)
        add_run("pafi", seed=seed, head={"type": "linear"}, trainer={"epochs": 3, "weight_decay": 0.1})
    rows = summarise(score_table(find_runs(tmp_path)))
    last = rows[rows["selection"] == "last"]
    assert len(last) == last["signature"].nunique() == 2
    first, second = map(parse_signature, last["signature"])
    assert {key for key in first if first[key] != second[key]} == {"settings"}


def test_tables_print_the_common_part_once_and_the_csv_has_each_line(add_run: AddRun, tmp_path: Path) -> None:
    for method in ("pafi", "lora"):
        add_run(method, wrong=20)
    written = {path.name: path.read_text() for path in write_tables(Results(tmp_path, tmp_path))}
    assert written["glue_main.md"].count("Signature, shared by all scores: `benchmark:glue|task:rte|") == 1
    assert "\n% signature, shared by all scores: benchmark:glue|task:rte|" in written["glue_main.tex"]
    frame = pd.read_csv(tmp_path / "tables" / "glue_accuracy.csv")
    assert [parse_signature(line)["method"] for line in frame["signature"]] == frame["method"].tolist()


def test_a_terminal_table_ends_with_the_signature_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = signature({"task": "rte", "options": "rank=8," * 60})
    print_table(Table("Scores", texts("method"), [[Text("lora")]], signature=line))
    assert capsys.readouterr().out.splitlines()[-1] == f"Signature, shared by all scores: {line}"
