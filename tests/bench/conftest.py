"""Lets the smoke test import the modules of this folder, as `python tests/bench/run.py` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
