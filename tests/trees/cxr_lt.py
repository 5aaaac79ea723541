"""CXR-LT 2024 beside the images of MIMIC-CXR-JPG."""

from __future__ import annotations

from pathlib import Path

from trees.chexpert import draw
from trees.mimic import dicom_id

TASK_2_TEXT = (
    "Atelectasis,Calcification of the Aorta,Cardiomegaly,Consolidation,Edema,Emphysema,Enlarged Cardiomediastinum,"
    "Fibrosis,Fracture,Hernia,Infiltration,Lung Lesion,Lung Opacity,Mass,Normal,Nodule,Pleural Effusion,Pleural Other,"
    "Pleural Thickening,Pneumomediastinum,Pneumonia,Pneumoperitoneum,Pneumothorax,Subcutaneous Emphysema,"
    "Support Devices,Tortuous Aorta"
)
RARE_TEXT = (
    "Adenopathy,Azygos Lobe,Clavicle Fracture,Fissure,Granuloma,Hydropneumothorax,Infarction,Kyphosis,"
    "Lobar Atelectasis,Pulmonary Embolism,Pulmonary Hypertension,Rib Fracture,Round(ed) Atelectasis,Tuberculosis"
)
TASK_2, RARE = TASK_2_TEXT.split(","), RARE_TEXT.split(",")
TASK_1 = sorted([*TASK_2, *RARE])
TASK_3 = ["Bulla", "Cardiomyopathy", "Hilum", "Osteopenia", "Scoliosis"]
META = "dicom_id,subject_id,study_id,ViewPosition,ViewCodeSequence_CodeMeaning,fpath"


def build(root: Path, *, patients: int = 30, folder: str = "") -> Path:
    """Two films a patient, each with two labels; 20 patients train, 5 development, 5 test.

    Args:
        patients: in all, no fewer than 12.
        folder: where under the root the label files lie.
    """
    rows: dict[str, list[tuple[str, set[str]]]] = {"train": [], "development": [], "test": []}
    for patient in range(1, patients + 1):
        split = "train" if patient <= patients - 10 else ("development" if patient <= patients - 5 else "test")
        for film in range(2):
            number = 2 * patient + film
            name, view = dicom_id(patient, film), ("AP", "PA", "LATERAL", "")[number % 4]
            path = f"files/p10/p{10_000_000 + patient}/s{50_000_000 + patient}/{name}.jpg"
            meta = f"{name},{10_000_000 + patient},s{50_000_000 + patient},{view},antero-posterior,{path}"
            rows[split].append((meta, {TASK_1[number % 40], TASK_1[(number + 17) % 40]}))
            draw(root / path, number)
    place = root / folder
    place.mkdir(exist_ok=True)
    _write(place / "train_labeled.csv", rows["train"], TASK_1)
    for split in ("development", "test"):
        for task, labels in ((1, TASK_1), (2, TASK_2), (3, TASK_3)):
            _write(place / f"{split}_labeled_task{task}.csv", rows[split], labels)
    return root


def _write(path: Path, rows: list[tuple[str, set[str]]], labels: list[str]) -> None:
    lines = [",".join([meta, *("1.0" if label in found else "0.0" for label in labels)]) for meta, found in rows]
    path.write_text("\n".join([f"{META},{','.join(labels)}", *lines]) + "\n")
