"""Images are part of what a run is: other ones in the same files are refused by name, another place is not."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fixtures.datasets import odir5k
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

import ltml
from ltml.data.cache import CachedImages, fill_cache, source_files
from ltml.errors import InputError
from ltml.recipe.load import load_recipe
from ltml.recipe.schema import Recipe
from ltml.stages.build import build_dataset
from ltml.stages.provenance import locate_run, record_inputs
from ltml.stages.run_directory import RunDirectory, read_run
from ltml.training.resume import TrainingState

SMALL = (
    "data.image_size=16", "train.epochs=2", "train.batch_size=8", "data.workers=0", "stage2.rounds=0",
    "backbone.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}",
)  # fmt: skip
COUNT = 40
SPLIT = ["train"] * 20 + ["val"] * 10 + ["test"] * 10


def films(folder: Path, ending: str = ".png", *, seed: int = 0, size: int = 16) -> list[Path]:
    """Forty grey pictures of noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}{ending}" for i in range(COUNT)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(path)
    return paths


def labels(file: Path, names: list[str], **columns: object) -> Path:
    even, third = np.arange(COUNT) % 2, (np.arange(COUNT) % 3 == 0).astype(int)
    frame = pd.DataFrame({"image": names, "even": even, "third": third, "split": SPLIT}).assign(**columns)
    frame.to_csv(file, index=False)
    return file


@dataclass(frozen=True)
class Data:
    """Pictures in a folder, a label file beside it, and recipes on them."""

    folder: Path

    @property
    def films(self) -> list[Path]:
        return sorted((self.folder / "films").iterdir())

    def recipe(self, *more: str, root: Path | None = None) -> Recipe:
        place = [f"data.file={self.folder / 'labels.csv'}", f"data.root={root or self.folder / 'films'}"]
        return load_recipe("csv_small", [*place, *SMALL, *more])

    @property
    def out(self) -> Path:
        return self.folder / "runs"


@pytest.fixture
def data(tmp_path: Path) -> Data:
    paths = films(tmp_path / "films")
    labels(tmp_path / "labels.csv", [path.name for path in paths])
    return Data(tmp_path)


def replace_film(path: Path) -> None:
    """Put another picture there, in as many bytes and with the same time of modification as before."""
    status = path.stat()
    with Image.open(path) as picture:
        pixels = 255 - np.asarray(picture.convert("L"))
    Image.fromarray(pixels).save(path)
    assert path.suffix != ".png" or path.stat().st_size <= status.st_size
    path.write_bytes(path.read_bytes().ljust(status.st_size, b"\0")[: status.st_size])  # decoders pass over the zeros
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def begun(recipe: Recipe, out: Path) -> RunDirectory:
    """A run whose stage 1 has been begun on the images as they are."""
    dataset = build_dataset(recipe)
    run = locate_run(recipe, dataset, out)
    record_inputs(run, recipe, dataset)
    (run.shared / "state.pt").touch()
    return run


def is_accepted(recipe: Recipe, out: Path, run: RunDirectory) -> bool:
    return locate_run(recipe, build_dataset(recipe), out) == run


def refusal(recipe: Recipe, out: Path) -> str:
    with pytest.raises(InputError) as caught:
        locate_run(recipe, build_dataset(recipe), out)
    assert "another --out" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".pgm", ".jpg", ".gif", ".webp"])
@pytest.mark.parametrize("row", [3, 25, 39])  # of train, val and test
def test_one_replaced_picture_is_named_whatever_its_length_and_time(tmp_path: Path, ending: str, row: int) -> None:
    paths = films(tmp_path / "films", ending)
    labels(tmp_path / "labels.csv", [path.name for path in paths])
    data = Data(tmp_path)
    begun(data.recipe(), data.out)
    replace_film(paths[row])
    assert f"{paths[row]} has changed since stage 1" in refusal(data.recipe(), data.out)


def test_pictures_that_change_names_are_both_named(data: Data) -> None:
    begun(data.recipe(), data.out)
    first, second = data.films[2:4]
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    message = refusal(data.recipe(), data.out)
    assert f"{first}, {second} have changed" in message
    assert "2 of 40 images" in message


