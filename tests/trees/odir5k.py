"""ODIR-5K's training part."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from PIL import Image

NAME = "ODIR-5K_Training_Annotations(Updated)_V2"
PATIENTS = (
    ("cataract", "normal fundus", "C"),
    ("normal fundus", "normal fundus", "N"),
    ("laser spot，moderate non proliferative retinopathy", "moderate non proliferative retinopathy", "DO"),
    ("macular epiretinal membrane", "mild nonproliferative retinopathy", "DO"),
    ("glaucoma，lens dust", "lens dust，normal fundus", "G"),
    ("hypertensive retinopathy,diabetic retinopathy", "suspected glaucoma", "DHG"),
    ("dry age-related macular degeneration", "drusen", "AO"),
    ("pathological myopia", "myopia retinopathy", "M"),
    ("low image quality,maculopathy", "lens dust", "O"),
    ("no fundus image", "normal fundus", "O"),
    ("anterior segment image", "image offset，low image quality", "O"),
    ("optic disk photographically invisible", "cataract", "C"),
    ("normal fundus，drusen", "normal fundus", "O"),
    ("normal fundus", "tessellated fundus ", "N"),  # official labels and keywords disagree
)
"""Left keywords, right keywords, official labels. Every tenth eye or so has nothing but quality notes."""

COMMON = (*PATIENTS[:8], ("hypertensive retinopathy", "wet age-related macular degeneration", "HA"))


def build(
    root: Path, *, patients: int = 32, csv: bool = False, folder: str = "ODIR-5K_Training_Dataset", name: str = NAME
) -> Path:
    """Three times the number in the table is the patient's ID.

    Args:
        csv: a CSV in place of the Excel sheet.
        folder: of the images.
        name: of the annotations.
    """
    (root / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(patients):
        left, right, labels = PATIENTS[number] if number < len(PATIENTS) else COMMON[number % len(COMMON)]
        row = {"ID": 3 * number, "Patient Age": 40 + number % 50, "Patient Sex": ("Female", "Male")[number % 2]}
        row |= {f"{eye}-Fundus": f"{3 * number}_{eye.lower()}.jpg" for eye in ("Left", "Right")}
        row |= {"Left-Diagnostic Keywords": left, "Right-Diagnostic Keywords": right}
        rows.append(row | {label: int(label in labels) for label in "NDGCAHMO"})
        for eye, shade in (("left", 60), ("right", 180)):
            picture = Image.new("RGB", (20, 14), (7 * number, 255 - 7 * number, shade))
            picture.save(root / folder / f"{3 * number}_{eye}.jpg")
    table = pd.DataFrame(rows)
    if csv:
        table.to_csv(root / f"{name}.csv", index=False)
    else:
        table.to_excel(root / f"{name}.xlsx", index=False)
    return root
