"""PadChest."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "MethodProjection,Pediatric,ReportID,Report,MethodLabel,Labels,Localizations"
)
LABELS = (
    "['normal']",
    "['cardiomegaly', 'pleural effusion']",
    "[' pleural effusion', '', 'COPD signs ']",
    "['normal', ' ']",
    "['pneumonia', 'pneumonia']",
)
ODD = (
    "['normal', 'exclude']",
    "['suboptimal study']",
    "['Unchanged']",
    "['unchanged', 'pneumonia']",
    "",
    "['']",
    "nan",
)
"""Labels of the films that are left out."""


def build(root: Path, *, patients: int = 24, flat: bool = False, packed: bool = False) -> Path:
    """A frontal and a lateral film a patient, then one film each with the entries of `ODD`.

    Args:
        patients: in all.
        flat: images in the root instead of their ImageDir.
        packed: the label file ends in .gz.
    """
    films = [
        (patient, view, LABELS[patient % len(LABELS)])
        for patient in range(patients)
        for view in (("PA", "AP", "AP_horizontal")[patient % 3], "L")
    ]
    films += [(patient, "PA", labels) for patient, labels in enumerate(ODD)]
    rows = []
    for number, (patient, view, labels) in enumerate(films):
        name, folder = f"2168401113669640_{number:02d}-094-102.png", str(number % 3)
        birth = "" if patient == 1 else f"{1930 + patient}.0"
        sex = ("M", "F")[patient % 2]
        listed = f'"{labels}"' if labels else ""
        rows.append(
            f"{number},{name},{folder},20140915,st{patient},p{patient:03d},{birth},{sex},POSTEROANTERIOR,{view},"
            f'Manual review,No,{number},"sin, hallazgos ""nuevos""",Physician,{listed},"[\'loc right\']"'
        )
        _draw(root / name if flat else root / folder / name, number)
    text = "\n".join([HEADER, *rows]) + "\n"
    if packed:
        (root / f"{NAME}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (root / NAME).write_text(text)
    return root


def _draw(path: Path, number: int) -> None:
    """16 bits of which 12 are used, as from a detector."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 4096, (18, 14)).astype(np.uint16)
    pixels[0, 0], pixels[-1, -1] = 0, 4095
    Image.fromarray(pixels).save(path)