def test_touched_copied_moved_and_put_back_pictures_are_the_same(data: Data, tmp_path: Path) -> None:
    run = begun(data.recipe(), data.out)
    for path in data.films:
        path.touch()
    assert is_accepted(data.recipe(), data.out, run)
    copy = Path(shutil.copytree(data.folder / "films", tmp_path / "copy"))
    assert is_accepted(data.recipe(root=copy), data.out, run)
    (data.folder / "films").rename(tmp_path / "moved")
    assert is_accepted(data.recipe(root=tmp_path / "moved"), data.out, run)
    kept = (tmp_path / "moved" / "005.png").read_bytes()
    (tmp_path / "moved" / "005.png").write_bytes((tmp_path / "moved" / "006.png").read_bytes())
    assert "005.png has changed" in refusal(data.recipe(root=tmp_path / "moved"), data.out)
    (tmp_path / "moved" / "005.png").write_bytes(kept)
    assert is_accepted(data.recipe(root=tmp_path / "moved"), data.out, run)


def test_another_folder_of_the_same_names_is_refused(data: Data, tmp_path: Path) -> None:
    begun(data.recipe(), data.out)
    films(tmp_path / "other", seed=1)
    message = refusal(data.recipe(root=tmp_path / "other"), data.out)
    assert f"{tmp_path / 'other' / '000.png'}, {tmp_path / 'other' / '001.png'} and 38 more have changed" in message


def test_the_place_of_the_label_file_is_not_part_of_stage_1(data: Data, tmp_path: Path) -> None:
    run = begun(data.recipe(), data.out)
    moved = Data(Path(shutil.copytree(data.folder, tmp_path / "elsewhere")))
    shared = locate_run(moved.recipe(), build_dataset(moved.recipe()), data.out).shared
    assert shared == run.shared


def test_a_renamed_root_of_class_folders_is_the_same_data(tmp_path: Path) -> None:
    for name in ("a", "b"):
        films(tmp_path / "birds" / name, seed=ord(name))
    run = begun(_folder(tmp_path / "birds"), tmp_path / "runs")
    (tmp_path / "birds").rename(tmp_path / "fowl")
    assert is_accepted(_folder(tmp_path / "fowl"), tmp_path / "runs", run)
    replace_film(tmp_path / "fowl" / "b" / "007.png")
    assert f"{tmp_path / 'fowl' / 'b' / '007.png'} has changed" in refusal(
        _folder(tmp_path / "fowl"), tmp_path / "runs"
    )


def _folder(root: Path) -> Recipe:
    return load_recipe("csv_small", ["data={type: folder, image_size: 16, channels: 1}", f"data.root={root}"])


def test_arrays_name_the_row(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16), dtype=np.uint8)
    targets = np.stack([np.arange(COUNT) % 2, np.arange(COUNT) % 3 == 0], axis=1).astype(float)
    ids = np.array([f"film {i}" for i in range(COUNT)])

    def write(file: Path, pixels: np.ndarray) -> None:
        np.savez(file, images=pixels, targets=targets, label_names=["a", "b"], ids=ids, split=np.array(SPLIT))

    write(tmp_path / "a.npz", images)
    data = f"data={{type: npz, file: {tmp_path / 'a.npz'}, image_size: 16, channels: 1}}"
    recipe = load_recipe("csv_small", [data])
    run = begun(recipe, tmp_path / "runs")
    write(tmp_path / "a.npz", images)
    assert is_accepted(recipe, tmp_path / "runs", run)
    images[33, 0, 0] ^= 1
    write(tmp_path / "a.npz", images)
    assert "the image 'film 33' has changed" in refusal(recipe, tmp_path / "runs")


def test_a_picture_of_a_source_of_a_union_is_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        paths = films(tmp_path / name / "films", seed=len(name) + ord(name[0]))
        labels(tmp_path / name / "labels.csv", [f"films/{path.name}" for path in paths])
    sources = ", ".join(f"{{type: csv, name: {n}, file: {tmp_path / n / 'labels.csv'}}}" for n in ("one", "two"))
    data = f"data={{type: union, sources: [{sources}], labels: [even, third], image_size: 16, channels: 1}}"
    recipe = load_recipe("csv_small", [data])
    run = begun(recipe, tmp_path / "runs")
    assert is_accepted(recipe, tmp_path / "runs", run)
    changed = tmp_path / "two" / "films" / "011.png"
    replace_film(changed)
    assert f"{changed} has changed" in refusal(recipe, tmp_path / "runs")


