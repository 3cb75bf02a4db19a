"""The command line: help of every command, its documentation, exit codes, stdout against stderr."""

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

import limbeck
from limbeck.cli import app

DOCS = Path(__file__).parents[1] / "docs"
LIMBECK = [sys.executable, "-m", "limbeck"]
RECIPE = """name = "a"
output = "out"
[text]
train = ["t.txt"]
valid = ["v.txt"]
words = 16
[student]
layers = 1
hidden = 32
tokenizer = "train:wordpiece:300"
[train]
steps = 2
batch = 4
precision = "f32"
eval_every = 2
[eval]
passages = 8
"""
TEACHER = '[[teachers]]\nname = "t"\nmodel = "no/such/model"\n'


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = generator()
COMMANDS = [words for words in GENERATE.commands() if words]


def command(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LIMBECK, *map(str, words)], capture_output=True, text=True, timeout=170, **options
    )


def invoke(*words: object) -> Any:
    """Runs a command in this process, which has the heavy imports behind it."""
    return CliRunner().invoke(app, list(map(str, words)), prog_name="limbeck")


def refused(*words: object) -> str:
    """What a command that must refuse says: to stderr only, no traceback, exit code 2."""
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_is_documented(words: list[str]) -> None:
    text = GENERATE.help_text(words)
    assert text.startswith(f"Usage: limbeck {' '.join(words)}")
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert f"## limbeck {' '.join(words)}\n\n```text\n{text}\n```" in page


def test_the_commands_are_those_promised_and_their_page_is_current() -> None:
    names = "init check run pretrain distill finetune gloss score wsd spin export".split()  # noqa: SIM905
    names += "report demo env eval data store ls diff detect".split()  # noqa: SIM905
    names += [
        "eval models",
        "eval mlm",
        "eval wsd",
        "eval cost",
        "eval glue",
        "eval paraphrase",
        "data wordnet",
        "detect score",
        "detect train",
        "store build",
        "store info",
        "store verify",
    ]
    assert {" ".join(words) for words in COMMANDS} == set(names)
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == GENERATE.cli_page(), "run `make docs`"


def test_help_is_quick() -> None:
    """Under 0.5 s of a processor (0.12 s measured), whatever else runs; the best of five tries."""
    times = []
    for _ in range(5):
        before = os.times()
        assert command("--help").returncode == 0
        after = os.times()
        times.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert 0 < min(times) < 0.5


def test_version() -> None:
    assert command("--version").stdout == f"limbeck {limbeck.__version__}\n"


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["run"], ["run", "r.toml", "--nonsense"], ["eval", "mlm", "m"]]
)
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    assert "Usage: limbeck" in refused(*words)


def test_every_public_name_is_there() -> None:
    for name in limbeck.__all__:
        assert getattr(limbeck, name) is not None
    assert set(limbeck.__all__) <= set(dir(limbeck))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = limbeck.nonsense


