"""Every error a user can cause: one message, the right exit code, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ltml.errors import shorten

FAST = ["train.epochs=1", "data.train_size=64", "data.val_size=64", "data.test_size=32"]


def check(result, code: int, *parts: str) -> None:
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr
    assert len(errors[0]) < 620
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["digit"], ["unknown recipe 'digit'", "did you mean 'digits'"]),
        (["digits", "train.epohcs=1"], ["unknown key 'train.epohcs'", "did you mean 'epochs'"]),
        (["digits", "train.epochs=many"], ["train.epochs = 'many'", "valid integer"]),
        (["digits", "method=ldr"], ["unknown method 'ldr'", "ldrnet"]),
        (["digits", "head.type=prompt"], ["unknown head 'prompt'", "prompt_query"]),
        (["digits", "loss.type=bcee"], ["unknown loss 'bcee'", "did you mean 'bce'"]),
        (["digits", "backbone.name=resnet118"], ["unknown backbone 'resnet118'", "did you mean 'resnet"]),
        (["digits", "data.views.train=[Flip]"], ["unknown transform 'Flip'"]),
        (["digits", "--device", "gpu"], ["unknown device 'gpu'"]),
        (["nih"], ["the dataset 'nih' needs the folder of its files: add data.root=FOLDER"]),
        (["odir5k", "data.root=/no/such"], ["data.root /no/such is not a folder"]),
        (["cxr_union"], ["the dataset 'nih' needs the folder of its files: add data.roots.nih=FOLDER"]),
        (["csv_small"], ["data.file=labels.csv"]),
        (["csv_small", "data.file=/no/such.csv"], ["cannot read data.file /no/such.csv"]),
        (["digits_tiny", "backbone.options={layers: 3}"], ["backbone.options"]),
        (["digits_tiny", "metrics.groups.rule=named", "metrics.groups.head=[nul]"], ["'nul'"]),
        (["digits_tiny", "head.prompt_query.width=30"], ["width=30 must be divisible"]),
        (
            ["digits_tiny", "head.type=dodnet", "stage2.solver=expected"],
            ["stage2.solver=expected needs a classifier with one weight vector", "'dodnet'"],
        ),
    ],
)
def test_bad_input_exits_with_2_and_writes_nothing(cli, tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    check(cli("run", *arguments, "--out", tmp_path / "runs"), 2, *parts)
    assert not (tmp_path / "runs").exists()


def test_stage_2_without_stage_1(cli, tmp_path: Path) -> None:
    check(cli("stage2", "digits_tiny", "--out", tmp_path / "runs"), 2, "no finished stage 1", "ltml stage1")
    assert not (tmp_path / "runs").exists()


def test_broken_and_dangerous_yaml(cli, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: [x")
    check(cli("recipes", "validate", file), 2, "not a valid recipe file")
    file.write_text(f"!!python/object/apply:os.system ['touch {tmp_path}/pwned']")
    check(cli("recipes", "validate", file), 2, "not a valid recipe file")
    assert not (tmp_path / "pwned").exists()


def test_pretrained_weights_that_cannot_be_had_are_a_failure(cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    result = cli("run", "digits_tiny", "backbone.options={}", "backbone.pretrained=true", "--out", tmp_path / "runs")
    check(result, 1, "cannot get pretrained weights", "backbone.weights=FILE", "backbone.pretrained=false")
    assert not (tmp_path / "runs").exists()


def test_faulty_tables(cli, image_table: Callable[..., Path], tmp_path: Path) -> None:
    run = ["run", "csv_small", "--out", tmp_path / "runs"]
    file = image_table(split="train", group="a")
    check(cli(*run, f"data.file={file}"), 2, "cannot take a validation set out of 1 training group(s)")
    file.write_text(file.read_text().replace("000.png,1", "000.png,2"))
    check(cli(*run, f"data.file={file}"), 2, "line 2, column 'bright': label value '2'", "allowed: '1', '0'")
    file.write_text(image_table().read_text().replace("001.png", "000.png"))
    check(cli(*run, f"data.file={file}"), 2, "000.png': it is on line 2 already")
    file = image_table(split=["train", "val", "test"] * 20, group="p1")
    check(cli(*run, f"data.file={file}"), 2, "group 'p1': it is in train and val and test")
    image_table()
    check(cli(*run, f"data.file={file}", "data.root=/no/such"), 2, "data.root /no/such is not a folder")
    (tmp_path / "images" / "007.png").unlink()
    check(cli(*run, f"data.file={file}"), 2, "1 of 60 images", "007.png")
    assert not (tmp_path / "runs").exists()


def test_an_unreadable_image_is_named(run_small, image_table: Callable[..., Path], tmp_path: Path) -> None:
    file = image_table()
    (tmp_path / "images" / "007.png").write_bytes(b"broken")
    check(run_small(file), 2, "cannot read the image", "007.png")


def test_evaluate_explains_itself(cli, tmp_path: Path) -> None:
    check(cli("evaluate", tmp_path / "nothing"), 2, "neither a run's folder nor a predictions CSV")
    check(cli("evaluate", tmp_path), 2, "is not a run: it has no recipe.yaml")
    file = tmp_path / "p.csv"
    for text, part in [
        ("id,x\n1,2\n", "lacks prob:<label>. It needs the columns"),
        ("id,prob:a\n1,0.5\n", "'prob:a' has no 'target:a' beside it"),
        ("id,prob:a,target:a\n1,1.5,0\n", "line 2, column prob:a: 1.5 (logits?"),
        ("id,prob:a,target:a\n1,,0\n", "line 2, column prob:a: "),
        ("id,prob:a,target:a\n1,x,0\n", "line 2, column prob:a: 'x' is not a number"),
        ("id,prob:a,target:a\n1,0.5,-1\n", "line 2, column target:a: -1; uncertain or unknown? Leave the cell empty"),
        ("", "has no content"),
        ("id,prob:a,target:a\n", "a header but no rows"),
        ("id,prob:a,target:a\n1,0.2,1,0\n", "line 2: 4 cells under a header of 3"),
        ("id,prob:a,target:a\n1,0.2,1\n1,0.3,0\n", "line 3: the id '1' appears more than once"),
    ]:
        file.write_text(text)
        check(cli("evaluate", file), 2, part)


def test_damaged_runs_are_named(cli, tmp_path: Path) -> None:
    arguments = ["digits_tiny", *FAST, "method=bce", "--out", tmp_path]
    assert cli("run", *arguments).exit_code == 0
    recipe, labels = next(tmp_path.rglob("recipe.yaml")), next(tmp_path.rglob("labels.json"))
    labels.write_text("{")
    check(cli("evaluate", labels.parent), 2, "cannot read", "labels.json")
    recipe.write_text("name: [")
    check(cli("evaluate", labels.parent), 2, "cannot read", "recipe.yaml")


def test_out_that_is_a_file(cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check(cli("run", "digits_tiny", "--out", tmp_path / "file" / "runs"), 2, "is a file, not a folder")


def test_a_model_that_diverges_is_a_failure_with_advice(cli, tmp_path: Path) -> None:
    arguments = ["digits_tiny", *FAST, "train.lr=1e30", "train.batch_size=64", "--out", tmp_path]
    check(cli("run", *arguments), 1, "not finite", "Lower the learning rate")


def test_labels_with_brackets_are_shown_as_they_are(cli, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "id,prob:[mild],target:[mild],prob:[/b],target:[/b]\n1,0.5,1,0.5,1\n2,0.1,0,0.2,0\n"
    )
    result = cli("evaluate", tmp_path / "p.csv")
    assert "[mild]" in result.stdout
    assert "[/b]" in result.stdout


def test_list_of_an_unknown_kind(cli) -> None:
    check(cli("list", "loses"), 2, "cannot list 'loses'", "did you mean 'losses'")


def test_damaged_results_are_named(cli, tmp_path: Path) -> None:
    arguments = ["digits_tiny", *FAST, "--out", tmp_path]
    assert cli("stage1", *arguments).exit_code == 0
    next(tmp_path.rglob("checkpoint.safetensors")).write_bytes(b"damaged")
    check(cli("stage2", *arguments), 2, "cannot read the checkpoint", "--fresh")


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (KeyboardInterrupt(), 130, "interrupted; what was finished stays"),
        (ValueError("embedded null byte"), 2, "a name has a NUL byte in it"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "runs/x"), 1, "the quota of this user's disk space is used up"),
        (OSError(errno.EROFS, "Read-only file system", "runs/x"), 1, "read-only: cannot write runs/x"),
        (OSError(errno.EFBIG, "File too large", "runs/x"), 1, "larger than this system allows: cannot write runs/x"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000), 2, "(5000 letters) is too long"),
        (RuntimeError("x" * 5000), 1, "unexpected RuntimeError: xxx"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "Permission denied: 'runs'"),
        (RuntimeError("surprise"), 1, "unexpected RuntimeError: surprise (add --debug for the traceback)"),
    ],
)
def test_failures_exit_with_1(cli, monkeypatch, tmp_path: Path, error: BaseException, code: int, part: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ltml.stages.pipeline.run_stage1", fail)
    check(cli("run", "digits_tiny", *FAST, "--out", tmp_path / "runs"), code, part)


def test_a_full_disk_leaves_no_half_file_and_the_run_resumes(cli, monkeypatch, tmp_path: Path) -> None:
    import ltml.training.checkpoint as checkpoint

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        check(cli("run", "digits_tiny", *FAST, "--out", tmp_path), 1, "the disk is full")
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file() and path.suffix != ".lock"]
    assert cli("run", "digits_tiny", *FAST, "--out", tmp_path).exit_code == 0


@pytest.mark.process
def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "ltml_cli", "recipes", "show", "digit"]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert plain.returncode == 2
    assert "Traceback" not in plain.stderr
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr


def _other_files(folder: Path) -> dict[str, Path]:
    """Files that are no recipes, each with private rows in it."""
    films = folder / "films.csv"
    films.write_text("image,even,name\n" + "".join(f"{i}.png,1,SECRET{i} note: x\n" for i in range(2000)))
    pd.read_csv(films).to_parquet(folder / "films.parquet")
    (folder / "predictions.csv").write_text("id,group,prob:a,target:a\nSECRET1,p1,0.5,1\n")
    np.savez(folder / "films.npz", images=np.zeros((2, 4, 4), np.uint8))
    Image.new("L", (4, 4)).save(folder / "film.png")
    (folder / "text.yaml").write_text(films.read_text())
    (folder / "key.yaml").write_text("SECRET1,a: " + "x," * 5000)
    (folder / "broken.yaml").write_text("name: x\nSECRET2: [1, 2\nSECRET3: }\n")
    (folder / "long.yaml").write_text(f"name: x\ndata: {{type: csv, image_size: SECRET4{'y' * 3000}, views: 3}}\n")
    (folder / "many.yaml").write_text("".join(f"key{i}: SECRET\n" for i in range(200)))
    (folder / "rows.yaml").write_text(f"rows: SECRET5{'y' * 3000}\n")
    (folder / "latin.yaml").write_bytes("name: é\n".encode("latin-1"))
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("command", ["run", "data check", "data stats", "compare", "recipes validate"])
def test_other_files_than_recipes_are_named_and_never_printed(cli, tmp_path: Path, command: str) -> None:
    for name, path in _other_files(tmp_path).items():
        is_yaml = name.endswith(".yaml") and name != "rows.yaml"
        more = ("--methods", "bce") if command == "compare" and is_yaml else ()
        result = cli(*command.split(), path, *more)
        (message,) = result.stderr.split("error: ")[1:]
        assert result.exit_code == 2, (name, result.output)
        assert len(message) <= 601
        assert message.count("SECRET") <= 5, message
        assert str(path) in message
        assert "Traceback" not in message


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("films.csv", "ltml data check csv_small data.file="),
        ("films.parquet", "ltml data check csv_small data.file="),
        ("predictions.csv", "ltml evaluate"),
        ("films.npz", "ltml data check npz data.file="),
        ("film.png", "is an image (PNG), not a recipe"),
        ("broken.yaml", "(line 3, column"),
    ],
)
def test_what_to_type_in_place_of_another_file(cli, tmp_path: Path, name: str, remedy: str) -> None:
    check(cli("data", "check", _other_files(tmp_path)[name]), 2, remedy)


def test_the_folder_of_a_run_names_its_recipe(cli, tiny_run: Path) -> None:
    check(cli("data", "check", tiny_run), 2, f"its recipe is {tiny_run / 'recipe.yaml'}")


@given(st.text(max_size=2000), st.integers(40, 600))
def test_a_long_message_keeps_its_beginning_and_its_end(message: str, most: int) -> None:
    short = shorten(message, most)
    assert len(short) <= max(most, 0)
    if len(message) <= most:
        assert short == message
    else:
        assert message.startswith(short[:10].rstrip(" […]"))
        assert message.endswith(short[-10:].lstrip(" […]"))


def test_no_error_is_longer_than_600_characters(cli) -> None:
    check(cli("run", "digits", f"train.epochs={'9x' * 5000}"), 2, "train.epochs")
    for override in ("x" * 5000, f"train.epochs={'9x' * 5000}", f"{'x' * 5000}=1", f"head.type={'x' * 5000}"):
        result = cli("run", "digits", override)
        assert result.exit_code == 2
        assert len(result.stderr) <= 600 + len("error: \n")


def test_sigterm_ends_with_143_and_a_line_how_to_go_on(cli, monkeypatch, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def end(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("ltml.stages.pipeline.run_stage1", end)
    result = cli("run", "digits_tiny", *FAST, "--out", tmp_path / "runs")
    assert result.exit_code == 143
    assert result.stderr.splitlines()[-1].startswith("ended by SIGTERM; what was finished stays, and the same command")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("where", ["{}", "runs/{}", "{}.csv"])
@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "NAME"),
        ("run", "digits_tiny", "--out", "NAME"),
        ("run", "digits_tiny", "name=NAME"),
        ("run", "csv_small", "data.file=NAME"),
        ("run", "csv_small", "data.file=x.csv", "data.root=NAME"),
        ("run", "digits_tiny", "init_from=NAME"),
        ("run", "digits_tiny", "backbone.weights=NAME"),
        ("evaluate", "NAME"),
        ("report", "NAME"),
        ("gaussians", "NAME"),
        ("calibrate", "NAME"),
        ("relations", "NAME"),
        ("compare", "--predictions", "NAME", "NAME"),
        ("compare", "digits_tiny", "--methods", "NAME", "--seeds", "0"),
        ("compare", "digits_tiny", "--methods", "bce,asl", "--seeds", "0", "--name", "NAME"),
        ("recipes", "cp", "digits_tiny", "NAME"),
        ("stage2", "digits_tiny", "--features", "NAME", "--val", "NAME"),
        ("data", "check", "csv_small", "data.file=NAME"),
    ],
)
def test_names_that_no_file_can_have(
    cli, monkeypatch, tmp_path: Path, arguments: tuple[str, ...], name: str, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*(part.replace("NAME", where.format(name)) for part in arguments))
    assert result.exit_code == 2, result.output
    assert "unexpected" not in result.output
    assert "Traceback" not in result.output
    assert max(map(len, result.stderr.splitlines())) < 700


def test_a_nul_byte_in_a_recipe_file_names_its_field(cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text('name: mine\nmethod: bce\ndata: {type: csv, file: "a\\0b.csv"}\n')
    check(cli("recipes", "validate", file), 2, "data.file = 'a\\x00b.csv' has a NUL byte")


@pytest.mark.parametrize("encoding", ["latin-1", "iso8859-15", "cp1252"])
def test_tables_degrade_where_an_encoding_lacks_letters(tiny_run: Path, encoding: str) -> None:
    from ltml_cli.main import app
    from typer.testing import CliRunner

    result = CliRunner(charset=encoding).invoke(app, ["evaluate", str(tiny_run), "--ci", "--resamples", "100"])
    assert result.exit_code == 0, result.output
    assert re.search("^-{40,}$", result.stdout, re.MULTILINE)  # the line below the headings
    assert "?" not in result.stdout
    assert "macro" in result.stdout or "mean" in result.stdout


def test_no_letter_is_too_odd_to_print() -> None:
    from ltml_cli.errors import degrade_output

    degrade_output()
    assert "Δ − † ‡".encode("ascii", "ltml.near").decode() == "diff - + ++"
    text = "→ ± é Ł 漢 \udcff"
    assert text.encode("ascii", "ltml.near").decode() == "-> +- e ? ? ?"
    assert text.encode("utf-8", "ltml.near").decode() == "→ ± é Ł 漢 ?"


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [("recipes", "ls"), ("--help",)])
def test_a_full_stdout_is_no_full_disk(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ltml_cli", *arguments]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.strip() == "error: cannot write to stdout: No space left on device"
