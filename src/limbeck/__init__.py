"""Limbeck: several teacher language models and a lexical database, distilled into one small student.

The public names are loaded when first used, so that `import limbeck` costs nothing:

    from limbeck import load_recipe, run_recipe

    recipe = load_recipe("recipe.toml", ["train.steps=500"])
    result = run_recipe(recipe)
"""

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Has torch ask Linux for large pages where it takes much memory at once. The system clears whatever page a
# process gets, and logits come and go with every step: small pages cost a good part of a training's time.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_PUBLIC = {
    "Detector": ("limbeck.tools.detect", "Detector"),
    "Disambiguator": ("limbeck.tools.disambiguate", "Disambiguator"),
    "Interrupted": ("limbeck.errors", "Interrupted"),
    "Recipe": ("limbeck.recipe", "Recipe"),
    "RecipeError": ("limbeck.errors", "RecipeError"),
    "Spinner": ("limbeck.tools.spin", "Spinner"),
    "TrainingDiverged": ("limbeck.errors", "TrainingDiverged"),
    "UserError": ("limbeck.errors", "UserError"),
    "check_recipe": ("limbeck.pipeline", "check"),
    "evaluate_files": ("limbeck.tasks.mlm", "evaluate_files"),
    "evaluate_glue": ("limbeck.tasks.glue", "evaluate_glue"),
    "load_masked_lm": ("limbeck.teachers.masked_lm", "load_masked_lm"),
    "load_recipe": ("limbeck.recipe", "load_recipe"),
    "run_recipe": ("limbeck.pipeline", "run"),
    "write_report": ("limbeck.report.page", "write_report"),
}
"""Public name → module and name there. (`run` itself is taken: `limbeck.run` is a module.)"""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Loads a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'limbeck' has no attribute {name!r}")
    module, there = _PUBLIC[name]
    value = getattr(import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
