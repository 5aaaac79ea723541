"""COVIDx CXR-2."""

from __future__ import annotations

from pathlib import Path

from trees.chexpert import draw


def build(root: Path, *, patients: int = 20) -> Path:
    """Two films for every fourth patient of two sources that number theirs alike; the last quarter is the test set."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    number = 0
    for patient in range(patients):
        split = "train" if patient < patients * 3 // 4 else "test"
        for source, name in (("sirm", f"COVID {patient} (1).png"), ("rsna", f"{patient:04x}-scan.jpg")):
            kind = "positive" if (source == "sirm") == (patient % 5 != 0) else "negative"
            names = [name, f"second {name}"] if patient % 4 == 0 else [name]
            for file in names:
                lists[split].append(f"{patient} {file} {kind} {source}")
                draw(root / split / file, number)
                number += 1
    for split, lines in lists.items():
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root
