"""NIH ChestX-ray14."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
FINDINGS = (
    "No Finding",
    "Hernia|Effusion",
    "Pleural_Thickening",
    "No Finding",
    "Mass|Nodule|Edema",
    "Pneumonia",
    "Atelectasis|Cardiomegaly|Infiltration",
    "Pneumothorax|Consolidation",
    "Emphysema|Fibrosis",
)


def build(root: Path, *, patients: int = 20, comma: bool = False, folders: bool = False, sex: str = "Gender") -> Path:
    """Two films a patient; the last quarter of the patients are the test set.

    Args:
        comma: the older file, whose rows end with a comma and whose ages read ``058Y``.
        folders: images_001/images/ … instead of images/.
        sex: "Sex" is how one variant calls the column.
    """
    rows, names = [], []
    for patient in range(patients):
        for film in range(2):
            name = f"{patient + 1:08d}_{film:03d}.png"
            names.append(name)
            finding = FINDINGS[(2 * patient + film) % len(FINDINGS)]
            age = f"{20 + patient:03d}Y" if comma else str(20 + patient)
            row = f"{name},{finding},{film},{patient + 1},{age},M,PA,2682,2749,0.143,0.143"
            rows.append(row + ("," if comma else ""))
            place = root / (f"images_{1 + patient % 2:03d}/images" if folders else "images")
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([patient, film]).integers(0, 256, (24, 24)).astype(np.uint8)
            Image.fromarray(pixels).convert("RGBA" if patient == 3 else "L").save(place / name)
    header = HEADER.replace("Gender", sex)
    name = "Data_Entry_2017.csv" if comma else "Data_Entry_2017_v2020.csv"
    (root / name).write_text("\n".join([header, *rows]) + "\n")
    cut = 2 * (patients * 3 // 4)
    (root / "train_val_list.txt").write_text("\n".join(names[:cut]))
    (root / "test_list.txt").write_text("\n".join(names[cut:]))
    return root
