"""From the text of a target to the object it names: reading the text, importing the user's file, wording what fails.

``model.py`` · ``model.py:Net`` · ``model.py:Net(num_classes=3)`` · ``package.module:attr(…)``
"""

from __future__ import annotations

from bnguard._targets.evaluating import evaluate, explained, load_object
from bnguard._targets.importing import environment, import_module
from bnguard._targets.text import Target, no_file, parse

__all__ = ["Target", "environment", "evaluate", "explained", "import_module", "load_object", "no_file", "parse"]
