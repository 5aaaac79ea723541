"""Base of the JSON files that are saved: typed, with a format number."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ltml.checksums import DamagedFileError, read_recorded_json, write_recorded_json
from ltml.errors import InputError, in_short


class Saved(BaseModel):
    """Content of a saved JSON file; subclasses set the default of `format` to the number that they write.

    Keys beyond the fields are kept. A file without a format number is from a version before there were any; it is read
    if it has the same shape.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    format: int

    @classmethod
    def make(cls, content: dict[str, Any]) -> Self:
        """Check content that is about to be saved, and add the format number."""
        return cls.model_validate({"format": cls.model_fields["format"].default} | content)

    @classmethod
    def read(cls, path: Path, remedy: str) -> Self:
        """Read a saved file, checked for its checksum, format and shape.

        Args:
            path: file to read.
            remedy: how to renew the file, for messages.

        Raises:
            InputError: the file has the format of a newer version.
            DamagedFileError: the file is missing, has changed, or has another shape.
        """
        content, current = read_recorded_json(path, remedy, {}), cls.model_fields["format"].default
        number = content.get("format", current)
        if not isinstance(number, int) or not 1 <= number <= current:
            raise InputError(
                f"{path} has the format {in_short(number)}, and this version of ltml reads formats up to {current}: "
                f"update ltml, or {remedy}"
            )
        try:
            return cls.make(content)
        except ValidationError as error:
            key = ".".join(str(step) for step in error.errors()[0]["loc"])
            raise DamagedFileError(f"{path} holds something else than it should (see '{key}'); {remedy}") from None

    def to_json(self) -> dict[str, Any]:
        """Return the content as it is saved; keys that were not set are left out."""
        return self.model_dump(mode="python", exclude_unset=True)

    def write(self, path: Path) -> None:
        """Write the file and its checksum."""
        write_recorded_json(path, self.to_json())
