"""Commands that need no images and no model do not pay for importing what does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

SLOW = ("torchvision", "timm", "sklearn", "scipy.stats", "matplotlib", "open_clip", "transformers")
PREDICTIONS = "id,prob:Edema,target:Edema\n" + "".join(f"{i},0.{i},{i % 2}\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [("evaluate predictions.csv", 0), ("run digits_tiny train.epoch=3", 2), ("run digits_tiny loss.type=nonsense", 2)],
)
def test_scoring_a_file_and_refusing_a_recipe_import_nothing_slow(tmp_path: Path, command: str, exit_code: int) -> None:
    (tmp_path / "predictions.csv").write_text(PREDICTIONS)
    code = (
        "import sys\nfrom ltml_cli.main import app\n"
        f"try:\n    app({command.split()!r})\nexcept SystemExit as end:\n    status = end.code\n"
        f"print(status, [name for name in {SLOW!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == f"{exit_code} []", result.stdout + result.stderr
