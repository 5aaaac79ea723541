"""MIMIC-CXR-JPG."""

from __future__ import annotations

import gzip
from pathlib import Path

from trees.chexpert import draw

LABELS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,"
    "No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)
READER_LABELS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Airspace Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
CELLS = (
    ",,,,,,,,1.0,,,,,",
    "1.0,-1.0,,-1.0,,,,1.0,,-1.0,,,0.0,1.0",
    ",1.0,1.0,1.0,1.0,1.0,1.0,,,1.0,1.0,1.0,1.0,",
)
VIEWS = ("PA", "LATERAL", "AP", "LL", "")


def dicom_id(patient: int, film: int) -> str:
    """Name of a film: five groups of hexadecimal digits, as published."""
    return "-".join(f"{patient:06x}{film:02x}" for _ in range(5))


def build(root: Path, *, patients: int = 24, packed: bool = True) -> Path:
    """One study with two films a patient, views in turn; the last four patients are validate and test, two each.

    Study 50000001 has no labels, the second film of patient 2 no metadata, and one film of the metadata is in no split.

    Args:
        patients: in all.
        packed: files end in .gz.
    """
    split_rows, metadata, labels = [], [], []
    for patient in range(1, patients + 1):
        subject = (10_000_000 if patient <= 20 else 19_000_000) + patient
        study = 50_000_000 + patient
        split = "train" if patient <= patients - 4 else ("validate" if patient <= patients - 2 else "test")
        if patient > 1:
            labels.append(f"{subject},{study},{CELLS[patient % len(CELLS)]}")
        for film in range(2):
            name, view = dicom_id(patient, film), VIEWS[(2 * patient + film) % len(VIEWS)]
            split_rows.append(f"{name},{study},{subject},{split}")
            if (patient, film) != (2, 1):
                step = f'{name},{subject},{study},"CHEST (PA, LAT)",{view}'
                metadata.append(f"{step},3056,2544,21800506,213014.531,CHEST,postero-anterior,Erect")
            draw(root / f"files/p{subject // 10**6}/p{subject}/s{study}/{name}.jpg", 2 * patient + film)
    metadata.append(f"{dicom_id(999, 0)},10000999,50000999,CHEST,PA,16,16,21800506,1,CHEST,postero-anterior,Erect")
    _write(root / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", split_rows, packed)
    _write(root / "mimic-cxr-2.0.0-metadata.csv", METADATA, metadata, packed)
    _write(root / "mimic-cxr-2.0.0-chexpert.csv", f"subject_id,study_id,{LABELS}", labels, packed)
    other = [",".join([*row.split(",")[:2], *CELLS[0].split(",")]) for row in labels]
    _write(root / "mimic-cxr-2.0.0-negbio.csv", f"subject_id,study_id,{LABELS}", other, packed)
    read = [f"{50_000_000 + patients},,,,1.0,-1.0,,,,,,,,1.0,"]
    _write(root / "mimic-cxr-2.1.0-test-set-labeled.csv", f"study_id,{READER_LABELS}", read, packed=False)
    return root


def _write(path: Path, header: str, rows: list[str], packed: bool) -> None:
    text = "\n".join([header, *rows]) + "\n"
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
