"""From a model to a function of its weights: ``apply, params = ug.functional(model)``."""

from unigrad.models.apply import Apply
from unigrad.models.functional import assign, functional
from unigrad.models.port import port

__all__ = ["Apply", "assign", "functional", "port"]
