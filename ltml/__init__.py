"""ltml: long-tailed multi-label image classification, trained, rebalanced and fairly compared.

The front door is light: torch is imported when something that needs it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ltml.comparison.compare import compare, dry_run
    from ltml.comparison.gain import relate_gain
    from ltml.comparison.launch import Launch, parse_options
    from ltml.comparison.plan import plan_comparison
    from ltml.comparison.predictions import compare_predictions
    from ltml.comparison.search import plan_search, search
    from ltml.comparison.sweep import plan_sweep
    from ltml.metrics.table import MetricTable, score
    from ltml.recipe.load import load_recipe
    from ltml.report.write import write_report
    from ltml.stages.calibrate import calibrate
    from ltml.stages.data import assemble_labels, cache_images, check_data, data_stats
    from ltml.stages.describe_gaussians import describe_gaussians
    from ltml.stages.evaluate import evaluate, evaluate_novel
    from ltml.stages.pipeline import run, stage1, stage2
    from ltml.stages.relations import describe_relations

__version__ = version("ltml")

_LAZY = {
    "load_recipe": "ltml.recipe.load",
    "run": "ltml.stages.pipeline",
    "stage1": "ltml.stages.pipeline",
    "stage2": "ltml.stages.pipeline",
    "describe_gaussians": "ltml.stages.describe_gaussians",
    "describe_relations": "ltml.stages.relations",
    "compare": "ltml.comparison.compare",
    "compare_predictions": "ltml.comparison.predictions",
    "dry_run": "ltml.comparison.compare",
    "Launch": "ltml.comparison.launch",
    "parse_options": "ltml.comparison.launch",
    "plan_comparison": "ltml.comparison.plan",
    "plan_search": "ltml.comparison.search",
    "plan_sweep": "ltml.comparison.sweep",
    "relate_gain": "ltml.comparison.gain",
    "search": "ltml.comparison.search",
    "evaluate": "ltml.stages.evaluate",
    "evaluate_novel": "ltml.stages.evaluate",
    "calibrate": "ltml.stages.calibrate",
    "assemble_labels": "ltml.stages.data",
    "cache_images": "ltml.stages.data",
    "check_data": "ltml.stages.data",
    "data_stats": "ltml.stages.data",
    "score": "ltml.metrics.table",
    "write_report": "ltml.report.write",
    "MetricTable": "ltml.metrics.table",
}

__all__ = [
    "Launch",
    "MetricTable",
    "assemble_labels",
    "cache_images",
    "calibrate",
    "check_data",
    "compare",
    "compare_predictions",
    "create_loss",
    "data_stats",
    "describe_gaussians",
    "describe_relations",
    "dry_run",
    "evaluate",
    "evaluate_novel",
    "list_backbones",
    "list_datasets",
    "list_encoders",
    "list_heads",
    "list_losses",
    "list_methods",
    "list_objectives",
    "list_rebalancing",
    "list_recipes",
    "load_recipe",
    "parse_options",
    "plan_comparison",
    "plan_search",
    "plan_sweep",
    "relate_gain",
    "run",
    "score",
    "search",
    "stage1",
    "stage2",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ltml' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)


def create_loss(name: str, **options: Any) -> Any:
    """Return a loss by name, a module called as ``loss(logits, targets, known=None)``.

    It refuses targets outside [0, 1] where they are known, NaN, and shapes other than ``(B, C)`` by an `InputError`.

    Args:
        name: see `list_losses`.
        **options: its options, e.g. ``reduction="sum"``; and for a loss that needs them ``class_counts``, the known
            positives per class, and ``num_samples``, the known entries per class or one number for all.

    Raises:
        InputError: an unknown loss, option or value, or missing counts.
    """
    from ltml.losses.masking import guard
    from ltml.registry import LOSSES, create

    loss = create(LOSSES, name, options)
    is_own = LOSSES.origin(name).startswith("ltml.losses.")  # these check in `prepare`
    return loss if is_own else guard(loss)


def list_losses(pattern: str = "*") -> list[str]:
    """Names of the losses that match a wildcard."""
    from ltml.registry import LOSSES

    return LOSSES.names(pattern)


def list_heads(pattern: str = "*") -> list[str]:
    """Names of the heads that match a wildcard."""
    from ltml.registry import HEADS

    return HEADS.names(pattern)


def list_objectives(pattern: str = "*") -> list[str]:
    """Names of the terms of training objectives that match a wildcard."""
    from ltml.registry import OBJECTIVES

    return OBJECTIVES.names(pattern)


def list_rebalancing(pattern: str = "*") -> list[str]:
    """Return the names of the stage-2 methods that match a wildcard."""
    from ltml.registry import REBALANCING

    return REBALANCING.names(pattern)


def list_datasets(pattern: str = "*") -> list[str]:
    """Names of the datasets that match a wildcard."""
    from ltml.registry import DATASETS

    return DATASETS.names(pattern)


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of timm's models that match a wildcard."""
    from ltml.models.backbones import list_backbones as names

    return names(pattern)


def list_encoders(pattern: str = "*") -> list[str]:
    """Names of the text encoders that match a wildcard."""
    from ltml.models.text import ENCODERS

    return _matching(list(ENCODERS), pattern)


def list_methods(pattern: str = "*") -> list[str]:
    """Names of the method presets that match a wildcard."""
    from ltml.recipe.catalog import method_names

    return _matching(method_names(), pattern)


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of the shipped recipes that match a wildcard."""
    from ltml.recipe.catalog import recipe_names

    return _matching(recipe_names(), pattern)


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    from fnmatch import filter as matching

    return sorted(matching(names, pattern))
