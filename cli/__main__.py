"""``python -m ltml_cli``."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.path.realpath(".")]:
    del sys.path[0]  # Python puts the current folder first, where any file of it would stand in for a module

from .main import main

main()
