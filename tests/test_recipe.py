"""The recipe: read, checked all at once, overridden, compared, written back."""

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from limbeck.errors import RecipeError, UserError
from limbeck.recipe import (
    Recipe,
    affecting,
    differences,
    extended,
    fingerprint,
    load_recipe,
    recipe_from,
    template,
    to_toml,
)
from limbeck.recipe_fields import StudentSize
from limbeck.recipe_text import toml_value

DOCS = Path(__file__).parents[1] / "docs"
MINIMAL = 'name = "a"\n[text]\ntrain = ["t.txt"]\nvalid = ["v.txt"]\n'
TEACHERS = '[[teachers]]\nname = "fiction"\nmodel = "a/b"\n[[teachers]]\nname = "facts"\nmodel = "x/y/z"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipe.toml"


def load(path: Path, text: str, *overrides: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


def problems(path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(path, text, *overrides)
    return caught.value.problems


def test_the_template_is_a_recipe_and_shows_every_field(path: Path) -> None:
    recipe = load(path, template())
    assert recipe.name == "small-student"
    assert [teacher.name for teacher in recipe.teachers] == ["encyclopedia", "fiction"]
    tables = {"text", "student", "teachers", "distill", "train", "eval", "gloss", "pretrain", "report"}
    shown = {line.lstrip("# ").split(" = ")[0] for line in template().splitlines() if " = " in line}
    sections = (recipe.text, recipe.student, recipe.teachers[0], recipe.distill, recipe.train)
    for section in (recipe, *sections, recipe.eval, recipe.pretrain[0], recipe.report):
        values = {key for key in type(section).model_fields if key not in tables}
        assert values <= shown
    assert all(len(line) <= 100 for line in template().splitlines())


def test_the_template_with_every_comment_lifted_names_only_known_fields(path: Path) -> None:
    """A commented field, uncommented, must be spelt right and have a right value (init excludes others)."""
    lines = [
        line[2:] if line.startswith("# ") and " = " in line and "init" not in line else line
        for line in template().splitlines()
    ]
    recipe = load(path, "\n".join(lines))
    assert recipe.student.intermediate == 768
    assert recipe.train.threads == 2


def test_defaults_that_depend_on_other_fields(path: Path) -> None:
    recipe = load(path, MINIMAL + "[student]\nhidden = 192\n[train]\nbatch = 8\n[distill]\nkd = 0.5\n")
    assert (recipe.student.family, recipe.student.layers, recipe.student.heads) == ("modernbert", 4, 3)
    assert recipe.student.size == StudentSize("modernbert", 4, 192, 3, None, 512)
    assert recipe.student.tokenizer == "train:wordpiece:8000"
    assert recipe.train.micro_batch == 8
    assert recipe.distill.kd_final == 0.5
    assert recipe.output == str(path.parent / "runs" / "a")
    taken = load(path, MINIMAL + '[student]\ninit = "x/y"\nlayers = [0, 2]\n').student
    assert (taken.family, taken.hidden, taken.heads, taken.tokenizer, taken.layers) == (None,) * 4 + ((0, 2),)
    assert load(path, MINIMAL + '[student]\ninit = "x/y"\nlayers = [0, 2]\n').student.taken_layers == (0, 2)


@pytest.mark.parametrize("hidden", [1, 7, 65, 100, 130, 768])
def test_default_heads_divide_the_width(path: Path, hidden: int) -> None:
    heads = load(path, MINIMAL + f"[student]\nhidden = {hidden}\n").student.heads
    assert heads
    assert hidden % heads == 0


def test_paths_start_from_the_recipes_folder(path: Path) -> None:
    (path.parent / "local").mkdir()
    text = (
        'name = "a"\noutput = "out"\n[text]\ntrain = ["c/*.txt", "wordnet:noun/train"]\n'
        'valid = ["/v.txt", "../w.txt"]\n'
        '[student]\ninit = "local"\n' + TEACHERS
    )
    recipe = load(path, text)
    folder = path.parent
    assert recipe.output == str(folder / "out")
    assert recipe.text.train == (f"{folder}/c/*.txt", "wordnet:noun/train")
    assert recipe.text.valid == ("/v.txt", str(folder.parent / "w.txt"))
    assert recipe.student.init == str(folder / "local")
    assert [teacher.model for teacher in recipe.teachers] == ["a/b", str(folder / "x/y/z")]


def test_a_model_that_a_pretrain_recipe_makes_is_a_path_before_it_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`a/model` reads like a hub id: the outputs of the recipes before this one tell that it is none."""
    folder = path.parent
    (folder / "before").mkdir()
    (folder / "a.toml").write_text(
        'name = "a"\noutput = "a"\n[[pretrain]]\nrecipe = "before/b.toml"\n[[pretrain]]\nrecipe = "a.toml"\n'
    )
    (folder / "before" / "b.toml").write_text('name = "b"\noutput = "../b"\n')
    text = (
        'name = "c"\noutput = "c"\n[[pretrain]]\nrecipe = "a.toml"\n[[pretrain]]\nrecipe = "gone.toml"\n'
        '[text]\ntrain = ["t.txt"]\nvalid = ["v.txt"]\n[eval]\n'
        'beside = ["c/model", "ab/model", "google/bert"]\n'
        '[[teachers]]\nname = "first"\nmodel = "a/model"\n[[teachers]]\nname = "second"\nmodel = "b/model"\n'
    )
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recipe = load(path, text)
    assert [one.model for one in recipe.teachers] == [str(folder / "a/model"), str(folder / "b/model")]
    assert recipe.eval.beside == (str(folder / "c/model"), "ab/model", "google/bert")


def test_a_folder_with_signs_of_patterns_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "[old] runs"
    folder.mkdir()
    (folder / "t.txt").touch()
    recipe = load(folder / "r.toml", MINIMAL.replace('["t.txt"]', '["*.txt", "t.txt"]'))
    from glob import glob

    assert glob(recipe.text.train[0]) == [str(folder / "t.txt")]
    assert Path(recipe.text.train[1]).is_file()


def test_overrides(path: Path) -> None:
    recipe = load(
        path,
        MINIMAL + TEACHERS,
        "seed=7",
        "train.steps = 5",
        "distill.weighting=gold",
        "teachers.fiction.prior=2",
        "teachers.1.prior=0.5",
        'text.train=["x.txt", "y.txt"]',
        "student.tokenizer=train:bpe:500:uncased",
        "train.steps=6",
    )
    assert recipe.seed == 7
    assert recipe.train.steps == 6
    assert recipe.distill.weighting == "gold"
    assert [teacher.prior for teacher in recipe.teachers] == [2.0, 0.5]
    assert recipe.text.train == tuple(str(path.parent / name) for name in ("x.txt", "y.txt"))
    assert recipe.student.tokenizer == "train:bpe:500:uncased"
    assert load(path, MINIMAL + TEACHERS, "teachers=[]").teachers == ()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.steps", "must be field=value"),
        ("=3", "must be field=value"),
        ("train.=3", "must be field=value"),
        ("train.steps.more=3", "there is no such field"),
        ("teachers.none.prior=1", "no teacher none; there are: fiction, facts"),
        ("teachers.fiction=1", "there is no such field"),
        ("name.x=1", "there is no such field"),
        ("train.stpes=3", "[train] stpes = 3: unknown; did you mean steps?"),
        ("seed=1\nname = 2", 'seed = "1\\nname = 2": must be a whole number'),
    ],
)
def test_wrong_overrides(path: Path, override: str, said: str) -> None:
    (line,) = problems(path, MINIMAL + TEACHERS, override)
    assert said in line


WRONG: list[tuple[str, str]] = [
    ("train.steps=0", "[train] steps = 0: must be a whole number (at least 1)"),
    ("train.steps=1.5", "[train] steps = 1.5: must be a whole number (at least 1)"),
    ("train.steps=true", "[train] steps = true: must be a whole number (at least 1)"),
    ("train.learning_rate=nan", "[train] learning_rate = nan: must be a number (above 0)"),
    (
        "train.betas=[0.9, 1.0]",
        "[train] betas = [0.9, 1.0]: must be two numbers, each at least 0 and below 1",
    ),
    ("train.warmup=1.0", "[train] warmup = 1.0: must be a number (at least 0 and below 1)"),
    ("distill.mask=0", "[distill] mask = 0: must be a number (above 0 and below 1)"),
    ("distill.mask=1", "[distill] mask = 1: must be a number (above 0 and below 1)"),
    ("distill.kd=1.1", "[distill] kd = 1.1: must be a number from 0 to 1"),
    ("distill.temperature=0", "[distill] temperature = 0: must be a number (above 0)"),
    (
        "distill.weighting=foo",
        '[distill] weighting = "foo": must be one of uniform, static, gold, evidence, entropy, max_prob, ',
    ),
    ("distill.calibrate=1", "[distill] calibrate = 1: must be true or false"),
    ("text.train=a.txt", '[text] train = "a.txt": must be a list of texts in quotes, such as ["a.txt"]'),
    ("text.words=1", "[text] words = 1: must be a whole number from 2 to 4096"),
    ("text.min_words=97", "[text] min_words = 97: must be at most words, 96"),
    ("name=a/b", 'name = "a/b": must be a text of letters, digits, . - and _'),
    ("seed=-1", "seed = -1: must be a whole number, at least 0 and below 2^63"),
    ("steps=3", "steps = 3: unknown; it belongs in [train]"),
    ("distill.seed=3", "[distill] seed = 3: unknown; it belongs at the top of the file"),
    ("text.prior=3", "[text] prior = 3: unknown; it belongs in [[teachers]]"),
    ("tain.steps=3", 'tain = { "steps" = 3 }: unknown; did you mean train?'),
    ("train=3", "train = 3: must be a table, headed [train]"),
    ("eval=3", "eval = 3: must be a table, headed [eval]"),
    ("teachers=3", "teachers = 3: must be tables, each headed [[teachers]]"),
    ("teachers=[3]", "[[teachers]] number 1 = 3: must be tables, each headed [[teachers]]"),
    ("teachers.facts.name=fiction", '[[teachers]] name = "fiction": 2 teachers have it; give each its own'),
    ("teachers.facts.prior=-1", '[[teachers]] "facts" prior = -1: must be a number (at least 0)'),
    (
        "teachers.facts.device=gpu",
        '"facts" device = "gpu": must be one of auto, cpu, cuda, or one GPU such as cuda:1',
    ),
    ("student.layers=[1]", "[student] layers = [1]: must be a number of layers; a list takes them from init"),
    ("student.heads=3", "[student] heads = 3: must divide hidden, 256"),
    ("student.tokenizer=train:bpo:8000", "must be train:KIND:SIZE"),
    ("student.tokenizer=train:bpe:299", "must be train:KIND:SIZE"),
    ("student.tokenizer=train:bpe:8000:lower", "must be train:KIND:SIZE"),
    (
        "student.tokenizer=teacher:fact",
        'tokenizer = "teacher:fact": there is no such teacher; there are: fiction, facts',
    ),
    (
        "student.init=teacher:x",
        '[student] init = "teacher:x": there is no such teacher; there are: fiction, facts',
    ),
    ("train.micro_batch=65", "[train] micro_batch = 65: must be at most batch, 64"),
]


@pytest.mark.parametrize(("override", "said"), WRONG, ids=[override for override, _ in WRONG])
def test_wrong_values_say_where_and_what_is_allowed(path: Path, override: str, said: str) -> None:
    (line,) = problems(path, MINIMAL.replace('["v.txt"]', '["v.txt"]\n') + TEACHERS, override)
    assert said in line


def test_all_that_is_wrong_is_said_at_once(path: Path) -> None:
    """Wrong values, unknown keys, wrong overrides and contradictions between right values, a line each."""
    overrides = [override for override, _ in WRONG if "=" in override]
    once = [
        "train.steps=0",
        "distill.mask=1",
        "foo=1",
        "teachers.x.prior=1",
        "train.batch=8",
        "train.micro_batch=9",
    ]
    once += ["teachers.facts.name=fiction", "student.init=x", "student.hidden=64", "student.layers=3"]
    said = problems(path, MINIMAL + TEACHERS, *once)
    for expected in (
        "--set",
        "steps = 0",
        "mask = 1",
        "foo = 1",
        "micro_batch = 9",
        "2 teachers have it",
        "hidden = 64: does not go with init",
        "layers = 3: with init",
    ):
        assert sum(expected in line for line in said) == 1, expected
    assert len(said) == 8
    assert (
        len(problems(path, "", *overrides)) > 10
    )  # any heap of mistakes is told, and never ends in a traceback


def test_missing_fields(path: Path) -> None:
    assert problems(path, "") == [
        "name: missing; it must be a text of letters, digits, . - and _",
        '[text] train: missing; it must be a list of texts in quotes, such as ["a.txt"]',
        '[text] valid: missing; it must be a list of texts in quotes, such as ["a.txt"]',
    ]
    assert problems(path, MINIMAL + '[[teachers]]\nname = "a"\n[[teachers]]\nmodel = "b"\n') == [
        '[[teachers]] "a" model: missing; it must be a text in quotes, not empty',
        "[[teachers]] number 2 name: missing; it must be a text of letters, digits, - and _",
    ]


def test_contradictions(path: Path) -> None:
    assert problems(path, MINIMAL + TEACHERS, "teachers.0.prior=0", "teachers.1.prior=0") == [
        "[[teachers]] prior: the priors sum to 0; give at least one teacher a prior above 0"
    ]
    f16 = ["train.precision=f16", "train.device=cpu", "teachers.0.precision=f16", "teachers.0.device=cpu"]
    assert problems(path, MINIMAL + TEACHERS, *f16) == [
        '[[teachers]] "fiction" precision = "f16": needs a GPU; use bf16 or f32 on a CPU',
        '[train] precision = "f16": needs a GPU; use bf16 or f32 on a CPU',
    ]
    (line,) = problems(path, MINIMAL, "student.init=x", "student.tokenizer=y")
    assert "with init it is that model's own" in line


def test_a_recipe_made_in_python_is_checked_too(path: Path) -> None:
    recipe = load(path, MINIMAL)
    with pytest.raises(ValidationError, match="must be at most batch"):
        Recipe.model_validate(recipe.model_dump() | {"train": {"batch": 2, "micro_batch": 4}})
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = ", "is not TOML: Invalid value (at end of document)"),
        (b'name = "a"\n\n[text\n', "line 3"),
        (b"name = 1\nname = 2\n", "line 2"),
        (b"a = 1\n\xff\xfe", "line 2 is not UTF-8"),
    ],
)
def test_a_file_that_is_no_toml(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path.name}.*") as caught:
        load_recipe(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_or_a_folder(path: Path) -> None:
    for wrong in (path, path.parent):
        with pytest.raises(UserError, match="cannot read the recipe"):
            load_recipe(wrong)


def test_the_fingerprint_follows_the_fields_that_affect_the_result(path: Path) -> None:
    recipe = load(path, MINIMAL + TEACHERS)
    same = [
        "name=b",
        "output=elsewhere",
        "train.log_every=3",
        "train.keep=9",
        "text.workers=2",
        "train.threads=3",
    ]
    same += ["teachers.0.batch=3", 'text.train=["moved.txt"]', "teachers.0.model=moved"]
    for override in same:
        other = load(path, MINIMAL + TEACHERS, override)
        assert differences(recipe, other) == []
        assert fingerprint(recipe) == fingerprint(other)
    fields = ["seed", "train.steps", "distill.kd_final", "teachers.fiction.prior", "student.layers"]
    for field in fields:
        other = load(path, MINIMAL + TEACHERS, f"{field}=0" if field.endswith("prior") else f"{field}=1")
        assert differences(recipe, other) == [field]
        assert fingerprint(recipe) != fingerprint(other)
    renamed = differences(recipe, load(path, MINIMAL + TEACHERS, "teachers.0.name=novels"))
    assert {"teachers", "teachers.fiction.prior", "teachers.novels.prior"} <= set(renamed)


def test_every_field_says_whether_it_affects_the_result(path: Path) -> None:
    recipe = load(path, MINIMAL + TEACHERS)
    for section in (
        recipe.text,
        recipe.student,
        recipe.teachers[0],
        recipe.distill,
        recipe.train,
        recipe.eval,
    ):
        for key, info in type(section).model_fields.items():
            extra: Any = info.json_schema_extra
            assert extra["affects_result"] in (True, False, "contents", "stage"), key
            assert info.description
    assert affecting(recipe)["teachers"] == ["fiction", "facts"]


def test_extended(path: Path) -> None:
    recipe = load(path, MINIMAL)
    assert extended(recipe, 500).train.steps == 2500
    assert differences(recipe, extended(recipe, 500)) == ["train.steps"]


@pytest.mark.parametrize("comments", [True, False])
def test_a_written_recipe_reads_back_equal(path: Path, comments: bool) -> None:
    text = MINIMAL.replace("t.txt", 'a \\"b\\" \\\\ ü 😀 \\u007f.txt')
    for more in (
        "",
        TEACHERS,
        '[student]\ninit = "m"\nlayers = [0, 3]\n[train]\nthreads = 3\nlearning_rate = 1e-05\n',
    ):
        recipe = load(path, text + more)
        again = load(path.parent / "elsewhere.toml", to_toml(recipe, comments=comments))
        assert again == recipe


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_written_as_toml(text: str) -> None:
    assert tomllib.loads(f"value = {toml_value(text)}") == {"value": text}


@given(st.floats(allow_nan=False))
def test_any_number_can_be_written_as_toml(number: float) -> None:
    assert tomllib.loads(f"value = {toml_value(number)}") == {"value": number}


@given(
    st.dictionaries(
        st.sampled_from(["name", "seed", "text", "student", "teachers", "distill", "train", "eval", "x"]),
        st.recursive(
            st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=3)),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(
                        ["name", "prior", "layers", "init", "batch", "train", "words", "tokenizer", "y"]
                    ),
                    inner,
                    max_size=4,
                ),
            ),
            max_leaves=8,
        ),
    )
)
def test_no_recipe_ends_in_a_traceback(data: dict[str, Any]) -> None:
    found: list[str] = ["fine: no problem"]
    try:
        recipe_from(data, Path("/"))
    except RecipeError as error:
        found = error.problems
    assert found
    assert all(": " in line for line in found)


def test_the_reference_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (DOCS / "recipe.md").read_text(encoding="utf-8") == generate.reference_page(), "run `make docs`"


def test_without_teachers_what_concerns_them_affects_nothing(path: Path) -> None:
    alone = load(path, MINIMAL)
    assert not alone.teachers
    assert differences(alone, load(path, MINIMAL, "distill.weighting=uniform", "distill.kd=0.5")) == []
    assert differences(alone, load(path, MINIMAL, "distill.mask=0.3")) == ["distill.mask"]
