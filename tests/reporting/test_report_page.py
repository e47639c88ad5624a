"""The page: the same bytes from the same records, whole in one file, and true to the records."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gluelamp.cli.app import CONFIGS
from gluelamp.errors import InputError
from gluelamp.reporting.site import write_report
from synthetic_results import METHODS, SCORES, write_latency, write_results, write_run

SIZE_LIMIT = 3_000_000


class Page(HTMLParser):
    """What a page is made of: attributes by name, texts by the nearest identity above them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.attributes: dict[str, list[str]] = defaultdict(list)
        self.texts: dict[str, str] = defaultdict(str)
        self.code: list[dict[str, str | None]] = []
        self._place = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            self.attributes[name].append(value or "")
        self._place = dict(attrs).get("id") or self._place
        if tag == "pre":
            self.code.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts[self._place] += data

    @property
    def charts(self) -> dict[str, Any]:
        """The rows of each chart of scores."""
        found = json.loads(self.texts["charts"])
        return {name: spec["data"]["values"] for name, spec in found.items() if "latency" not in name}

    def opened_by(self, title: str) -> str:
        """The text of the dialog with a title."""
        names = [name for name in self.attributes["id"] if name.startswith("cell-")]
        found = re.split(r"\s(?=\S+ on \S+\n)", "".join(self.texts[name] for name in (*names, "opened")))
        return next(text for text in found if text.startswith(title))


