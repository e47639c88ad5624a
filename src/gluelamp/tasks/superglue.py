"""The SuperGLUE benchmark (Wang et al., NeurIPS 2019, arXiv 1905.00537): seven tasks and two diagnostic sets.

Every task is the classification of a text or of a pair of texts, so that all methods and architectures run
on it; `gluelamp.tasks.superglue_source` makes such rows from the benchmark's. ReCoRD is left out: as a
classification of pairs it has a row for each entity of a passage, 1.2 million rows in training, and most
passages are longer than the texts that the suite encodes.
"""

from __future__ import annotations

from gluelamp.tasks.task import Task

_ENTAILMENT = ("entailment", "not_entailment")
_BOOLEAN = ("False", "True")

# The class names are in the order of the class ids of the hub's data set, aps/super_glue. The numbers of rows
# are those of its card; in COPA, a row for each of the two choices of a question.
_TASKS = (
    Task(
        name="boolq",
        benchmark="superglue",
        # The passage is the longer text, so a pair that is too long loses the end of its passage.
        text_columns=("question", "passage"),
        labels=_BOOLEAN,
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 9427, "validation": 3270, "test": 3245},
        submission={"test": "BoolQ"},
        licence="CC BY-SA 3.0",
        citation="Clark et al.: BoolQ, NAACL 2019",
    ),
    Task(
        name="cb",
        benchmark="superglue",
        text_columns=("premise", "hypothesis"),
        labels=("entailment", "contradiction", "neutral"),
        # SuperGLUE reports both metrics. Accuracy selects the epoch.
        metrics=("accuracy", "macro_f1"),
        main_metric="accuracy",
        rows={"train": 250, "validation": 56, "test": 250},
        submission={"test": "CB"},
        licence="see https://github.com/mcdm/CommitmentBank",
        citation="de Marneffe, Simons, Tonhauser: The CommitmentBank, Sinn und Bedeutung 23, 2019",
    ),
    Task(
        name="copa",
        benchmark="superglue",
        # A row for each choice: the premise with the question, and the choice.
        text_columns=("premise", "choice"),
        labels=_BOOLEAN,
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 800, "validation": 200, "test": 1000},
        submission={"test": "COPA"},
        licence="BSD 2-clause",
        citation="Roemmele, Bejan, Gordon: Choice of Plausible Alternatives, AAAI Spring Symposium 2011",
        group_column="group",
        one_true_per_group=True,
    ),
    Task(
        name="multirc",
        benchmark="superglue",
        # A row for each answer: the paragraph, and the question with the answer.
        text_columns=("paragraph", "answer"),
        labels=_BOOLEAN,
        metrics=("f1", "exact_match"),
        main_metric="f1",
        rows={"train": 27243, "validation": 4848, "test": 9693},
        submission={"test": "MultiRC"},
        licence="see https://cogcomp.seas.upenn.edu/multirc/",
        citation="Khashabi et al.: Looking Beyond the Surface, NAACL 2018",
        group_column="group",
    ),
    Task(
        # The rows are those of GLUE's RTE, under SuperGLUE's names.
        name="super_rte",
        benchmark="superglue",
        text_columns=("premise", "hypothesis"),
        labels=_ENTAILMENT,
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 2490, "validation": 277, "test": 3000},
        submission={"test": "RTE"},
        licence="no licence stated; PASCAL and TAC challenge data",
        citation="Dagan et al. 2006; Bar Haim et al. 2006; Giampiccolo et al. 2007; Bentivogli et al. 2009",
    ),
    Task(
        name="wic",
        benchmark="superglue",
        text_columns=("sentence1", "sentence2"),  # with *asterisks* around the word
        labels=_BOOLEAN,
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 5428, "validation": 638, "test": 1400},
        submission={"test": "WiC"},
        licence="CC BY-NC 4.0",
        citation="Pilehvar, Camacho-Collados: WiC: the Word-in-Context Dataset, NAACL 2019",
    ),
    Task(
        name="wsc",
        benchmark="superglue",
        text_columns=("text",),  # with *asterisks* around the noun phrase and #hashes# around the pronoun
        labels=_BOOLEAN,
        metrics=("accuracy",),
        main_metric="accuracy",
        rows={"train": 554, "validation": 104, "test": 146},
        submission={"test": "WSC"},
        licence="CC BY 4.0 (Winograd Schema Challenge)",
        citation="Levesque, Davis, Morgenstern: The Winograd Schema Challenge, KR 2012",
    ),
    # The two diagnostic sets are scored with a model that was trained on RTE. So their training rows are
    # those of `super_rte`, and their validation rows are the diagnostic rows, whose labels are public.
    Task(
        name="axb",
        benchmark="superglue",
        text_columns=("premise", "hypothesis"),
        labels=_ENTAILMENT,
        metrics=("matthews_correlation",),
        main_metric="matthews_correlation",
        rows={"train": 2490, "validation": 1104},
        test_splits=(),
        submission={"validation": "AX-b"},
        licence="see https://super.gluebenchmark.com/diagnostics",
        citation="Wang et al.: SuperGLUE, NeurIPS 2019 (broad-coverage diagnostics; trained on RTE)",
    ),
    Task(
        name="axg",
        benchmark="superglue",
        text_columns=("premise", "hypothesis"),
        labels=_ENTAILMENT,
        metrics=("accuracy", "gender_parity"),
        main_metric="accuracy",
        rows={"train": 2490, "validation": 356},
        test_splits=(),
        submission={"validation": "AX-g"},
        licence="see https://super.gluebenchmark.com/diagnostics",
        citation="Rudinger et al.: Gender Bias in Coreference Resolution, NAACL 2018 (trained on RTE)",
        group_column="group",  # the two rows that differ in the gender of a pronoun
    ),
)

SUPERGLUE = {task.name: task for task in _TASKS}
