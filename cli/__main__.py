"""``python -m ltml_cli``."""

from .main import main

main()