def report(root: Path) -> list[Path]:
    return write_report(root, root / "published", CONFIGS)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with its report."""
    root = tmp_path_factory.mktemp("results")
    write_results(root, methods=4, seeds=2)
    report(root)
    return root


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return Page(results / "report.html")


def test_the_same_records_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "figures")
    written = report(tmp_path / "again")
    assert {path.suffix for path in written} == {".html", ".svg", ".png", ".pdf"}
    for path in written:
        assert path.read_bytes() == (results / path.relative_to(tmp_path / "again")).read_bytes(), path.name


def test_the_page_is_one_small_file(results: Path, page: Page) -> None:
    assert (results / "report.html").stat().st_size < SIZE_LIMIT
    links = page.attributes["src"] + page.attributes["href"]
    assert [link for link in links if not link.startswith(("#", "data:", "runs/"))] == []
    assert not re.search(r"@import|url\(", page.source[: page.source.index("</style>")])


def test_sources_of_data_have_sections_of_their_own(page: Page) -> None:
    assert {"local-minilm", "sample-minilm"} <= set(page.attributes["id"])
    local = [rows for name, rows in page.charts.items() if name.startswith("local-minilm-stored-bytes")]
    assert [len(rows) for rows in local] == [4] * len(SCORES)
    assert "it is no evidence on GLUE" in page.source


def test_whatever_opens_is_there_and_links_lead_to_records(results: Path, page: Page) -> None:
    assert set(page.attributes["data-opens"]) == {
        name for name in page.attributes["id"] if name.startswith("cell-")
    }
    records = [link for link in page.attributes["href"] if link.startswith("runs/")]
    assert len(records) == len(list(results.glob("runs/*/*/*/*/predictions.parquet")))
    assert all((results / link).is_file() for link in records)


def test_a_cell_tells_settings_versions_seeds_and_the_command(page: Page) -> None:
    told = page.opened_by("layer_norm on MRPC")
    for text in ("torch: 2.13.0", "name: layer_norm", "learning_rate: 0.003", "fingerprint: mrpc-local"):
        assert text in told
    assert "python scripts/train.py -m backbone=minilm method=layer_norm task=mrpc data=local" in told
    assert "seed=0,1" in told


def test_the_front_holds_who_is_beaten_by_nobody(page: Page) -> None:
    for name, rows in page.charts.items():
        if "stored-bytes" in name:
            front = {row["method"] for row in rows if row["front"]}
            best_so_far = -1.0
            for row in sorted(rows, key=lambda row: (row["stored_bytes"], -row["score"])):
                assert (row["method"] in front) == (row["score"] > best_so_far)
                best_so_far = max(best_so_far, row["score"])


def test_charts_say_what_they_show_and_code_scrolls_by_keyboard(page: Page) -> None:
    charts = json.loads(page.texts["charts"])
    described = [spec["description"] for spec in charts.values()]
    assert "Score against bytes stored for the task: CoLA" in described
    assert page.code
    assert {attributes["tabindex"] for attributes in page.code} == {"0"}


def test_a_family_has_the_same_colour_on_every_task(tmp_path: Path) -> None:
    write_run(tmp_path, "full", "cola", 0)
    write_run(tmp_path, "pafi", "rte", 0)
    report(tmp_path)
    charts = json.loads(Page(tmp_path / "report.html").texts["charts"])
    layers = [layer for chart in charts.values() for layer in chart["layer"] if "color" in layer["encoding"]]
    scales = {json.dumps(layer["encoding"]["color"]["scale"]) for layer in layers}
    assert scales == {
        '{"domain": ["whole model, or head alone", "sparse masks"], "range": ["#808080", "#0072b2"]}'
    }


def test_curves_are_means_over_the_seeds(results: Path, page: Page) -> None:
    records = [json.loads(path.read_text()) for path in results.glob("runs/minilm/full/cola/*/record.json")]
    found = [record for record in records if record["data"]["source"] == "local"]
    third = [record["history"][2]["matthews_correlation"] for record in found]
    (row,) = (
        row
        for row in page.charts["local-minilm-learning-curves-1"]
        if (row["method"], row["epoch"]) == ("full", 3)
    )
    assert row["score"] == pytest.approx(100 * sum(third) / 2, abs=0.006)
    assert row["seeds"] == 2


def test_failed_runs_are_told_of(page: Page) -> None:
    assert "The loss is not finite at step 17." in page.source


def test_no_method_is_placed_without_a_score_of_the_same_protocol(tmp_path: Path) -> None:
    write_run(tmp_path, "pafi", "cola", 0)
    write_run(tmp_path, "lora", "cola", 0)
    path = next(tmp_path.glob("runs/minilm/lora/*/*/record.json"))
    record = json.loads(path.read_text())
    del record["metrics"]["held_out"]
    path.write_text(json.dumps(record))
    report(tmp_path)
    page = Page(tmp_path / "report.html")
    assert "<strong>best epoch</strong>" in page.source
    assert len(page.charts["local-minilm-stored-bytes-1"]) == 2


def test_a_setting_of_one_task_is_named_on_all_of_them(tmp_path: Path) -> None:
    for task in ("cola", "rte"):
        write_run(tmp_path, "pafi", task, 0)
    path = next(tmp_path.glob("runs/minilm/pafi/rte/*/record.json"))
    record = json.loads(path.read_text())
    record["config"]["trainer"]["learning_rate"] = 0.1
    path.write_text(json.dumps(record))
    report(tmp_path)
    page = Page(tmp_path / "report.html")
    rates = {"CoLA": "0.003", "RTE": "0.1"}
    assert all(
        f"pafi [trainer.learning_rate={rate}] on {task}" in page.source for task, rate in rates.items()
    )


@pytest.mark.parametrize("write", [
    lambda root: write_run(root, "pafi", "cola", 0),
    lambda root: write_run(root, "pafi", "cola", 0, error="broken"),
    lambda root: write_latency(root, "pafi"),
], ids=["one run", "one failure", "one latency"])  # fmt: skip
def test_little_makes_a_page_too(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    assert report(tmp_path)[0].is_file()


def test_runs_without_predictions_have_scores_without_intervals(tmp_path: Path) -> None:
    write_run(tmp_path, "pafi", "cola", 0)
    for path in tmp_path.rglob("predictions.parquet"):
        path.unlink()
    report(tmp_path)
    (row,) = Page(tmp_path / "report.html").charts["local-minilm-stored-bytes-1"]
    assert (row["low"], row["high"], row["interval"]) == (None, None, "unknown")


def test_without_records_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There are no records in"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_each_method_has_a_family() -> None:
    from gluelamp.reporting.site.families import FAMILIES

    targets = re.findall(r"^ +_target_: \S+\.(\w+)$", _leaves(), re.MULTILINE)
    assert set(targets) == set().union(*(family.kinds for family in FAMILIES))
    assert {kind for kind, *_ in METHODS.values()} <= set(targets)


def _leaves() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (CONFIGS / "method").glob("*.yaml"))