@pytest.mark.parametrize("eyes", ["mean", "max", "concat"])
def test_one_eye_of_a_patient_is_named(tmp_path: Path, eyes: str) -> None:
    root = odir5k.build(tmp_path / "odir")
    small = ["data.image_size=16", "data.resize=16", "data.split.stratify=true", "metrics.groups={}"]
    recipe = load_recipe("odir5k", [f"data.root={root}", f"data.eyes={eyes}", *small])
    run = begun(recipe, tmp_path / "runs")
    assert is_accepted(recipe, tmp_path / "runs", run)
    eye = root / "ODIR-5K_Training_Dataset" / "12_right.jpg"
    Image.new("RGB", (20, 14), (1, 2, 3)).save(eye)
    assert f"{eye} has changed" in refusal(recipe, tmp_path / "runs")


def test_a_plain_dicom_file_of_the_same_length_is_named(data: Data) -> None:
    for number, path in enumerate(data.films):
        path.unlink()
        pixels = np.full((16, 16), number, dtype=np.uint8)
        pixels[0, 0] = 255
        save_dicom(path.with_suffix(".dcm"), pixels)
    labels(data.folder / "labels.csv", [path.name for path in data.films])
    run = begun(data.recipe(), data.out)
    assert is_accepted(data.recipe(), data.out, run)
    content = bytearray(data.films[31].read_bytes())
    content[-1] ^= 7
    data.films[31].write_bytes(content)
    assert f"{data.films[31]} has changed" in refusal(data.recipe(), data.out)


