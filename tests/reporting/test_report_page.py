"""The page: the same bytes from the same records, complete in one file, with the content of the records."""

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

from gluelamp.errors import InputError
from gluelamp.package_data import REFERENCE
from gluelamp.records import Measurement
from gluelamp.reporting.measurements import measurement_rows
from gluelamp.reporting.results import Results
from gluelamp.reporting.site import write_report
from gluelamp.reporting.site.page import gather, render
from gluelamp.reporting.site.panels import latency_panels
from synthetic_results import SCORES, write_latency, write_results, write_run

SIZE_LIMIT = 3_000_000


class Page(HTMLParser):
    """The attributes of a page by name, and its texts by the nearest id above them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.attributes: dict[str, list[str]] = defaultdict(list)
        self.texts: dict[str, str] = defaultdict(str)
        self.code: list[dict[str, str | None]] = []
        self._place = ""
        self.feed(source)

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
        """The specifications of all charts."""
        return dict(json.loads(self.texts["charts"]))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The data of a chart of scores."""
        return list(self.charts[name]["data"]["values"])

    def dialog(self, title: str) -> str:
        """The text of the dialog with a title."""
        names = [name for name in self.attributes["id"] if name.startswith("runs-")]
        texts = re.split(r"\s(?=\S+ on \S+\n)", "".join(self.texts[name] for name in (*names, "opened")))
        return next(text for text in texts if text.startswith(title))


def rendered(root: Path) -> Page:
    """The page of a results folder, without writing it or its figures."""
    return Page(render(gather(Results(root, root / "published"))))


def changed(root: Path, pattern: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change one record of a results folder."""
    path = next(root.glob(f"runs/minilm/{pattern}/*/record.json"))
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with runs of four methods."""
    root = tmp_path_factory.mktemp("results")
    write_results(root, methods=4, seeds=2)
    return root


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return rendered(results)


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    write_latency(tmp_path, "pafi")  # one figure
    first = {path: path.read_bytes() for path in write_report(Results(tmp_path, tmp_path / "published"))}
    assert {path.suffix for path in first} == {".html", ".svg", ".png", ".pdf"}
    shutil.rmtree(tmp_path / "figures")
    again = write_report(Results(tmp_path, tmp_path / "published"))
    assert {path: path.read_bytes() for path in again} == first
    write_run(tmp_path, "pafi", "cola", 0)
    assert rendered(tmp_path).source == rendered(tmp_path).source


def test_the_head_states_whose_numbers_these_are_and_of_what(page: Page) -> None:
    title = "GLUE with minilm (22.6 M parameters): your runs"
    assert f"<title>{title}</title>" in page.source
    for text in ("Your runs", "local, sample", "cross-fitted (2-fold) epoch selection", "commit 0000000"):
        assert text in page.source[: page.source.index("</dl>")], text
    complete = 4 * 4 * 2 + 2  # methods, tasks and seeds; and two runs on the sample
    assert f"<dt>Runs</dt><dd>{complete}</dd>" in page.source


def test_the_committed_page_is_called_that_of_the_project() -> None:
    source = (REFERENCE / "report.html").read_text(encoding="utf-8")
    assert "<h1>gluelamp <span>Committed results of the gluelamp project</span></h1>" in source


def test_the_page_is_one_small_file(page: Page) -> None:
    assert len(page.source.encode()) < SIZE_LIMIT
    links = page.attributes["src"] + page.attributes["href"]
    assert [link for link in links if not link.startswith(("#", "data:", "runs/"))] == []
    assert not re.search(r"@import|url\(", page.source[: page.source.index("</style>")])


def test_each_source_of_data_has_its_own_section(page: Page) -> None:
    assert {"local-minilm-two-layer", "sample-minilm-two-layer"} <= set(page.attributes["id"])
    names = [name for name in page.charts if name.startswith("local-minilm-two-layer-stored-bytes")]
    assert [len(page.rows(name)) for name in names] == [4] * len(SCORES)
    assert "The bundled sample is synthetic" in page.source
    assert "The loss is not finite at step 17." in page.source


def test_every_button_has_its_dialog_and_links_lead_to_records(results: Path, page: Page) -> None:
    assert set(page.attributes["data-opens"]) == {
        name for name in page.attributes["id"] if re.fullmatch(r"runs-\d+", name)
    }
    records = [link for link in page.attributes["href"] if link.startswith("runs/")]
    assert len(records) == len(list(results.glob("runs/*/*/*/*/predictions.parquet")))
    assert all((results / link).is_file() for link in records)


def test_a_dialog_has_settings_versions_seeds_the_signature_and_the_command(page: Page) -> None:
    dialog = page.dialog("layer_norm on MRPC")
    for text in ("torch: 2.13.0", "name: layer_norm", "learning_rate: 0.003", "fingerprint: mrpc-local"):
        assert text in dialog
    assert "gluelamp train -m backbone=minilm method=layer_norm task=mrpc data=local seed=0,1" in dialog
    assert "data/glue" in dialog  # where the rows are read from, if no folder is named
    assert "task:mrpc|metric:accuracy|backbone:minilm" in dialog
    assert "|selection:held_out|epochs:5|learning_rate:0.003|head_learning_rate:0.005|seeds:0,1|" in dialog


def test_the_front_holds_the_methods_that_none_dominates(page: Page) -> None:
    for name in page.charts:
        if "stored-bytes" in name:
            rows = page.rows(name)
            front = {row["method"] for row in rows if row["front"]}
            highest = -1.0
            for row in sorted(rows, key=lambda row: (row["stored_bytes"], -row["score"])):
                assert (row["method"] in front) == (row["score"] > highest)
                highest = max(highest, row["score"])


def test_the_average_is_that_of_the_main_table(results: Path, page: Page) -> None:
    main = Results(results, results / "published").main
    averages = main[(main["task"] == "average") & (main["data"] == "local") & (main["head"] == "two_layer")]
    shown = {row["method"]: row for row in page.rows("local-minilm-two-layer-average-1")}
    assert set(shown) == set(averages["method"])
    for row in averages.to_dict("records"):
        for ours, theirs in (("score", "mean"), ("low", "low"), ("high", "high")):
            assert shown[row["method"]][ours] == pytest.approx(100 * row[theirs], abs=0.006)


def test_charts_have_descriptions_and_code_scrolls_by_keyboard(page: Page) -> None:
    descriptions = [chart["description"] for chart in page.charts.values()]
    assert "Score against bytes stored for the task: CoLA" in descriptions
    assert page.code
    assert {attributes["tabindex"] for attributes in page.code} == {"0"}


def test_learning_curves_are_means_over_seeds(results: Path, page: Page) -> None:
    records = [json.loads(path.read_text()) for path in results.glob("runs/minilm/full/cola/*/record.json")]
    local = [record for record in records if record["data"]["source"] == "local"]
    third = [record["history"][2]["matthews_correlation"] for record in local]
    (row,) = (
        row
        for row in page.rows("local-minilm-two-layer-learning-curves-1")
        if (row["method"], row["epoch"]) == ("full", 3)
    )
    assert row["score"] == pytest.approx(100 * sum(third) / 2, abs=0.006)
    assert row["seeds"] == 2


def test_families_have_one_colour_and_a_setting_of_one_task_is_named_on_all_tasks(tmp_path: Path) -> None:
    for method, task in (("full", "rte"), ("pafi", "cola"), ("pafi", "rte")):
        write_run(tmp_path, method, task, 0)
    changed(tmp_path, "pafi/rte", lambda record: record["config"]["trainer"].update(learning_rate=0.1))
    page = rendered(tmp_path)
    rates = {"CoLA": "0.003", "RTE": "0.1"}
    assert all(
        f"pafi [trainer.learning_rate={rate}] on {task}" in page.source for task, rate in rates.items()
    )
    methods = {name: {row["method"] for row in page.rows(name)} for name in page.charts}
    # One setting of a method is shown: of two on one task each, the first.
    assert [methods[f"local-minilm-two-layer-stored-bytes-{number}"] for number in (1, 2)] == [
        {"pafi"},
        {"full"},
    ]
    layers = [
        layer for chart in page.charts.values() for layer in chart["layer"] if "color" in layer["encoding"]
    ]
    scales = {json.dumps(layer["encoding"]["color"]["scale"]) for layer in layers}
    assert scales == {
        '{"domain": ["full model, or head alone", "sparse masks"], "range": ["#808080", "#0072b2"]}'
    }


def test_methods_have_one_selection_and_without_predictions_a_score_has_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path, "pafi", "cola", 0)
    write_run(tmp_path, "fish", "cola", 0)
    changed(tmp_path, "fish/cola", lambda record: record["metrics"].pop("held_out"))
    next(tmp_path.rglob("pafi/**/predictions.parquet")).unlink()
    page = rendered(tmp_path)
    assert "<strong>best epoch</strong>" in page.source
    rows = {row["method"]: row for row in page.rows("local-minilm-two-layer-stored-bytes-1")}
    assert (rows["pafi"]["low"], rows["pafi"]["high"], rows["pafi"]["interval"]) == (None, None, "unknown")
    assert rows["fish"]["low"] is not None
    # bold type among only some of the methods would be misleading
    overview = page.source[page.source.index("All tasks") : page.source.index("</table>")]
    assert "<strong>" not in overview


