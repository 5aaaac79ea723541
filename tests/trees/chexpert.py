"""CheXpert."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{LABELS}"
CELLS = (
    "1.0,,,,,,,,,0.0,,,,1.0",
    ",,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,",
    ",1.0,1.0,,1.0,1.0,,1.0,,1.0,,1.0,,",
    ",0.0,,1.0,,0.0,1.0,,1.0,,1.0,,,1.0",
)


def draw(path: Path, number: int, size: tuple[int, int] = (20, 16)) -> None:
    """A grey image like no other of that name and number; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (
        np.random.default_rng([number, zlib.crc32(path.name.encode())])
        .integers(0, 256, (size[1], size[0]))
        .astype(np.uint8)
    )
    Image.fromarray(pixels).save(path)


def build(
    root: Path,
    *,
    patients: int = 24,
    prefix: str = "CheXpert-v1.0-small",
    folder: str = "CheXpert-v1.0-small",
    test_file: str = "",
) -> Path:
    """A frontal and a lateral film a patient in train; a frontal film of 4 further ones in valid.

    Args:
        patients: in ``train.csv``.
        prefix: what paths in the label files begin with.
        folder: where under the root the files lie; "" for the root itself.
        test_file: name of the test labels, which have neither sex nor age nor view and no prefix; "" for none.
    """
    place = root / folder
    rows: dict[str, list[str]] = {"train.csv": [], "valid.csv": []}
    for patient in range(1, patients + 5):
        split = "train" if patient <= patients else "valid"
        sex = "Unknown" if patient == 3 else ("Female", "Male")[patient % 2]
        age = 0 if patient in (4, 5, 6) else 40 + patient
        study = f"{split}/patient{patient:05d}/study1"
        films = [("view1_frontal.jpg", "Frontal", ("AP", "PA")[patient % 2])]
        films += [("view2_lateral.jpg", "Lateral", "")] if split == "train" else []
        for number, (film, side, direction) in enumerate(films):
            cells = CELLS[patient % len(CELLS)]
            rows[f"{split}.csv"].append(f"{prefix}/{study}/{film},{sex},{age},{side},{direction},{cells}")
            draw(place / study / film, 2 * patient + number)
    for name, lines in rows.items():
        (place / name).write_text("\n".join([HEADER, *lines]) + "\n")
    if test_file:
        names = [f"test/patient{number}/study1/view1_frontal.jpg" for number in (64741, 64742, 64743)]
        lines = [f"{name},{CELLS[2].replace(',,', ',0.0,').replace(',,', ',0.0,')}0.0" for name in names]
        (place / test_file).write_text("\n".join([f"Path,{LABELS}", *lines]) + "\n")
        for number, name in enumerate(names):
            draw(place / name, 1000 + number)
    return root
