"""Contract checks as plain functions, for components of the project and of plugins.

Each raises an AssertionError that says what is wrong and how to mend it. They run in any test framework or none.
"""

from ltml.testing.heads import check_head
from ltml.testing.losses import check_loss
from ltml.testing.measures import check_measure
from ltml.testing.objectives import check_objective
from ltml.testing.rebalancing import check_rebalancing

__all__ = ["check_head", "check_loss", "check_measure", "check_objective", "check_rebalancing"]
