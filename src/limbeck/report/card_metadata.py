"""What stands at the head of a model card, in the form that the Hugging Face hub reads (`model-index`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from limbeck.report.markdown import pathless
from limbeck.report.runs import RunFiles
from limbeck.tasks.rows import Row

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TASKS = {
    "wsd": "Word sense disambiguation",
    "mlm": "Masked words",
    "glue": "GLUE",
    "paraphrase": "Paraphrase",
}

_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
"""What the hub calls a metric, where it is not as here."""


def task_of(run: RunFiles) -> str:
    """The hub's name of what the model does."""
    if run.kind == "finetune":
        return "text-classification"
    if run.kind == "gloss" and run.section("model").get("masked_lm_head") is False:
        return "feature-extraction"
    return "fill-mask"


def metadata(run: RunFiles, rows: Sequence[Row]) -> str:
    """The YAML of the card, without its fences; rows: what was measured of the model.

    No licence stands there, and a language only where the text is of one that is known.
    """
    from huggingface_hub import ModelCardData

    tags = ["limbeck", run.kind if run.kind != "student" else "masked-language-model"]
    if run.teachers():
        tags += ["knowledge-distillation", *(["multi-teacher"] if len(run.teachers()) > 1 else [])]
    if run.kind == "gloss":
        tags.append("word-sense-disambiguation")
    results = [_result(row, task_of(run)) for row in rows]
    card = ModelCardData(
        language=_language(run),
        library_name="transformers",
        pipeline_tag=task_of(run),
        tags=tags,
        model_name=run.name if results else None,
        eval_results=results or None,
    )
    return str(card.to_yaml(line_break="\n")) + "\n"


def _result(row: Row, task: str) -> EvalResult:
    from huggingface_hub import EvalResult

    data = pathless(row["data"])
    metric = row["metric"].replace(" per masked word", "")
    return EvalResult(
        task_type=task,
        task_name=_TASKS.get(row["task"]),
        # Results of one type are put together by the hub, so what was measured on other data has another.
        dataset_type=re.sub("[^a-z0-9]+", "-", data.lower()).strip("-"),
        dataset_name=data,
        metric_type=_METRICS.get(metric, metric),
        metric_name=row["metric"].replace("_", " "),
        metric_value=row["value"],
    )


def _language(run: RunFiles) -> str | None:
    """`en` where all training text is Princeton's WordNet; None where nothing says what it is."""
    section = "text" if run.kind == "student" else run.kind
    given = run.setting(section, "train")
    sources = [str(one) for one in given] if isinstance(given, list) else []
    english = all(source.startswith(("wordnet:", "wordnet-examples/")) for source in sources)
    return "en" if sources and english else None
