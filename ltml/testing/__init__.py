"""Contracts of components as plain functions, for components from outside the project too.

Each raises an AssertionError that says what is wrong; they run under any test framework, or none.
"""

from ltml.testing.heads import check_head
from ltml.testing.losses import check_loss
from ltml.testing.measures import check_measure
from ltml.testing.rebalancing import check_rebalancing

__all__ = ["check_head", "check_loss", "check_measure", "check_rebalancing"]
