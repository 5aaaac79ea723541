"""Map the names that different sources use for a label to one name."""

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
"""Canonical name by alias, for chest findings; case and underscores are ignored."""


class Vocabulary:
    """Canonical label names in the order of their first use.

    Args:
        aliases: canonical name by alias; takes precedence over `ALIASES`.

    Raises:
        InputError: on looking up a name whose aliases form a circle.
    """

    def __init__(self, aliases: Mapping[str, str]) -> None:
        named = {_key(name): canonical for name, canonical in {**ALIASES, **aliases}.items()}
        self._aliases = {key: canonical for key, canonical in named.items() if key != _key(canonical)}
        self._names: dict[str, str] = {}

    def canonical(self, name: str) -> str:
        """Return the canonical name; without an alias, the first spelling used, with spaces for underscores."""
        known, seen = name.replace("_", " "), {_key(name)}
        while _key(known) in self._aliases:  # aliases can be chained
            known = self._aliases[_key(known)]
            if _key(known) in seen:
                raise InputError(f"data.aliases form a circle at '{known}'")
            seen.add(_key(known))
        return self._names.setdefault(_key(known), known)

    def names(self) -> tuple[str, ...]:
        """Return all canonical names used so far."""
        return tuple(self._names.values())


def _key(name: str) -> str:
    return name.replace("_", " ").casefold().strip()
