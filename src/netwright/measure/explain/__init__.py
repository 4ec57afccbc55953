"""Why a file of low precision is slow, or wrong: each layer of it beside float32, on the target."""

from .errors import LayerErrors
from .explain import explain
from .explanation import Conversion, Explanation, LayerReport

__all__ = ["Conversion", "Explanation", "LayerErrors", "LayerReport", "explain"]
