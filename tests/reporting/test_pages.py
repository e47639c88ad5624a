"""One description, three forms: CSV, Markdown and LaTeX say the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.reporting.latex import latex_text
from gluelamp.reporting.markdown import literal
from gluelamp.reporting.pages import Grid, Page, page_files
from gluelamp.reporting.site.sheets import inline

DATA = pd.DataFrame({"method": ["lo_ra", "pa&fi"], "score": [0.5, 1 / 3], "seeds": [1, 3]})
CELLS = pd.DataFrame({"method": ["lo_ra", "pa&fi"], "score %": ["**50.0** [−1.0, 99]", "33.3ᵐᶠ"]})
PAGE = Page(
    "some_scores", "Some scores", ["How to read *them*."], DATA, [Grid("few", CELLS, notes=["ᵐ MNLI"])]
)


def files(page: Page) -> dict[str, str]:
    return {path.name: text for path, text in page_files(Path("tables"), page).items()}


def test_the_csv_has_numbers_with_six_digits() -> None:
    assert files(PAGE)["some_scores.csv"] == "method,score,seeds\nlo_ra,0.500000,1\npa&fi,0.333333,3\n"


def test_the_markdown_has_title_reading_tables_and_notes() -> None:
    assert files(PAGE)["some_scores.md"].splitlines() == [
        *("# Some scores", "", "How to read *them*.", "", "## few", ""),
        "| method | score % |",
        "| :-- | --: |",
        "| lo_ra | **50.0** [−1.0, 99] |",
        "| pa&fi | 33.3ᵐᶠ |",
        *("", "- ᵐ MNLI"),
    ]


def test_the_latex_is_a_float_with_booktabs_rules() -> None:
    lines = files(PAGE)["some_scores.tex"].splitlines()
    assert lines[0] == r"% Some scores. Needs \usepackage{booktabs,longtable}."
    assert r"\begin{table*}[t]" in lines
    assert r"\caption{Some scores: few. \textsuperscript{m} MNLI}" in lines
    assert r"\label{tab:some_scores}" in lines
    body = lines[lines.index(r"\begin{tabular}{lr}") : lines.index(r"\end{tabular}")]
    assert body[1:] == [
        r"\toprule",
        r"method & score \% \\",
        r"\midrule",
        r"lo\_ra & \textbf{50.0} {[}$-$1.0, 99{]} \\",
        r"pa\&fi & 33.3\textsuperscript{m}\textsuperscript{f} \\",
        r"\bottomrule",
    ]


def test_tables_of_one_page_have_labels_of_their_own() -> None:
    grids = [Grid("one", CELLS), Grid("two", CELLS)]
    text = files(Page("both", "Both", [], DATA, grids))["both.tex"]
    assert re.findall(r"\\label{(.*?)}", text) == ["tab:both-1", "tab:both-2"]


def test_a_long_table_breaks_over_pages_and_sentences_break_over_lines() -> None:
    cells = pd.DataFrame({"method": ["lora"] * 41, "n": ["1"] * 41, "notes": ["some words " * 9] * 41})
    page = Page("long", "Long", [], cells, [Grid("", cells, last_texts=1)])
    text = files(page)["long.tex"]
    assert r"\begin{longtable}{lrp{0.35\textwidth}}" in text
    assert r"\endfirsthead" in text
    assert "table*" not in text


@pytest.mark.parametrize(
    ("text", "latex"),
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
def test_no_character_means_something_to_latex(text: str, latex: str) -> None:
    assert latex_text(text) == latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        (
            "pafi [exclude=embeddings.*|pooler.*]",
            r"pafi {[}exclude=embeddings.*\textbar{}pooler.*{]}",
        ),
        (r"_a_ `b` **c** \*", r"\_a\_ `b` **c** \textbackslash{}*"),
    ],
)
def test_a_literal_text_has_no_markup_for_any_reader(text: str, latex: str) -> None:
    assert latex_text(literal(text)) == latex
    assert inline(literal(text)) == text


def test_names_stay_as_they_are_written() -> None:
    assert literal("xpeft_soft [num_adapters=100]") == "xpeft_soft [num_adapters=100]"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_takes_it(tmp_path: Path) -> None:
    long = pd.concat([CELLS] * 30, ignore_index=True)
    page = Page("some", r"All of \ ~ ^ < > | ± × ² # {}", [], DATA, [Grid("", CELLS), Grid("long", long)])
    (tmp_path / "some.tex").write_text(files(page)["some.tex"], encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,longtable}\begin{document}\input{some}\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
