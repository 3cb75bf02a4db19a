"""The `[gloss]` table of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import RecipeError
from limbeck.recipe import (
    GlossSection,
    Recipe,
    affecting,
    differences,
    load_recipe,
    recipe_from,
    template,
    to_toml,
)

ALONE = 'name = "a"\n[gloss]\ninit = "x/y"\n'
BOTH = 'name = "a"\n[text]\ntrain = ["t.txt"]\nvalid = ["v.txt"]\n[gloss]\n'
TEACHER = '[[teachers]]\nname = "t"\nmodel = "a/b"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def load(path: Path, text: str, *overrides: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


def section(recipe: Recipe) -> GlossSection:
    assert recipe.gloss is not None
    return recipe.gloss


def problems(path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(path, text, *overrides)
    return caught.value.problems


def test_no_table_no_gloss_training(path: Path) -> None:
    assert load(path, BOTH.replace("[gloss]\n", "")).gloss is None


def test_defaults_are_those_published(path: Path) -> None:
    made = section(load(path, BOTH))
    assert (made.learning_rate, made.batch, made.epochs, made.max_length) == (2e-5, 32, 3.0, 160)
    assert (made.dropout, made.mask, made.steps, made.init, made.valid) == (0.2, 0.15, None, None, None)
    assert made.train == ("wordnet-examples/train",)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", True),
        ("masked = false\n", False),
        ('masked = false\nobjective = "pairs"\n', True),
        ("monosemous = false\n", False),
        ("masked = false\nmonosemous = true\n", True),
    ],
)
def test_monosemous_words_where_there_is_something_to_learn(path: Path, fields: str, expected: bool) -> None:
    assert section(load(path, BOTH + fields)).monosemous is expected


def test_a_recipe_without_text_needs_a_model(path: Path) -> None:
    recipe = load(path, ALONE)
    assert recipe.text is None
    assert section(recipe).init == "x/y"
    missing = [
        '[text] train: missing; it must be a list of texts in quotes, such as ["a.txt"]',
        '[text] valid: missing; it must be a list of texts in quotes, such as ["a.txt"]',
    ]
    assert problems(path, 'name = "a"\n[gloss]\n') == missing
    assert problems(path, 'name = "a"\n') == missing
    assert problems(path, ALONE, "text.words=3")[0].startswith("[text] train: missing")


def test_paths_start_from_the_recipes_folder(path: Path) -> None:
    (path.parent / "model").mkdir()
    text = (
        'name = "a"\n[gloss]\ninit = "model"\nlexicon = "wn30"\n'
        'train = ["wordnet-examples", "semcor/semcor.data.xml.xz", "/own.jsonl"]\nvalid = ["../v.jsonl"]\n'
    )
    made, folder = section(load(path, text)), path.parent
    assert made.init == str(folder / "model")
    assert made.lexicon == str(folder / "wn30")
    assert made.train == ("wordnet-examples", str(folder / "semcor/semcor.data.xml.xz"), "/own.jsonl")
    assert made.valid == (str(folder.parent / "v.jsonl"),)
    for name in ("wordnet", "wn:oewn:2024"):
        assert section(load(path, ALONE, f"gloss.lexicon={name}")).lexicon == name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("gloss.objective=both", '[gloss] objective = "both": must be one of pairs, choice'),
        ("gloss.layout=wide", '[gloss] layout = "wide": must be one of auto, pairs, packed'),
        ("gloss.candidates=some", '[gloss] candidates = "some": must be one of gold, all'),
        ("gloss.marks=stars", '[gloss] marks = "stars": must be one of quotes, none'),
        ("gloss.window=-1", "[gloss] window = -1: must be a whole number (at least 0)"),
        ("gloss.share=0", "[gloss] share = 0: must be a number (above 0 and at most 1)"),
        ("gloss.share=1.5", "[gloss] share = 1.5: must be a number (above 0 and at most 1)"),
        ("gloss.max_length=8", "[gloss] max_length = 8: must be a whole number (at least 16)"),
        ("gloss.dropout=1.0", "[gloss] dropout = 1.0: must be a number (at least 0 and below 1)"),
        ("gloss.mask=0", "[gloss] mask = 0: must be a number (above 0 and below 1)"),
        ("gloss.mask_weight=0", "[gloss] mask_weight = 0: must be a number (above 0)"),
        ("gloss.epochs=0", "[gloss] epochs = 0: must be a number (above 0)"),
        ("gloss.train=[]", "[gloss] train = []: must be a list of texts in quotes"),
        ("gloss.train=semcor", '[gloss] train = "semcor": must be a list of texts in quotes'),
        ("gloss.masked=1", "[gloss] masked = 1: must be true or false"),
        ("gloss.objectve=pairs", '[gloss] objectve = "pairs": unknown; did you mean objective?'),
        ("train.lexicon=x", '[train] lexicon = "x": unknown; it belongs in [gloss]'),
        ("gloss=3", "gloss = 3: must be a table, headed [gloss]"),
    ],
)
def test_wrong_values(path: Path, override: str, said: str) -> None:
    (line,) = problems(path, BOTH, override)
    assert said in line


def test_contradictions(path: Path) -> None:
    assert problems(path, BOTH, "gloss.cohesive=true") == [
        "[gloss] cohesive = true: there is no teacher; add [[teachers]], or leave it out"
    ]
    assert problems(path, BOTH + TEACHER, "gloss.cohesive=true", "gloss.masked=false") == [
        "[gloss] cohesive = true: the teachers teach masked words; it needs masked = true"
    ]
    assert problems(path, BOTH, "gloss.precision=f16", "gloss.device=cpu") == [
        '[gloss] precision = "f16": needs a GPU; use bf16 or f32 on a CPU'
    ]
    assert section(load(path, BOTH + TEACHER, "gloss.cohesive=true")).cohesive


def test_each_stage_has_its_own_fields(path: Path) -> None:
    recipe = load(path, BOTH + TEACHER)
    student, glosses = affecting(recipe), affecting(recipe, "gloss")
    assert not [name for name in student if name.startswith("gloss.")]
    assert {name.split(".")[0] for name in glosses} == {"seed", "gloss"}
    assert {"gloss.objective", "gloss.tokens", "gloss.dropout"} <= glosses.keys()
    assert not {"gloss.init", "gloss.train", "gloss.valid", "gloss.lexicon", "gloss.keep"} & glosses.keys()
    cohesive = affecting(load(path, BOTH + TEACHER, "gloss.cohesive=true"), "gloss")
    assert {"teachers", "teachers.t.prior", "distill.weighting", "distill.kd"} <= cohesive.keys()
    assert not [name for name in cohesive if name.startswith(("text.", "train.", "student."))]
    other = load(path, BOTH + TEACHER, "gloss.objective=pairs")
    assert affecting(other) == student
    assert differences(recipe, other) == ["gloss.objective"]


def test_every_field_says_whether_it_affects_the_result() -> None:
    for key, info in GlossSection.model_fields.items():
        extra: Any = info.json_schema_extra
        assert extra["affects_result"] in (True, False, "contents"), key
        assert info.description


@pytest.mark.parametrize("comments", [True, False])
@pytest.mark.parametrize(
    "more", ["", "steps = 7\n", 'valid = ["wordnet-examples/valid"]\nlimit = 9\nthreads = 2\n']
)
def test_a_written_recipe_reads_back_equal(path: Path, comments: bool, more: str) -> None:
    for text in (ALONE + more, BOTH + more):
        recipe = load(path, text)
        assert load(path.parent / "other.toml", to_toml(recipe, comments=comments)) == recipe


def test_the_template_shows_every_field(path: Path) -> None:
    shown = {line.lstrip("# ").split(" = ")[0] for line in template().split("[gloss]")[1].splitlines()}
    assert set(GlossSection.model_fields) <= shown


@given(
    st.dictionaries(
        st.sampled_from(["init", "train", "valid", "steps", "masked", "cohesive", "layout", "x"]),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.text(max_size=2))
        ),
    )
)
def test_no_table_ends_in_a_traceback(fields: dict[str, Any]) -> None:
    found = ["fine: no problem"]
    try:
        recipe_from({"name": "a", "gloss": fields}, Path("/"))
    except RecipeError as error:
        found = error.problems
    assert found
    assert all(": " in line for line in found)
