"""Bad input ends with one sentence, exit code 2 and nothing trained."""

from __future__ import annotations

import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gluelamp.cli.app import CONFIGS
from gluelamp.training.passes import SinglePasses
from tiny_models import tiny

TRAIN = CONFIGS.parent / "scripts" / "train.py"
CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown key": (
        ("trainer.epoch=3",),
        "key 'trainer.epoch' is unknown; did you mean 'trainer.epochs'? Known: ",
    ),
    "unknown section": (("trainr.epochs=3",), "key 'trainr.epochs' is unknown"),
    "key of another method": (
        ("method=pafi", "method.rank=3"),
        "key 'method.rank' is unknown",
    ),
    "unknown leaf": (("method=lorra",), "method 'lorra' is unknown; did you mean 'lora'? Known: "),
    "no leaf": (("method=null",), "method=null is not allowed: give the name of a file"),
    "unknown folder": (("metod=lora",), "key 'metod' is unknown; did you mean 'method'?"),
    "wrong type": (("trainer.epochs=many",), "trainer.epochs='many' is not allowed: it should be "),
    "seed of more bits than torch takes": (
        ("seed=99999999999999999999",),
        "seed=99999999999999999999 is not allowed: it should be less than ",
    ),
    "name that is a path": (
        ("backbone.name=org/tiny",),
        "backbone.name='org/tiny' is not allowed: it should match pattern",
    ),
    "no name": (("method.name=''",), "method.name='' is not allowed: it should match pattern"),
    "device without values": (("trainer.device=meta",), "device='meta' is not usable here."),
    "out of range": (("seed=-1",), "seed=-1 is not allowed: it should be greater than or equal to 0."),
    "added key": (("+trainer.momentum=0.9",), "trainer key 'momentum' is unknown"),
    "unknown task": (("task.name=colla",), "task 'colla' is unknown; did you mean 'cola'?"),
    "task without training rows": (("task=ax",), "task 'ax' has no training rows"),
    "class of another package": (
        ("method._target_=os.system",),
        "method._target_='os.system' is not allowed",
    ),
    "no closing bracket": (("trainer.betas=[0.9",), "The configuration is not valid: "),
    "reference to nothing": (
        ("trainer.epochs=${nope}",),
        "The configuration is not valid: Interpolation key 'nope' not found",
    ),
    "no equals sign": (("epochs",), "The configuration is not valid: "),
    "no such device": (("trainer.device=tpu",), "device='tpu' is not usable here."),
    "no such data": (("data=local", "data.root=/nowhere"), "/nowhere is no folder with task 'cola'."),
    "more tokens than positions": (
        ("trainer.max_length=512",),
        "trainer.max_length=512 is not allowed: backbone 'tiny' takes at most 128 tokens.",
    ),
    "more tokens than positions, with a prompt": (
        ("method=prompt", "method.length=100"),
        "trainer.max_length=64 is not allowed: backbone 'tiny' takes at most 128 tokens. The method adds",
    ),
    "sparse budget above the candidates": (
        ("method=pafi", "method.density=1.0", "method.exclude=embeddings"),
        "method.density=1.0 asks for 53,312 of the encoder's 53,312 parameters; the candidates hold ",
    ),
    "the same, before a first phase": (
        ("method=lt_sft", "method.density=1.0", "method.exclude=embeddings"),
        "method.density=1.0 asks for 53,312 of the encoder's 53,312 parameters; the candidates hold ",
    ),
    "rank above the weight's": (("method.rank=33",), "method.rank=33 is larger than 32, the rank of "),
    "bottleneck that summands do not divide": (
        ("method=compacter",),
        "method.summands=4 must divide the hidden size, here 32, and the bottleneck, here 1 ",
    ),
    "blocks that do not divide the width": (
        ("method=ether", "method.blocks=3"),
        "method.blocks=3 does not divide 32, the width of a side that this method transforms. Allowed: ",
    ),
    "more selected adapters than there are": (
        ("method=xpeft", "method.num_adapters=10", "method.top_k=11"),
        "method.top_k=11 is larger than method.num_adapters=10; ",
    ),
    "class probabilities in a regression": (
        ("method=adamix", "task=stsb"),
        "method.consistency=kl compares the probabilities of one task's classes, ",
    ),
    "distilled class probabilities in a regression": (
        ("method=dyt", "task=stsb"),
        "method.distillation=kl compares the probabilities of one task's classes, ",
    ),
    "unknown option of a peft tuner": (
        ("method=peft", "method.options={rank: 4}"),
        "method.options: option 'rank' is unknown",
    ),
}


