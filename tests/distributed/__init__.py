"""What the tests of several processes let one process do and two, to compare."""

import sys

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