def test_one_record_is_enough_for_a_page(tmp_path: Path) -> None:
    write_run(tmp_path, "pafi", "cola", 0, error="broken")
    assert "broken" in rendered(tmp_path).source


def test_without_records_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No records below"):
        write_report(Results(tmp_path, tmp_path / "published"))
    assert list(tmp_path.iterdir()) == []


def test_times_of_two_machines_are_in_different_charts() -> None:
    row = {"state": "merged", "device": "cpu", "dtype": "float32", "threads": 2, "batch": 8, "length": 128}
    row |= {"median_ms": 5.0, "ratio_to_base": 1.0, "ratio_low": 0.9, "ratio_high": 1.1}
    timed = [row | {"processor": name} for name in ("A/B(R) CPU @ 2.20GHz", "C")]
    panels = list(latency_panels(measurement_rows([Measurement(1, "latency", "minilm", "pafi", {}, timed)])))
    assert [(one.name, one.title, len(one.charts)) for one in panels] == [
        (
            "minilm-cpu-A-B-R-CPU-2-20GHz-float32-2-threads",
            "minilm, cpu, A/B(R) CPU @ 2.20GHz, float32, 2 threads",
            1,
        ),
        ("minilm-cpu-C-float32-2-threads", "minilm, cpu, C, float32, 2 threads", 1),
    ]


def test_superglue_has_a_section_of_its_own(tmp_path: Path, add_run: Callable[..., object]) -> None:
    for task in ("rte", "cb", "copa"):
        add_run("pafi", task, 30)
    found = gather(Results(tmp_path, tmp_path / "published")).sections
    assert [(section.slug, section.scope, list(section.tasks)) for section in found] == [
        ("local-minilm_l6-linear", "local data", ["RTE"]),
        ("local-minilm_l6-linear-superglue", "local data, SuperGLUE", ["CB", "COPA"]),
    ]
    assert [len(section.task_tables) for section in found] == [1, 2]