@pytest.mark.parametrize(("overrides", "sentence"), CASES.values(), ids=CASES)
def test_bad_input_is_one_sentence_and_code_2(
    train_here: Callable[..., tuple[int, str, str]],
    small: tuple[str, ...],
    tmp_path: Path,
    overrides: tuple[str, ...],
    sentence: str,
) -> None:
    code, _, err = train_here(*small, f"results.root={tmp_path}", *overrides)
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1
    assert code == 2
    assert {path.name for path in tmp_path.glob("runs/*/*/*/*/*")} <= {".lock"}


def test_a_part_that_the_architecture_lacks_is_named(
    train_here: Callable[..., tuple[int, str, str]],
    small: tuple[str, ...],
    tiny_backbone: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, results = tmp_path / "modernbert", tmp_path / "results"
    shutil.copytree(tiny_backbone, folder)  # for its tokenizer
    tiny("modernbert").save_pretrained(folder)
    capfd.readouterr()  # the progress bar of saving
    code, _, err = train_here(*small, f"backbone.path={folder}", f"results.root={results}", "method=lora")
    assert err.startswith("error: The architecture 'modernbert' has no separate 'attention.query', which ")
    assert err.count("\n") == 1
    assert code == 2
    assert {path.name for path in results.glob("runs/*/*/*/*/*")} == {".lock"}


def test_broken_weights_are_named(
    train_here: Callable[..., tuple[int, str, str]],
    small: tuple[str, ...],
    tiny_backbone: Path,
    tmp_path: Path,
) -> None:
    folder, results = tmp_path / "broken", tmp_path / "results"
    shutil.copytree(tiny_backbone, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    code, _, err = train_here(*small, f"backbone.path={folder}", f"results.root={results}")
    assert err.startswith(f"error: {folder} holds no usable encoder (SafetensorError: ")
    assert (code, err.count("\n")) == (2, 1)


def test_a_results_folder_that_cannot_be_made_is_named(
    train_here: Callable[..., tuple[int, str, str]], small: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    code, _, err = train_here(*small, f"results.root={file}")
    assert err.startswith(f"error: {file}")
    assert (code, err.count("\n")) == (2, 1)


def test_a_value_that_must_be_given_is_named(
    train_here: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = train_here("backbone=tiny", f"results.root={tmp_path}")
    assert (code, err) == (2, "error: backbone.path is missing; give it a value.\n")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("seed=0,-1",), "seed=-1 is not allowed"),
        (("method=head_only,lorra",), "method 'lorra' is unknown; did you mean 'lora'?"),
        (("method.rank=4,0",), "method.rank=0 is not allowed"),
        (("method=lora,pafi", "method.rank=4"), "key 'method.rank' is unknown"),
        (("task=cola,ax",), "task 'ax' has no training rows"),
        (("method=lora,adamix", "task=stsb"), "method.consistency=kl compares the probabilities"),
        (
            ("trainer.profiles_per_pass=1,2",),
            "trainer.profiles_per_pass=2 is not allowed with task.profiles=shared, where ",
        ),
        (("method=glob(nope*)",), "The sweep has no jobs: "),
        (("seed=range(0,3,0)",), "seed=range(0,3,0) is no list of values: "),
        (
            ("seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"),
            "hydra.launcher.n_jobs=0 is not allowed: ",
        ),
        (
            ("seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=two"),
            "The configuration is not valid: Error merging override hydra.launcher.n_jobs=two: Value 'two' ",
        ),
    ],
    ids=[
        "value",
        "leaf",
        "field",
        "field of one method only",
        "task",
        "task of a method",
        "persons",
        "no job",
        "step",
        "processes",
        "no number",
    ],
)
def test_a_sweep_with_one_bad_job_trains_nothing(
    train_here: Callable[..., tuple[int, str, str]],
    small: tuple[str, ...],
    tmp_path: Path,
    overrides: tuple[str, ...],
    sentence: str,
) -> None:
    code, _, err = train_here("-m", *small, f"results.root={tmp_path}", *overrides)
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1
    assert code == 2
    assert not (tmp_path / "runs").exists()


def test_no_traceback_reaches_the_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(TRAIN), "method=lorra"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: method 'lorra' is unknown; did you mean 'lora'?")
    assert "Traceback" not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        ("report", "what=table", "what 'table' is unknown; did you mean 'tables'?"),
        ("report", "what=3", "what=3 is not allowed: give a name, or a list of them as in what=[A,B]."),
        ("prepare", "tasks=colla", "task 'colla' is unknown; did you mean 'cola'?"),
        ("prepare", "destination=null", "destination=None is not allowed: give a path."),
        (
            "prepare",
            "data=sample tasks=cola destination=taken/x",
            "taken/x/cola cannot be used: Not a directory.",
        ),
        ("train", "trainer=5", "trainer=5 is not allowed: give the name of a file in that folder"),
        ("train", "results.root=null", "results.root=None is not allowed: it should be text."),
        ("train", "results.root=", "results.root='' is not allowed: it should have at least 1 character."),
        ("report", "results.root=misspelt published=.", "No records stand below misspelt."),
        ("report", "published=nowhere", "published=nowhere is no folder; name that of the papers' numbers, "),
        ("report", "what=[tables,foo]", "what 'foo' is unknown. Known: report, tables."),
        ("train", "~trainer trainer.epochs=3", "key 'trainer.epochs' is unknown. Known: none."),
        (
            "train",
            "-m experiment=parameters",
            "experiment=parameters gives what, which this script does not have. The first lines of configs/",
        ),
        ("measure", "-m experiment=glue_demo", "experiment=glue_demo gives task, trainer, which "),
        ("measure", "-m experiment=lamp_warm", "experiment=lamp_warm gives task, which "),
        ("train", "--cfg job -m seed=0,1", "Only one of --run, --multirun, --cfg, --info and "),
    ],
)
def test_bad_input_of_any_script_is_one_sentence(
    tmp_path: Path, environment: dict[str, str], script: str, arguments: str, sentence: str
) -> None:
    (tmp_path / "taken").touch()
    done = subprocess.run(
        [sys.executable, str(TRAIN.with_stem(script)), *arguments.split()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith(f"error: {sentence}")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_run_that_diverges_is_code_1_and_the_sweep_goes_on(
    train_here: Callable[..., tuple[int, str, str]], small: tuple[str, ...], tmp_path: Path
) -> None:
    sweep = ("method=head_only", "trainer.learning_rate=1e38,1e-2", "trainer.epochs=1")
    code, out, err = train_here("-m", *small, f"results.root={tmp_path}", *sweep)
    assert code == 1
    sentence, job = err.splitlines()
    assert sentence.startswith("error: The loss of step ")
    assert job.startswith(
        "Error executing job with overrides: "
    )  # Hydra's, at the end, of the first that failed
    assert "trainer.learning_rate=1e+38" in job
    assert "tiny head_only cola seed 0 (sample): matthews_correlation best" in out
    records = sorted(path.read_text(encoding="utf-8") for path in tmp_path.glob("runs/*/*/*/*/record.json"))
    assert sorted('"status": "failed"' in record for record in records) == [False, True]


def test_a_run_without_enough_memory_is_code_1_and_leaves_it_to_the_next(
    train_here: Callable[..., tuple[int, str, str]],
    small: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models: list[weakref.ref[torch.nn.Module]] = []
    still_there: list[bool] = []

    def too_large(passes: SinglePasses, *_: object) -> None:
        still_there.extend(model() is not None for model in models)
        models.append(weakref.ref(passes.adaptation.model))
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr(SinglePasses, "backward", too_large)
    code, out, err = train_here("-m", *small, f"results.root={tmp_path}", "method=head_only", "seed=0,1")
    sentence = "error: The device has too little free memory for this run. Lower trainer.batch_size, "
    assert [line.startswith(sentence) for line in err.splitlines()] == [True, True, False]
    assert "trainer.pass_tokens" in err
    assert code == 1
    assert "Traceback" not in out
    assert still_there == [False]


def test_an_experiment_that_is_a_sweep_asks_for_m(
    train_here: Callable[..., tuple[int, str, str]], small: tuple[str, ...], tmp_path: Path
) -> None:
    code, _, err = train_here("experiment=glue_demo", *small, f"results.root={tmp_path}")
    assert (code, err) == (2, "error: The experiment is a sweep. Add -m.\n")
    assert not list(tmp_path.glob("runs"))