def test_init_writes_a_recipe_and_never_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "recipe.toml"
    done = command("init", path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "next: limbeck check" in done.stderr
    written = path.read_text(encoding="utf-8")
    assert "[distill]" in written
    assert (
        refused("init", path) == f"limbeck: {path} is there already; name another file: limbeck init PATH\n"
    )
    assert path.read_text(encoding="utf-8") == written


@pytest.mark.parametrize("verb", ["check", "run", "pretrain", "distill"])
def test_a_wrong_recipe_is_refused_with_all_that_is_wrong(verb: str, recipe: Path) -> None:
    said = refused(verb, recipe, "--set", "train.steps=0", "--set", "distill.mask=1", "--set", "foo=1")
    assert [line.split(":")[0] for line in said.splitlines()] == ["limbeck"] * 3
    assert "steps = 0" in said
    assert "mask = 1" in said
    assert "foo = 1" in said
    assert "cannot read the recipe" in refused(verb, recipe.parent / "none.toml")
    recipe.write_text("name = ", encoding="utf-8")
    assert "is not TOML" in refused(verb, recipe)


@pytest.mark.parametrize("verb", ["check", "run", "pretrain"])
def test_missing_text_is_refused(verb: str, recipe: Path) -> None:
    said = refused(verb, recipe)
    assert "t.txt" in said
    assert len(said.splitlines()) == 1
    assert not (recipe.parent / "out").exists()


def test_pretrain_and_distill_refuse_the_other_kind_of_recipe(recipe: Path) -> None:
    assert "has no [[teachers]]; add some, or use `limbeck pretrain`" in refused("distill", recipe)
    recipe.write_text(RECIPE + TEACHER, encoding="utf-8")
    assert "has teachers; use `limbeck distill`" in refused("pretrain", recipe)


@pytest.mark.parametrize("verb", ["run", "pretrain", "distill"])
def test_extend_must_be_at_least_1(verb: str, recipe: Path) -> None:
    assert "--extend" in refused(verb, recipe, "--extend", "0")


def test_report_refuses_what_is_no_run(tmp_path: Path) -> None:
    assert len(refused("report", tmp_path / "none").splitlines()) == 1


def test_eval_refuses_missing_text_and_settings_out_of_range(tmp_path: Path) -> None:
    assert "none.txt" in refused("eval", "mlm", tmp_path, "--text", tmp_path / "none.txt")
    assert "mask is 1.0" in refused("eval", "mlm", tmp_path, "--text", "v.txt", "--mask", "1")


@pytest.mark.parametrize(
    ("option", "value"), [("words", "1"), ("words", "70000"), ("seed", "-1"), ("output", "folder")]
)
def test_eval_refuses_before_it_measures(option: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    value = str(tmp_path / value) if option == "output" else value
    said = refused("eval", "mlm", tmp_path / "none", "--text", tmp_path / "none.txt", f"--{option}", value)
    assert (value if option == "output" else f"'--{option}'") in said
    assert "none.txt" not in said


def test_eval_in_python_refuses_the_same(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("some text", encoding="utf-8")
    for option, value, words in (
        ("words", 1, "words is 1; it must be from 2 to 4096"),
        ("words", 70_000, "words is 70000"),
        ("min_words", 97, "min_words is 97; it must be from 1 to words, 96"),
        ("min_words", 0, "min_words is 0"),
        ("seed", -1, "seed is -1; it must be 0 or more"),
    ):
        with pytest.raises(limbeck.UserError, match=words):
            limbeck.evaluate_files(["none"], [str(tmp_path / "t.txt")], **{option: value})


def test_data_wordnet_says_how_it_is_found(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloaded(target: Path, **_: object) -> Path:
        return target.resolve()  # without the network

    monkeypatch.setattr("limbeck.lexicon.wordnet.download_wordnet", downloaded)
    elsewhere = tmp_path / "words of mine"
    assert f"set LIMBECK_WORDNET='{elsewhere}'" in invoke("data", "wordnet", "--output", elsewhere).stderr
    assert invoke("data", "wordnet").stderr == ""
    assert invoke("data", "wordnet", "--output", cache / "wordnet").stderr == ""


@pytest.mark.parametrize(
    "words", [["run", "RECIPE"], ["demo", "--output", "OUT"]], ids=lambda words: words[0]
)
def test_divergence_is_one_line_and_exit_code_1(
    words: list[str], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object, **__: object) -> None:
        raise limbeck.TrainingDiverged("the loss is nan in step 3")

    monkeypatch.setattr("limbeck.pipeline.run_stages", diverges)
    monkeypatch.setattr("limbeck.pipeline.demo.run_demo", diverges)
    places = {"RECIPE": str(recipe), "OUT": str(recipe.parent / "demo")}
    result = invoke(*(places.get(word, word) for word in words))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "limbeck: the loss is nan in step 3\n"


def test_data_wordnet_refuses_a_folder_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused("data", "wordnet", "--output", tmp_path / "file" / "wordnet")
    assert "cannot write" in said


def test_demo_refuses_a_wrong_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_WORDNET", str(tmp_path))
    assert "LIMBECK_WORDNET" in refused("demo", "--output", tmp_path / "demo")


def test_env_as_table_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_WORDNET", str(tmp_path))
    done = invoke("env", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["wordnet"].startswith("not found")
    assert found["versions"]["limbeck"] == limbeck.__version__
    shown = invoke("env").stdout
    assert found["cache"] in shown
    assert found["versions"]["torch"] in shown


def test_a_reader_of_stdout_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen([*LIMBECK, "env"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    assert process.wait(timeout=170) == 0


def test_a_bug_gives_a_traceback_and_exit_code_1(recipe: Path) -> None:
    """A user may only see this for our own mistakes; here a broken installation stands for one."""
    code = "import sys; sys.modules['limbeck.recipe'] = None; from limbeck.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", recipe], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def write_text(folder: Path) -> None:
    sentence = "the old cat sat on a red mat while one dog ran far over green hills to see many small birds"
    words = sentence.split()
    for name, count, step in (("t.txt", 300, 7), ("v.txt", 40, 11)):
        lines = [
            " ".join(words[(i * step + j * (i % 5 + 1)) % len(words)] for j in range(12))
            for i in range(count)
        ]
        (folder / name).write_text("\n\n".join(lines), encoding="utf-8")


def test_pretrain_report_and_eval_from_one_end_to_the_other(recipe: Path) -> None:
    write_text(recipe.parent)
    planned = invoke("check", recipe, "--json")
    assert planned.exit_code == 0, planned.stderr
    assert json.loads(planned.stdout)["steps"] == 2
    trained = invoke("pretrain", recipe, "--json")
    assert trained.exit_code == 0, trained.stderr
    assert json.loads(trained.stdout)["cost"]["steps"] == 2
    model = recipe.parent / "out" / "model"
    assert (model / "model.safetensors").is_file()

    again = invoke("pretrain", recipe)
    assert again.exit_code == 0, again.stderr
    assert "nothing to do" in again.stderr
    assert "nats/word" in again.stdout

    changed = invoke("pretrain", recipe, "--set", "train.learning_rate=1e-4")
    assert changed.exit_code == 2
    assert "train.learning_rate" in changed.stderr
    longer = invoke("pretrain", recipe, "--extend", "2", "--json")
    assert longer.exit_code == 0, longer.stderr
    assert json.loads(longer.stdout)["cost"]["steps"] == 4

    measured = invoke(
        "eval", "mlm", model, "--text", recipe.parent / "v.txt", "--output", recipe.parent / "e.json"
    )
    assert measured.exit_code == 0, measured.stderr
    assert "nats/word" in measured.stdout
    assert json.loads((recipe.parent / "e.json").read_text())["task"] == "mlm"
    short = invoke("eval", "mlm", model, "--text", recipe.parent / "v.txt", "--words", "3", "--json")
    assert short.exit_code == 0, short.stderr
    assert json.loads(short.stdout)["data"]["min_words"] == 3
    reported = invoke("report", recipe.parent / "out", "--json")
    assert reported.exit_code == 0, reported.stderr
    assert Path(json.loads(reported.stdout)["report"]).is_file()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_exits_with_130_and_says_how_to_go_on(recipe: Path) -> None:
    write_text(recipe.parent)
    words = [*LIMBECK, "run", str(recipe), "--set", "train.steps=100000", "--set", "train.log_every=1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("step 1 "):
            process.send_signal(signal.SIGINT)
            break
    said += process.stderr.read()
    assert process.wait(timeout=170) == 130
    assert "Traceback" not in said
    assert f"limbeck run {recipe} --set train.steps=100000" in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="large pages of Linux")
@pytest.mark.parametrize(("set_before", "asks"), [(None, True), ("0", False)])
def test_large_tensors_get_large_pages(set_before: str | None, asks: bool) -> None:
    """Unless the user has said otherwise: `hg` marks memory for which the kernel was asked."""
    code = """
        import limbeck, re, torch
        large = torch.ones(1 << 24)
        for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read(), flags=re.M)[1:]:
            start, end = (int(end, 16) for end in part.split()[0].split("-"))
            if start <= large.data_ptr() < end:
                print("hg" in re.search(r"^VmFlags:(.*)$", part, re.M)[1].split())
    """
    environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    if set_before is not None:
        environment["THP_MEM_ALLOC_ENABLE"] = set_before
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(asks), done.stderr
