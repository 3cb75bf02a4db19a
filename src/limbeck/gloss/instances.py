"""Words to disambiguate, from wherever they come: what other parts of Limbeck import.

SemCor and the evaluation sets (`read_unified`), WordNet's own examples (`wordnet_examples`), a user's
annotations (`read_jsonl`).
"""

from limbeck.gloss.annotations import read_jsonl, write_jsonl
from limbeck.gloss.examples import ExampleCounts, wordnet_examples
from limbeck.gloss.instance import POS, Candidates, Instance, candidates
from limbeck.gloss.keys import load_keys, read_keys, write_keys
from limbeck.gloss.unified import gold_beside, read_unified

__all__ = [
    "POS",
    "Candidates",
    "ExampleCounts",
    "Instance",
    "candidates",
    "gold_beside",
    "load_keys",
    "read_jsonl",
    "read_keys",
    "read_unified",
    "wordnet_examples",
    "write_jsonl",
    "write_keys",
]
