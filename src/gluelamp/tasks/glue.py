"""The GLUE benchmark (Wang et al., ICLR 2019, arXiv 1804.07461): nine tasks and the diagnostic set."""

from __future__ import annotations

from gluelamp.errors import unknown
from gluelamp.tasks.task import Task

# The class names are in the order of the hub's class ids. The order differs between tasks: entailment is 0 in
# RTE, QNLI and MNLI, and 1 in WNLI. The numbers of rows are those of the hub.
_TASKS = (
    Task(
        name="cola",
        benchmark="glue",
        text_columns=("sentence",),
        labels=("unacceptable", "acceptable"),
        metrics=("matthews_correlation",),
        main_metric="matthews_correlation",
        rows={"train": 8551, "validation": 1043, "test": 1063},
        submission={"test": "CoLA"},
        licence="no licence stated; published sentences, https://nyu-mll.github.io/CoLA/",
        citation="Warstadt, Singh, Bowman: Neural Network Acceptability Judgments, TACL 2019",
    ),
    Task(
        name="sst2",
        benchmark="glue",
        text_columns=("sentence",),
        labels=("negative", "positive"),
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 67349, "validation": 872, "test": 1821},
        submission={"test": "SST-2"},
        licence="no licence stated; https://nlp.stanford.edu/sentiment/",
        citation="Socher et al.: Recursive Deep Models for Semantic Compositionality, EMNLP 2013",
    ),
    Task(
        name="mrpc",
        benchmark="glue",
        text_columns=("sentence1", "sentence2"),
        labels=("not_equivalent", "equivalent"),
        # GLUE reports both metrics. Accuracy selects the epoch.
        metrics=("accuracy", "f1"),
        main_metric="accuracy",
        rows={"train": 3668, "validation": 408, "test": 1725},
        submission={"test": "MRPC"},
        licence="Microsoft Research data licence",
        citation="Dolan, Brockett: Automatically Constructing a Corpus of Sentential Paraphrases, IWP 2005",
    ),
    Task(
        name="qqp",
        benchmark="glue",
        text_columns=("question1", "question2"),
        labels=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        main_metric="accuracy",
        rows={"train": 363846, "validation": 40430, "test": 390965},
        submission={"test": "QQP"},
        licence="Quora terms of service, non-commercial",
        citation="Iyer, Dandekar, Csernai: First Quora Dataset Release: Question Pairs, 2017",
    ),
    Task(
        name="stsb",
        benchmark="glue",
        text_columns=("sentence1", "sentence2"),
        labels=(),
        metrics=("pearson", "spearman"),
        main_metric="pearson",
        rows={"train": 5749, "validation": 1500, "test": 1379},
        submission={"test": "STS-B"},
        licence="see http://ixa2.si.ehu.eus/stswiki",
        citation="Cer et al.: SemEval-2017 Task 1: Semantic Textual Similarity, SemEval 2017",
        label_range=(0.0, 5.0),
    ),
    Task(
        name="mnli",
        benchmark="glue",
        text_columns=("premise", "hypothesis"),
        labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={
            "train": 392702,
            "validation_matched": 9815,
            "validation_mismatched": 9832,
            "test_matched": 9796,
            "test_mismatched": 9847,
        },
        submission={"test_matched": "MNLI-m", "test_mismatched": "MNLI-mm"},
        licence="OANC and others, https://cims.nyu.edu/~sbowman/multinli/",
        citation="Williams, Nangia, Bowman: A Broad-Coverage Challenge Corpus, NAACL 2018",
        # Matched rows are from the domains of the training rows, mismatched rows from others.
        validation_splits=("validation_matched", "validation_mismatched"),
        test_splits=("test_matched", "test_mismatched"),
    ),
    Task(
        name="qnli",
        benchmark="glue",
        text_columns=("question", "sentence"),
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 104743, "validation": 5463, "test": 5463},
        submission={"test": "QNLI"},
        licence="CC BY-SA 4.0 (SQuAD)",
        citation="Rajpurkar et al.: SQuAD, EMNLP 2016; converted by Wang et al., ICLR 2019",
    ),
    Task(
        name="rte",
        benchmark="glue",
        text_columns=("sentence1", "sentence2"),
        labels=("entailment", "not_entailment"),
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 2490, "validation": 277, "test": 3000},
        submission={"test": "RTE"},
        licence="no licence stated; PASCAL and TAC challenge data",
        citation="Dagan et al. 2006; Bar Haim et al. 2006; Giampiccolo et al. 2007; Bentivogli et al. 2009",
    ),
    Task(
        name="wnli",
        benchmark="glue",
        text_columns=("sentence1", "sentence2"),
        labels=("not_entailment", "entailment"),
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 635, "validation": 71, "test": 146},
        submission={"test": "WNLI"},
        licence="CC BY 4.0 (Winograd Schema Challenge)",
        citation="Levesque, Davis, Morgenstern: The Winograd Schema Challenge, KR 2012",
    ),
    Task(
        # No training rows: a model trained on MNLI predicts this set.
        name="ax",
        benchmark="glue",
        text_columns=("premise", "hypothesis"),
        labels=("entailment", "neutral", "contradiction"),
        metrics=("matthews_correlation",),
        main_metric="matthews_correlation",
        rows={"test": 1104},
        submission={"test": "AX"},
        licence="see https://gluebenchmark.com/diagnostics",
        citation="Wang et al.: GLUE, ICLR 2019 (the diagnostic set; predicted with an MNLI model)",
        validation_splits=(),
    ),
)

GLUE = {task.name: task for task in _TASKS}


def glue_task(name: str) -> Task:
    """Return the declaration of one GLUE task.

    Args:
        name: the short name of the task, such as ``"cola"``.

    Raises:
        InputError: if no such task exists; the message names the nearest one.
    """
    if name not in GLUE:
        raise unknown("task", name, GLUE)
    return GLUE[name]
