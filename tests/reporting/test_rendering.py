"""Typed cells and tables: the CSV, Markdown, LaTeX and HTML of one page show the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.reporting.rendering import (
    COUNT,
    DIFFERENCE,
    EMPTY,
    PERCENTAGE,
    POINTS,
    Cell,
    Column,
    Format,
    Number,
    Page,
    Range,
    Symbol,
    Table,
    Text,
    escape,
    numbers,
    page_files,
    texts,
)
from gluelamp.reporting.rendering.html import inline, table_html
from gluelamp.reporting.rendering.latex import latex
from gluelamp.reporting.rendering.markdown import parse
from gluelamp.reporting.rendering.tables import Span, plain

DATA = pd.DataFrame({"method": ["lo_ra", "pa&fi"], "score": [0.5, 1 / 3], "seeds": [1, 3]})
COLUMNS = [*texts("method"), *numbers("score %")]
ROWS = [
    [Text("lo_ra"), Number(0.5, POINTS, low=-0.01, high=0.99, bold=True)],
    [Text("pa&fi"), Number(1 / 3, POINTS, marks="ᵐᶠ")],
]
PAGE = Page("scores", "Scores", ["How to read *them*."], DATA, [Table("few", COLUMNS, ROWS, ["ᵐ `MNLI`"])])


def files(page: Page) -> dict[str, str]:
    return {path.name: text for path, text in page_files(Path("tables"), page).items()}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (EMPTY, ""),
        (Number(nan, POINTS, low=0.1, high=0.2, seeds=3, marks=""), ""),
        (Number(None), ""),
        (Number(nan, POINTS, std=nan, seeds=3, missing="n/a"), "n/a (3)"),
        (Number(1234567), "1,234,567"),
        (Number(0.528, POINTS, low=-0.0001, high=0.634), "52.8 [0.0, 63.4]"),
        (Number(0.2223, Format(2, 100), std=0.0189, seeds=3), "22.23 ± 1.89 (3)"),
        (Number(-0.038, DIFFERENCE, low=-0.065, high=0.011, verdict="tie"), "−3.8 [−6.5, +1.1] tie"),
        (
            Number(0.038, DIFFERENCE, verdict="better", comment="RTE only"),
            "+3.8 better (RTE only)",
        ),
        (Number(0.0346816, PERCENTAGE), "0.0347"),
        (Number(100.0, PERCENTAGE), "100"),
        (Number(0, PERCENTAGE), "0"),
        (Number(11342.77, Format(1)), "11,342.8"),
        (Number(0.676, Format(2, sign=True, suffix=" %")), "+0.68 %"),
        (Range(1540, 3080), "1,540 to 3,080"),
        (Range(1540, 1540.2, COUNT), "1,540"),
        (Range(0.121, 0.2, POINTS, is_interval=True), "[12.1, 20.0]"),
        (Range(nan, nan, POINTS, is_interval=True), ""),
        (Text("0.9M", marks="ʰ"), "0.9Mʰ"),
    ],
)
def test_a_cell_prints_its_values(cell: Cell, text: str) -> None:
    assert plain(cell) == text


def test_only_a_significant_verdict_is_bold() -> None:
    better, tie = (Number(0.1, DIFFERENCE, verdict=verdict) for verdict in ("better", "tie"))
    assert better.spans() == [Span("+10.0 "), Span("better", "bold")]
    assert [span.style for span in tie.spans()] == ["", ""]


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="a row of table 'few' has 1 cells, not 2"):
        Table("few", COLUMNS, [[EMPTY]])


def test_the_csv_has_numbers_with_six_digits() -> None:
    assert files(PAGE)["scores.csv"] == "method,score,seeds\nlo_ra,0.500000,1\npa&fi,0.333333,3\n"


def test_the_markdown_has_title_reading_tables_and_notes() -> None:
    assert files(PAGE)["scores.md"].splitlines() == [
        *("# Scores", "", "How to read *them*.", "", "## few", ""),
        "| method | score % |",
        "| :-- | --: |",
        "| lo_ra | **50.0 [−1.0, 99.0]** |",
        "| pa&fi | 33.3ᵐᶠ |",
        *("", "- ᵐ `MNLI`"),
    ]


def test_the_latex_is_a_float_with_booktabs_rules() -> None:
    lines = files(PAGE)["scores.tex"].splitlines()
    assert lines[0] == r"% Scores. Needs \usepackage{booktabs,longtable}."
    assert r"\begin{table*}[t]" in lines
    assert r"\caption{Scores: few. \textsuperscript{m} \texttt{MNLI}}" in lines
    assert r"\label{tab:scores}" in lines
    body = lines[lines.index(r"\begin{tabular}{lr}") : lines.index(r"\end{tabular}")]
    assert body[1:] == [
        r"\toprule",
        r"method & score \% \\",
        r"\midrule",
        r"lo\_ra & \textbf{50.0 {[}$-$1.0, 99.0{]}} \\",
        r"pa\&fi & 33.3\textsuperscript{m}\textsuperscript{f} \\",
        r"\bottomrule",
    ]


def test_long_tables_break_over_pages_long_texts_over_lines_and_labels_differ() -> None:
    rows = [[Text("lora"), Number(1), Text("some words " * 9)]] * 41
    long = Table("long", [*texts("method"), *numbers("n"), *texts("notes")], rows)
    text = files(Page("both", "Both", [], DATA, [PAGE.tables[0], long]))["both.tex"]
    assert re.findall(r"\\label{(.*?)}", text) == ["tab:both-1", "tab:both-2"]
    assert r"\begin{longtable}{lrp{0.35\textwidth}}" in text
    assert r"\endfirsthead" in text


def test_the_html_sorts_by_values_and_completes_rows_that_continue_the_one_above() -> None:
    symbol = Symbol("sparse masks", "#0072b2", "●")
    rows = [[Text("pafi", symbol=symbol), Number(0.5, POINTS, opens="cell-1")], [EMPTY, EMPTY]]
    html = str(table_html(Table("few", COLUMNS, rows, ["*note* <"])))
    assert html.count('<th scope="row" data-search="pafi sparse masks">') == 2
    assert '<button class="cell" data-opens="cell-1">50.0</button>' in html
    assert re.findall('data-order="(.*?)"', html) == ["0.5", ""]
    assert '<p class="note"><em>note</em> &lt;</p>' in html


@pytest.mark.parametrize(
    ("prose", "expected"),
    [
        ("a_b & 5 % of $3 #1 {x}", r"a\_b \& 5 \% of \$3 \#1 \{x\}"),
        (
            r"\ ~ ^ < > |",
            r"\textbackslash{} \textasciitilde{} \textasciicircum{} \textless{} \textgreater{} \textbar{}",
        ),
        ("1 ± 2 × 3 r²", r"1 $\pm$ 2 $\times$ 3 r\textsuperscript{2}"),
        ("**best** and *ties* of `head_only`", r"\textbf{best} and \emph{ties} of \texttt{head\_only}"),
        ("one\n  line", "one line"),
        (r"**a\*b** \`c\_ d\\", r"\textbf{a*b} `c\_ d\textbackslash{}"),
    ],
)
def test_no_character_of_a_text_is_a_command_of_latex(prose: str, expected: str) -> None:
    assert latex(parse(prose)) == expected


@pytest.mark.parametrize("text", ["pafi [exclude=embeddings.*|pooler.*]", r"_a_ `b` **c** \* <i>"])
def test_an_escaped_text_is_shown_unchanged(text: str) -> None:
    assert "".join(span.text for span in parse(escape(text))) == text
    assert {span.style for span in parse(escape(text))} == {""}
    assert inline(escape(text)).unescape() == text


def test_a_text_in_a_cell_is_no_markup() -> None:
    label = "pafi [exclude=embeddings.*|pooler.*]"
    page = Page("a", "A", [], DATA, [Table("", [Column("method")], [[Text(label)], [Text("x_[n=1]")]])])
    assert r"| pafi [exclude=embeddings.\*\|pooler.\*] |" in files(page)["a.md"]
    assert r"| x\_[n=1] |" in files(page)["a.md"]
    assert r"pafi {[}exclude=embeddings.*\textbar{}pooler.*{]} \\" in files(page)["a.tex"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_compiles_the_page(tmp_path: Path) -> None:
    long = Table("long", COLUMNS, ROWS * 30)
    page = Page("some", r"All of \ ~ ^ < > | ± × ² # {}", [], DATA, [PAGE.tables[0], long])
    (tmp_path / "some.tex").write_text(files(page)["some.tex"], encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}\input{some}\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
