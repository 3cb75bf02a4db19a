"""Imports point one way: a module imports only from those before it in this order, and help stays light."""

import ast
import subprocess
import sys
from pathlib import Path

ORDER = """
errors files processes
recipe_fields recipe_distill recipe_gloss recipe_stages recipe_text recipe_check recipe_read recipe
run_folder run
lexicon text teachers distill gloss training finetune tasks tools report pipeline
tables tables_cost tables_detect tables_pipeline tables_runs tables_tasks system terminal
cli_options cli_cost cli_eval cli_lexical cli_runs cli_spin cli_store cli_tasks cli_train cli_paraphrase
cli_detect cli __main__
""".split()  # noqa: SIM905 - it reads as the chain it is
SOURCE = Path(__file__).parents[1] / "src" / "limbeck"


def imported(path: Path) -> set[str]:
    """The parts of limbeck that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "limbeck":
            names |= {alias.name for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("limbeck."):
            names.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("limbeck.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return names


def test_imports_go_one_way() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        own = path.relative_to(SOURCE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        before = set(ORDER[: ORDER.index(own) + 1]) - ({"distill"} if own == "training" else set())
        wrong += [f"{path.relative_to(SOURCE)} imports {name}" for name in sorted(imported(path) - before)]
    assert wrong == []


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    heavy = "torch transformers tokenizers accelerate pyarrow matplotlib scipy numpy"
    code = (
        "import sys, limbeck, limbeck.errors, limbeck.recipe, limbeck.cli\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
