# The front door: what `dir(ltml)` shows and where it lies. `__init__.py` imports each name at its first use.
from .api import bootstrap as bootstrap
from .api import create_head as create_head
from .api import create_loss as create_loss
from .api import create_model as create_model
from .api import list_backbones as list_backbones
from .api import list_datasets as list_datasets
from .api import list_encoders as list_encoders
from .api import list_experiments as list_experiments
from .api import list_heads as list_heads
from .api import list_losses as list_losses
from .api import list_measures as list_measures
from .api import list_methods as list_methods
from .api import list_objectives as list_objectives
from .api import list_rebalancing as list_rebalancing
from .api import list_recipes as list_recipes
from .api import split as split
from .comparison.compare import compare as compare
from .comparison.plan import plan_comparison as plan_comparison
from .comparison.predictions import compare_predictions as compare_predictions
from .gaussians.resampler import GaussianResampler as GaussianResampler
from .metrics.table import MetricTable as MetricTable
from .metrics.table import score as score
from .recipe.load import load_recipe as load_recipe
from .report.write import write_report as write_report
from .stages.calibrate import calibrate as calibrate
from .stages.evaluate import evaluate as evaluate
from .stages.pipeline import run as run
from .stages.pipeline import stage1 as stage1
from .stages.pipeline import stage2 as stage2

__version__: str
