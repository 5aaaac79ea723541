"""One name for one finding: what different sources call the same label."""

from __future__ import annotations

from collections.abc import Mapping

from ltml.errors import InputError

ALIASES = {
    "Pleural Effusion": "Effusion",
    "Airspace Opacity": "Lung Opacity",
    "Normal": "No Finding",
    "Infiltrates": "Infiltration",
    "Pulmonary Edema": "Edema",
    "Pulmonary Fibrosis": "Fibrosis",
    "Hiatal Hernia": "Hernia",
    "COVID 19": "COVID-19",
}
"""Canonical name by another name of chest findings; case and underscores do not count anywhere."""


class Vocabulary:
    """Canonical label names in the order in which they are met.

    Args:
        aliases: canonical name by another name; comes before `ALIASES`.

    Raises:
        InputError: on looking up a name whose aliases go in a circle.
    """

    def __init__(self, aliases: Mapping[str, str]) -> None:
        named = {_key(name): canonical for name, canonical in {**ALIASES, **aliases}.items()}
        self._aliases = {key: canonical for key, canonical in named.items() if key != _key(canonical)}
        self._names: dict[str, str] = {}

    def canonical(self, name: str) -> str:
        """The canonical name; of a name that is no alias the first spelling that was met, underscores as spaces."""
        known, seen = name.replace("_", " "), {_key(name)}
        while _key(known) in self._aliases:  # an alias can be an alias of another
            known = self._aliases[_key(known)]
            if _key(known) in seen:
                raise InputError(f"data.aliases go in a circle at '{known}'")
            seen.add(_key(known))
        return self._names.setdefault(_key(known), known)

    def names(self) -> tuple[str, ...]:
        """All canonical names met so far."""
        return tuple(self._names.values())


def _key(name: str) -> str:
    return name.replace("_", " ").casefold().strip()
