"""Bad input ends with one sentence, exit code 2 and nothing trained.

The sentences of single options are in tests/experiments/test_config_errors.py; here are those of Hydra, and
those of inputs that are found later.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from end_to_end.conftest import SCRIPTS, Ended
from gluelamp.package_data import REFERENCE
from gluelamp.training.passes import SinglePasses
from tiny_models import tiny

Train = Callable[..., Any]

CASES: dict[str, tuple[str, str]] = {
    "unknown key": (
        "trainer.epoch=3",
        "key 'trainer.epoch' is unknown; did you mean 'trainer.epochs'? Known: ",
    ),
    "key of another method": ("method=pafi method.rank=3", "key 'method.rank' is unknown"),
    "unknown config": ("method=lorra", "method 'lorra' is unknown; did you mean 'lora'? Known: "),
    "no config": ("method=null", "The configuration is not valid: Config group override must be a string"),
    "unknown group": ("metod=lora", "key 'metod' is unknown; did you mean 'method'?"),
    "added key": ("+trainer.momentum=0.9", "trainer key 'momentum' is unknown"),
    "key of an earlier release": (
        "trainer.together=4",
        "trainer.together=4 has another name now. Write trainer.profiles_per_pass=4.",
    ),
    "value of an earlier release": (
        "++task.users=each",
        "task.users=each has another name now. Write task.profiles=per_user.",
    ),
    "experiment that is a sweep": ("experiment=glue_demo", "The experiment is a sweep. Add -m."),
    "no closing bracket": ("trainer.betas=[0.9", "trainer.betas=[0.9 cannot be read. "),
    "unquoted equals sign": (
        "results.root=a=b",
        "results.root=a=b cannot be read. A text with a sign such as = , ~ ( or a quote, or with a letter "
        "such as é, is in quotes: 'results.root=\"a=b\"' A list ends with a bracket: results.root=[A,B].\n",
    ),
    "unquoted accent": ("task.name=café", "task.name=café cannot be read. "),
    "unquoted comma": (
        "tracker.project=a,b",
        "tracker.project=a,b has a comma. Several runs, one for each value, need -m. A list is "
        "tracker.project=[a,b]. A text with a comma is in quotes: 'tracker.project=\"a,b\"'\n",
    ),
    "interpolation of a missing key": (
        "trainer.epochs=${nope}",
        "The configuration is not valid: Interpolation key 'nope' not found",
    ),
    "no equals sign": (
        "epochs",
        "'epochs' is not allowed: an option is KEY=VALUE, as in trainer.epochs=3.\n",
    ),
    "missing device": ("trainer.device=tpu", "device='tpu' is not usable here."),
    "missing data": ("data=local data.root=/nowhere", "/nowhere is no folder with task 'cola'."),
    "missing weights": ("backbone.path=/nowhere", "backbone 'tiny': /nowhere holds no config.json."),
    "more tokens than positions": (
        "method=prompt method.length=100",
        "trainer.max_length=64 is not allowed: backbone 'tiny' takes at most 128 tokens. The method adds 100",
    ),
    "density above the candidates, before a first phase": (
        "method=lt_sft method.density=1.0 method.exclude=embeddings",
        "method.density=1.0 asks for 53,312 of the encoder's 53,312 parameters; the candidates have ",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), CASES.values(), ids=CASES)
def test_bad_input_is_one_sentence_and_code_2(
    train_here: Train, small: tuple[str, ...], tmp_path: Path, words: str, sentence: str
) -> None:
    code, _, err = train_here(*small, f"results.root={tmp_path}", *words.split())
    assert err.startswith(f"error: {sentence}")
    assert (code, err.count("\n")) == (2, 1)
    assert {path.name for path in tmp_path.glob("runs/*/*/*/*/*")} <= {".lock"}


def test_unusable_weights_are_named(
    train_here: Train,
    small: tuple[str, ...],
    tiny_backbone: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "modernbert"
    shutil.copytree(tiny_backbone, other)  # for its tokenizer
    encoder = tiny("modernbert")
    encoder.resize_token_embeddings(127)  # the size of its vocabulary
    encoder.save_pretrained(other)
    broken = shutil.copytree(tiny_backbone, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    for folder, sentence in (
        (other, "The architecture 'modernbert' has no separate 'attention.query', which "),
        (broken, f"{broken} holds no usable encoder (SafetensorError: "),
    ):
        capfd.readouterr()  # the progress bar of saving
        ended = train_here(*small, f"backbone.path={folder}", f"results.root={tmp_path}", "method=lora")
        assert ended.err.startswith(f"error: {sentence}")
        assert (ended.code, ended.err.count("\n")) == (2, 1)


MISFITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "decoder": ("config.json", {"is_decoder": True}, "sets is_decoder to True. "),
    "outputs without names": (
        "config.json",
        {"return_dict": False},
        "sets return_dict to False. ",
    ),
    "token types": (
        "config.json",
        {"type_vocab_size": 1},
        "gives token type 1 to the second text",
    ),
    "layers": (
        "config.json",
        {"num_hidden_layers": 1},
        "has 1 layers and the weights have 2. ",
    ),
    "padding": ("tokenizer_config.json", {"pad_token": None}, ": the tokenizer has no pad_token"),
}


@pytest.mark.parametrize(("file", "options", "sentence"), MISFITS.values(), ids=MISFITS)
def test_files_of_a_model_that_do_not_fit_are_named(
    train_here: Train,
    small: tuple[str, ...],
    tiny_backbone: Path,
    tmp_path: Path,
    file: str,
    options: dict[str, Any],
    sentence: str,
) -> None:
    folder = shutil.copytree(tiny_backbone, tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | options))
    words = (f"backbone.path={folder}", f"results.root={tmp_path}", "task=rte")
    code, _, err = train_here(*small, *words)
    assert err.startswith(f"error: {folder}")
    assert sentence in err
    assert (code, err.count("\n")) == (2, 1)


def test_a_results_folder_that_cannot_be_made_is_named(
    train_here: Train, small: tuple[str, ...], tmp_path: Path
) -> None:
    (file := tmp_path / "file").touch()
    code, _, err = train_here(*small, f"results.root={file}")
    assert err.startswith(f"error: {file}")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("command", ["train", "train -m seed=0,1", "measure", "measure -m", "report"])
def test_no_command_writes_into_the_committed_results(
    run_here: Callable[..., Ended], tiny_backbone: Path, command: str
) -> None:
    root, (script, *words) = REFERENCE / "mine", command.split()
    model = ("backbone=tiny", f"backbone.path={tiny_backbone}") if script != "report" else ()
    code, _, err = run_here(script, *words, *model, f"results.root={root}")
    assert err.startswith(f"error: results.root={root} is not allowed: it holds the committed results")
    assert (code, err.count("\n")) == (2, 1)
    assert not root.exists()


def test_a_mandatory_value_is_named(train_here: Train, tmp_path: Path) -> None:
    code, _, err = train_here("backbone=tiny", f"results.root={tmp_path}")
    assert (code, err) == (2, "error: backbone.path is missing; give it a value.\n")


SWEEPS = {
    "value": ("seed=0,-1", "seed=-1 is not allowed"),
    "config": ("method=head_only,lorra", "method 'lorra' is unknown; did you mean 'lora'?"),
    "option of one method only": ("method=lora,pafi method.rank=4", "key 'method.rank' is unknown"),
    "task": ("task=cola,ax", "task 'ax' has no training rows"),
    "task of a method": (
        "method=lora,adamix task=stsb",
        "method.consistency=kl compares the probabilities",
    ),
    "users": (
        "trainer.profiles_per_pass=1,2",
        "trainer.profiles_per_pass=2 is not allowed with task.profiles=shared, where ",
    ),
    "trial": ("trial=0,99", "trial=99 is not allowed: the search space of the method has 30 points. "),
    "no job": ("method=glob(nope*)", "The sweep has no jobs: "),
    "step of a range": ("seed=range(0,3,0)", "A list of values of the sweep is not valid: "),
}


@pytest.mark.parametrize(("words", "sentence"), SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_with_one_bad_job_trains_nothing(
    train_here: Train, small: tuple[str, ...], tmp_path: Path, words: str, sentence: str
) -> None:
    code, _, err = train_here("-m", *small, f"results.root={tmp_path}", *words.split())
    assert err.startswith(f"error: {sentence}")
    assert (code, err.count("\n")) == (2, 1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("script", "words", "sentence"),
    [
        ("prepare", "tasks=3", "tasks=3 is not allowed: give a name, or a list of names as in tasks=[A,B]."),
        (
            "prepare",
            "data=sample tasks=cola destination=taken/x",
            "taken/x/cola cannot be used: Not a directory.",
        ),
        ("measure", "-m experiment=glue_demo", "key 'task' is unknown"),
    ],
)
def test_bad_input_of_other_scripts_is_one_sentence(
    run_here: Train, tmp_path: Path, script: str, words: str, sentence: str
) -> None:
    (tmp_path / "taken").touch()
    code, _, err = run_here(script, *words.split())
    assert err.startswith(f"error: {sentence}")
    assert (code, err.count("\n")) == (2, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("script", "words", "sentence"),
    [
        ("train", "--cfg job -m seed=0,1", "The configuration is not valid: Only one of --run, --multirun, "),
        ("report", "what=[tables,foo]", "what 'foo' is unknown. Known: report, tables."),
    ],
)
def test_a_process_that_gets_bad_input_prints_no_traceback_and_writes_nothing(
    tmp_path: Path, environment: dict[str, str], script: str, words: str, sentence: str
) -> None:
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *words.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout
    assert done.returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_run_that_diverges_is_code_1_and_the_sweep_continues(
    train_here: Train, small: tuple[str, ...], tmp_path: Path
) -> None:
    sweep = ("method=head_only", "trainer.learning_rate=1e38,1e-2", "trainer.epochs=1")
    code, out, err = train_here("-m", *small, f"results.root={tmp_path}", *sweep)
    assert code == 1
    sentence, job = err.splitlines()
    assert sentence.startswith("error: The loss of step ")
    assert job.startswith("Error executing job with overrides: ")  # Hydra's line about the first failed job
    assert "trainer.learning_rate=1e+38" in job
    assert re.search(
        r"tiny head_only cola seed 0 on sample \(subset\) data: matthews_correlation \S+ held out", out
    )
    records = [path.read_text(encoding="utf-8") for path in tmp_path.glob("runs/*/*/*/*/record.json")]
    assert sorted('"status": "failed"' in record for record in records) == [False, True]


def test_a_run_without_enough_memory_is_code_1_and_frees_its_memory(
    train_here: Train, small: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[torch.nn.Module]] = []
    alive: list[bool] = []

    def too_large(passes: SinglePasses, *_: object) -> None:
        alive.extend(model() is not None for model in models)
        models.append(weakref.ref(passes.adaptation.model))
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr(SinglePasses, "backward", too_large)
    code, out, err = train_here("-m", *small, f"results.root={tmp_path}", "method=head_only", "seed=0,1")
    sentence = "error: The device has too little free memory for this run. Lower trainer.batch_size, "
    assert [line.startswith(sentence) for line in err.splitlines()] == [True, True, False]
    assert "trainer.pass_tokens" in err
    assert code == 1
    assert "Traceback" not in out
    assert alive == [False]