def save_dicom(path: Path, pixels: np.ndarray) -> None:
    """Write a minimal uncompressed file, with the same UIDs every time."""
    content = Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = SecondaryCaptureImageStorage
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID = "1.2.3"
    content.Rows, content.Columns = pixels.shape
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated = content.BitsStored = 8
    content.HighBit, content.PixelRepresentation = 7, 0
    content.PixelData = pixels.tobytes()
    content.save_as(path, enforce_file_format=True)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read to be hashed or looked at, in the order that they are."""
    from ltml.data import inspection

    read: list[Path] = []
    real = inspection.hash_content
    monkeypatch.setattr(inspection, "hash_content", lambda path: read.append(path) or real(path))
    return read


def test_only_what_has_changed_is_read_again(data: Data, decoded: list[Path]) -> None:
    begun(data.recipe(), data.out)
    assert sorted(decoded) == data.films
    decoded.clear()
    build_dataset(data.recipe()).fingerprint()
    assert decoded == []
    data.films[7].touch()
    build_dataset(data.recipe()).fingerprint()
    assert decoded == [data.films[7]]


def test_the_cache_of_decoded_images_knows_the_files_and_notices_others(data: Data, decoded: list[Path]) -> None:
    recipe = data.recipe()
    (reader,) = source_files(build_dataset(recipe).images)
    fill_cache(reader)
    begun(recipe, data.out)
    assert decoded == []  # they were hashed while the cache was filled
    assert isinstance(build_dataset(recipe).images, CachedImages)
    replace_film(data.films[30])
    assert not isinstance(build_dataset(recipe).images, CachedImages)
    assert f"{data.films[30]} has changed" in refusal(recipe, data.out)


def test_a_missing_or_damaged_record_is_not_a_record_of_the_same_images(data: Data) -> None:
    run = begun(data.recipe(), data.out)
    run.images.write_bytes(run.images.read_bytes()[:-8])
    assert "images.npy" in refusal(data.recipe(), data.out)
    np.save(run.images, np.zeros((COUNT - 1, 1), dtype=np.uint64))
    assert "images.npy is damaged" in refusal(data.recipe(), data.out)
    run.images.unlink()
    assert "has no images.npy, as if made by an earlier version of ltml" in refusal(data.recipe(), data.out)


def test_before_stage_1_has_done_anything_other_images_are_no_obstacle(data: Data) -> None:
    run = begun(data.recipe(), data.out)
    (run.shared / "state.pt").unlink()
    replace_film(data.films[0])
    assert is_accepted(data.recipe(), data.out, run)


class StoppedError(Exception):
    pass


def test_a_stopped_run_does_not_go_on_over_other_pictures(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = TrainingState.finish_epoch

    def finish_and_stop(self: TrainingState, *arguments: object) -> None:
        finish(self, *arguments)  # type: ignore[arg-type]
        raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(TrainingState, "finish_epoch", finish_and_stop)
        with pytest.raises(StoppedError):
            ltml.run(data.recipe("method=bce"), data.out)
    replace_film(data.films[0])
    with pytest.raises(InputError, match=r"000.png has changed since stage 1"):
        ltml.run(data.recipe("method=bce"), data.out)
    fresh = ltml.run(data.recipe("method=bce"), data.out, fresh=True)
    assert fresh.stage1 == ltml.run(data.recipe("method=bce"), data.folder / "other").stage1


def test_no_stage_2_mixes_old_weights_and_new_pictures(data: Data) -> None:
    usual, real = data.recipe("method=ldrnet"), data.recipe("method=ldrnet", "stage2.method=real_resample")
    first = ltml.run(usual, data.out)
    second = ltml.run(real, data.out)
    test = data.films[35]  # of test alone: the weights of stage 1 will be the same
    replace_film(test)
    for recipe in (usual, real):
        with pytest.raises(InputError, match=f"{test.name} has changed since stage 1"):
            ltml.run(recipe, data.out)
        with pytest.raises(InputError, match=f"{test.name} has changed since stage 1"):
            ltml.stage2(recipe, data.out, fresh=True)  # it would be on the old stage 1
    weights = read_run(first.run_dir)[0].checkpoint1.read_bytes()
    redone = ltml.run(usual, data.out, fresh=True)
    assert read_run(first.run_dir)[0].checkpoint1.read_bytes() == weights
    assert redone.stage1 != first.stage1
    again = ltml.run(real, data.out)  # of the stage 1 before, though its weights are those
    assert (again.stage1, again.stage2) != (second.stage1, second.stage2)
    for recipe, result in ((usual, redone), (real, again)):
        anew = ltml.run(recipe, data.folder / "other")
        assert (anew.stage1, anew.stage2) == (result.stage1, result.stage2)


def test_the_record_is_small_and_the_fingerprint_of_the_run_holds_the_images(data: Data) -> None:
    result = ltml.stage1(data.recipe("method=bce"), data.out)
    run, _ = read_run(result.run_dir)
    dataset = build_dataset(data.recipe("method=bce"))
    np.testing.assert_array_equal(np.load(run.images), dataset.image_digests)
    assert run.images.stat().st_size <= 8 * COUNT + 128
    about = (result.run_dir / "recipe.yaml").read_text()
    assert dataset.fingerprint() in about
    replace_film(data.films[39])
    assert build_dataset(data.recipe("method=bce")).fingerprint() not in about


def test_an_unreadable_picture_of_any_split_is_met_before_training(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltml.stages.pipeline.run_stage1", None)
    for row in (38, 25):
        data.films[row].write_bytes(data.films[row].read_bytes()[:-60])
    with pytest.raises(InputError) as caught:
        ltml.run(data.recipe(), data.out)
    message = str(caught.value)
    assert message.startswith(f"cannot read 2 of 40 images, the first {data.films[25]}: ")
    assert f"also {data.films[38]}. Replace the files" in message
    assert not data.out.exists()


def test_what_is_known_to_be_readable_is_not_decoded_at_the_next_start(
    data: Data, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ltml.stage1(data.recipe("method=bce"), data.out)
    assert sorted(decoded) == data.films
    decoded.clear()
    ltml.stage1(data.recipe("method=bce", "seeds.train=1"), data.out)
    assert decoded == []


def test_a_picture_that_is_left_out_of_the_splits_may_be_unreadable(data: Data) -> None:
    labels(data.folder / "labels.csv", [path.name for path in data.films], id=[f"r{i}" for i in range(COUNT)])
    chosen = pd.DataFrame({"id": [f"r{i}" for i in range(COUNT - 1)], "split": SPLIT[:-1]})
    chosen.to_csv(data.folder / "split.csv", index=False)
    data.films[39].write_bytes(b"no picture")
    recipe = data.recipe("method=bce", f"data.split.file={data.folder / 'split.csv'}")
    assert ltml.stage1(recipe, data.out).stage1 is not None
