"""The page: joined by model, whole in itself, escaped, accessible; the card; the documented results."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from limbeck.cli import app
from limbeck.errors import UserError
from limbeck.report.card import write_card
from limbeck.report.figures import Point, efficient, frontier
from limbeck.report.inline import inline
from limbeck.report.joined import Model, columns, covering, join
from limbeck.report.markdown import last_part, pathless
from limbeck.report.page import write_report
from limbeck.report.sources import read_sources
from limbeck.tasks.efficiency import CostSettings, measure_models
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.mlm import evaluate_files
from limbeck.tasks.rows import COLUMNS, rows_of
from tests.page_sources import COST, evaluation, measured, trained

ROOT = Path(__file__).parents[1]
VOID = {"meta", "br", "link", "img", "hr", "input"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def runs(folder: Path, checkpoint: Callable[..., Path]) -> dict[str, Path]:
    return trained(folder, checkpoint)


@pytest.fixture(scope="module")
def tasks(folder: Path, runs: dict[str, Path], checkpoint: Callable[..., Path]) -> dict[str, Any]:
    return measured(folder, runs, checkpoint)


@pytest.fixture(scope="module")
def evaluated(folder: Path, runs: dict[str, Path], tasks: dict[str, Any]) -> Path:
    paths = {str(runs[name] / "model"): name for name in ("taught", "alone", "senses")}
    models = [{"name": path, "path": path, "fingerprint": name} for path, name in paths.items()]
    return evaluation(folder / "eval", tasks, models)


class Page(HTMLParser):
    """What a page holds; fails where tags do not fit together or an id stands twice."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.said = ""
        self.feed(self.text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.attributes.append((tag, named))
        if "id" in named:
            self.ids.append(named["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.said += f"{data} "

    def having(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [a for t, a in self.attributes if t == tag and attributes.items() <= a.items()]


@pytest.fixture(scope="module")
def page(runs: dict[str, Path], evaluated: Path, folder: Path) -> Page:
    return Page(write_report([*runs.values(), evaluated], folder / "page.html"))


def test_one_page_of_all(page: Page, runs: dict[str, Path]) -> None:
    titles = re.findall(r"<h2[^>]*>([^<]+)", page.text)
    assert titles == [
        "Models", "Quality against cost", "Masked words", "Word senses", "GLUE", "Paraphrase detection",
        "Classification", "What running costs", "Learning curves", "Teachers", "What training cost",
        "What was run", "How to reproduce",
    ]  # fmt: skip
    results = json.loads((runs["taught"] / "results.json").read_text())
    for part in ("headline", "all_words"):
        assert f"{results['words']['models'][0][part]['nats']:.3f}" in page.said
    for said in ("commonest answer", "TF-IDF", "first sense", "32 training texts, 2 words", "limbeck gloss"):
        assert said in page.said, said


def test_the_page_asks_for_nothing(page: Page) -> None:
    names = {"src", "href", "action", "data", "srcset", "poster", "xlink:href", "style"}
    for tag, attributes in page.attributes:
        for name in names & attributes.keys():
            value = attributes[name]
            assert name != "href" or value.startswith("#"), (tag, value)
            assert "://" not in value, (tag, value)
    assert not {"script", "link", "iframe", "object", "img", "base"} & {tag for tag, _ in page.attributes}
    assert "@import" not in page.text
    assert page.having("meta", content="default-src 'none'; style-src 'unsafe-inline'")
    known = set(page.ids)
    for _, attributes in page.attributes:
        for name in ("href", "aria-labelledby", "aria-describedby"):
            if name in attributes:
                assert attributes[name].removeprefix("#") in known
    for target in re.findall(r"url\(#([^)]+)\)", page.text):
        assert target in known


def test_every_figure_has_words(page: Page) -> None:
    figures = page.having("svg", role="img")
    assert len(figures) == 2 * len(page.having("figure")) >= 10, "wide and narrow"
    assert len(page.having("svg")) == len(figures)
    for name in ("title", "desc"):
        texts = re.findall(rf'<{name} id="f[^"]*">([^<]+)</{name}>', page.text)
        assert len(texts) == len(figures)
    assert not re.search(r"(?:fill|stroke): ?#", page.text), "colours follow the page"
    for scrolled in page.having("div", role="region"):
        assert scrolled["tabindex"] == "0"


def test_models_are_joined_by_weights_and_path(runs: dict[str, Path], evaluated: Path) -> None:
    models = join(read_sources([*runs.values(), evaluated]))
    named = {model.name: model for model in models}
    assert {"taught", "alone", "senses", "classifier", "first", "second"} <= named.keys()
    assert (named["taught"].role, named["first"].role, named["alone"].role) == ("student", "teacher", "model")
    assert named["senses"].role == "student", "it was trained on from one"
    assert {row["task"] for row in named["senses"].rows} >= {"wsd", "mlm", "run"}
    assert [m.name for m in models if "taught" in m.name] == ["taught"]
    held = columns(models)
    for column in held:
        assert len({(row["task"], row["data"], row["metric"]) for row in column.cells.values()}) == 1
    of_words = [column for column in held if column.metric == "nats per masked word"]
    texts = {column.data for column in of_words}
    assert len(texts) == len(of_words) > 3, "a text, a choice of words: a column of its own"


def test_columns_that_hold_most_come_first() -> None:
    def row(model: str, data: str) -> dict[str, Any]:
        values = dict.fromkeys(COLUMNS) | {"model": model, "role": "model", "task": "mlm", "data": data}
        return values | {"metric": "nats", "value": 1.0, "better": "lower", "unit": "nats"}

    held = {"a": "xy", "b": "x", "c": "z", "d": "z"}
    models = [Model(name, {"model"}, [row(name, data) for data in where]) for name, where in held.items()]
    made = columns(models)
    assert [column.data for column in covering(made, 3)] == ["x", "z"]
    assert [column.data for column in covering(made, 1)] == ["x"]


def test_the_frontier() -> None:
    points = [
        Point("a", 1, 5.0),
        Point("b", 2, 4.0),
        Point("c", 2, 6.0),
        Point("d", 3, 4.0),
        Point("e", 9, 1.0),
    ]
    assert [point.label for point in efficient(points, "lower")] == ["a", "b", "e"]
    assert [point.label for point in efficient(points, "higher")] == ["a", "c"]
    svg = frontier(points, title="", cost="x", quality="y", better="lower", narrow=True)
    made = inline(svg, "f1", "<title>", 'a & "b"', "narrow")
    assert "&lt;title&gt;" in made
    assert "a &amp; " in made


EVIL = '<script>alert(1)</script>"onload="x'


def test_text_of_files_is_escaped(runs: dict[str, Path], evaluated: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    shutil.copytree(runs["taught"], evil, ignore=shutil.ignore_patterns("checkpoints", "best", "model"))
    for name in ("results.json", "recipe.toml", "environment.json", "metrics.jsonl"):
        text = (evil / name).read_text(encoding="utf-8")
        quoted = json.dumps(EVIL)[1:-1]
        text = text.replace('"first"', f'"{quoted}"').replace("/first", f"/{quoted}").replace("tiny", quoted)
        (evil / name).write_text(text.replace("AMD", quoted), encoding="utf-8")
    own = json.loads((evil / "results.json").read_text())["words"]["models"][0]["weights"]
    left = {"version": 2, "metric": EVIL, "data": {"texts": [EVIL]}, "all": {"nats": 5.0, "weights": own}}
    left["teachers"] = [
        {"name": EVIL, "without": 5.5, "usefulness": 0.5, "low": 0.4, "high": 0.6, "weights": EVIL}
    ]
    (evil / "leave_one_out.json").write_text(json.dumps(left))
    results = (evaluated / "results.json").read_text(encoding="utf-8").replace('"wnli"', json.dumps(EVIL))
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "results.json").write_text(results, encoding="utf-8")
    made = Page(write_report([evil, tmp_path / "eval"], tmp_path / "page.html"))
    assert "<script" not in made.text
    assert "alert(1)" in made.said
    assert not any("onload" in attributes for _, attributes in made.attributes)


def test_usefulness_where_it_was_measured(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["taught"], folder, ignore=shutil.ignore_patterns("checkpoints", "best", "model"))
    assert "most useful teacher" not in Page(write_report([folder], tmp_path / "a.html")).said
    own = json.loads((folder / "results.json").read_text())["words"]["models"][0]["weights"]
    data = {"texts": ["/home/somebody/held out.txt"], "fingerprint": "0123456789abcdef"}
    left = {"version": 2, "metric": "nats per masked word", "data": data | {"passages": 1024, "words": 9876}}
    left["all"] = {"nats": 5.0, "weights": own}
    left["teachers"] = [
        {"name": "first", "without": 5.25, "usefulness": 0.25, "low": 0.1, "high": 0.4, "weights": "1"},
        {"name": "second", "without": 4.9, "usefulness": -0.1, "low": -0.2, "high": 0.0, "weights": "2"},
    ]
    (folder / "leave_one_out.json").write_text(json.dumps(left))
    said = Page(write_report([folder], tmp_path / "b.html")).said
    for words in ("first is the most useful teacher", "+0.250", "-0.100", "-0.200 to +0.000"):
        assert words in said, words
    assert "Measured on: 9,876 words of 1,024 passages of held out.txt (01234567)." in said
    for private in ("{'texts'", "/home"):
        assert private not in said.split("Measured on:")[1][:200]
    for changed, problem in (
        ({"all": {"nats": 5.0, "weights": "another"}}, "was trained on since"),
        ({"all": {"nats": 5.0}}, "did not say of which weights"),
    ):
        (folder / "leave_one_out.json").write_text(json.dumps(left | changed))
        said = Page(write_report([folder], tmp_path / "b.html")).said
        assert problem in said
        assert "most useful teacher" not in said


def test_an_unfinished_run_and_the_same_twice(runs: dict[str, Path], tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    for name in ("recipe.toml", "environment.json"):
        shutil.copy(runs["alone"] / name, half / name)
    (half / "status.json").write_text('{"state": "interrupted"}')
    lines = (runs["alone"] / "metrics.jsonl").read_text().splitlines()
    (half / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines if '"end"' not in line))
    first, second = (write_report([half], tmp_path / f"{n}.html") for n in "ab")
    assert first.read_text() == second.read_text()
    assert "is not finished" in Page(first).said
    assert "–" in Page(first).said


def test_what_is_no_source(runs: dict[str, Path], evaluated: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"

    def refused(*paths: Path, match: str) -> None:
        with pytest.raises(UserError, match=match):
            write_report(paths, out)

    refused(match="nothing to report|no run")
    refused(tmp_path / "nowhere", match="is not a folder")
    refused(tmp_path, match="neither a run directory")
    with pytest.raises(UserError, match="-o page\\.html"):
        write_report([evaluated], tmp_path / "report.md")
    for content, match in (
        ("{", "damaged"),
        ("[]", "not a table"),
        ('{"task": "chess"}', "not known"),
        ('{"task": "glue"}', "results-schema.md"),
    ):
        (tmp_path / "one.json").write_text(content)
        refused(tmp_path / "one.json", match=match)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "results.json").write_text('{"kind": "other"}')
    refused(broken, match="not the result of an evaluation")
    done = CliRunner().invoke(app, ["report", str(broken), "-o", str(out)], prog_name="limbeck")
    assert done.exit_code == 2
    assert not out.exists()


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours."""

    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_contrast() -> None:
    css = (ROOT / "src/limbeck/report/templates/page.css").read_text(encoding="utf-8")
    themes = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(themes) == 3, "light, dark, print"
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})\b", theme))
        if not colours.get("paper"):
            continue  # print: three digits, black on white
        for name in ("ink", "muted", "link", *(f"c{n}" for n in range(1, 7))):
            assert contrast(colours[name], colours["paper"]) >= 4.5, name
            assert contrast(colours[name], colours["soft"]) >= 4.5, name


VALIDATOR = Draft202012Validator(json.loads((ROOT / "docs/results.schema.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["taught", "alone", "senses", "classifier"])
def test_results_of_runs_are_as_documented(runs: dict[str, Path], name: str) -> None:
    results = json.loads((runs[name] / "results.json").read_text(encoding="utf-8"))
    VALIDATOR.validate(results)
    again = rows_of({key: value for key, value in results.items() if key != "rows"})
    assert results["rows"] == again
    assert any(row["metric"] == "seconds" and row["value"] > 0 for row in again)


def test_results_of_evaluations_are_as_documented(evaluated: Path, tasks: dict[str, Any]) -> None:
    VALIDATOR.validate(json.loads((evaluated / "results.json").read_text(encoding="utf-8")))
    for name, result in tasks.items():
        VALIDATOR.validate(result)
        rows = rows_of(result)
        assert {row["task"] for row in rows} == {name}
        assert any(row["value"] is not None for row in rows)
        assert not VALIDATOR.is_valid(result | {"task": "chess"})
    assert json.loads(COST.read_text())["task"] == "cost"


def test_the_card(runs: dict[str, Path]) -> None:
    for name, task in (
        ("taught", "fill-mask"),
        ("senses", "fill-mask"),
        ("classifier", "text-classification"),
    ):
        path = runs[name] / "model" / "README.md"
        assert path.is_file(), "written at the end of the run"
        card = ModelCard.load(path)
        assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", task)
        assert card.data.license is None
        assert card.data.language is None, "nothing says what language the text is of"
        assert card.data.eval_results
        assert len({(r.dataset_type, r.metric_type) for r in card.data.eval_results}) == len(
            card.data.eval_results
        ), "what was measured on other data is not put together"
        text = path.read_text(encoding="utf-8")
        assert str(runs[name].parent) not in text, "no path of this machine"
        assert "energy | not measured" in text or "measured by" in text
        for part in ("How to use", "Results", "Data", "Recipe", "What training cost", "Limits", "Versions"):
            assert f"## {part}" in text
    results = json.loads((runs["taught"] / "results.json").read_text())
    text = (runs["taught"] / "model" / "README.md").read_text(encoding="utf-8")
    assert f"{results['words']['models'][0]['headline']['nats']:.3f}" in text
    assert "second (teacher)" in text


def test_a_card_changed_by_hand_stays(runs: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["alone"], folder, ignore=shutil.ignore_patterns("checkpoints", "best"))
    path = folder / "model" / "README.md"
    before = path.read_text(encoding="utf-8")
    write_report([folder], tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == before
    path.write_text(before.replace("tags:", "license: mit\ntags:"), encoding="utf-8")
    write_report([folder], tmp_path / "page.html")
    assert "license: mit" in path.read_text(encoding="utf-8")
    path.unlink()
    write_card(folder)
    assert path.read_text(encoding="utf-8") == before
    (folder / "results.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        write_card(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/data/train.tsv", "train.tsv"),
        ("~/a/b, /c/d.txt", "b, d.txt"),
        (r"C:\Users\me\x.txt", "x.txt"),
        ("wordnet:/train", "wordnet:/train"),
        ("org/model", "org/model"),
        ("text 12ab, 3 passages", "text 12ab, 3 passages"),
        ("(/home/me/x)", "(x)"),
        ('["/home/me/x", "file:///home/me/y"]', '["x", "file://y"]'),
    ],
)
def test_no_path_of_the_machine(text: str, expected: str) -> None:
    assert pathless(text) == expected


def test_a_single_path_may_have_blanks_in_it() -> None:
    assert last_part("/home/Jane Doe/corpora/a b.txt") == "a b.txt"
    assert last_part("wordnet:/train") == "wordnet:/train"
    assert last_part("org/model") == "org/model"


def test_figures_of_other_weights_are_not_shown(
    runs: dict[str, Path], tasks: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["alone"], folder, ignore=shutil.ignore_patterns("checkpoints", "best"))
    model = folder / "model"
    cost = json.loads(json.dumps(tasks["cost"]))
    cost["models"] = [cost["models"][0] | {"name": "alone"}]
    known = {"name": "alone", "path": str(model), "fingerprint": fingerprint(model)}
    evaluation(folder / "eval", {"cost": cost}, [known])
    assert read_sources([folder])[1].results[0][1][0]["task"] == "cost"
    (model / "config.json").write_text((model / "config.json").read_text(encoding="utf-8") + "\n")
    later = read_sources([folder])[1]
    assert later.results == []
    assert later.left_out == ["alone: it has changed since it was measured"]


def test_results_of_one_hub_model_are_of_one_model(
    runs: dict[str, Path], tasks: dict[str, Any], tmp_path: Path
) -> None:
    glue, encoder = json.loads(json.dumps(tasks["glue"])), tasks["glue"]["model"]["name"]
    senses = evaluate_files([str(runs["senses"] / "model")], tasks["mlm"]["data"]["texts"])
    assert senses["models"][0]["weights"] == tasks["wsd"]["model"]["weights"], "with a gloss head or without"
    cost = measure_models([encoder], CostSettings(lengths=(16,), seconds=0.01, device="cpu"))
    glue["model"] |= {"name": "org/name"}
    cost["models"][0] |= {"name": "org/name", "model": "org/name"}
    paths = []
    for name, result in (("glue", glue), ("cost", cost)):
        paths.append(tmp_path / name / f"{name}.json")
        paths[-1].parent.mkdir()
        paths[-1].write_text(json.dumps(result))
    found = [one.name for one in join(read_sources(paths)) if one.role != "baseline"]
    assert found == ["org/name"]


def test_a_changed_model_takes_away_its_own_figures_alone(
    runs: dict[str, Path], tasks: dict[str, Any], tmp_path: Path
) -> None:
    places = {}
    for name in ("taught", "alone"):
        places[name] = tmp_path / name
        shutil.copytree(runs[name] / "model", places[name])
    cost, words = (json.loads(json.dumps(tasks[name])) for name in ("cost", "mlm"))
    cost["models"] = [cost["models"][0] | {"name": name} for name in places]
    for one, name in zip(words["models"], places, strict=True):
        one["name"] = name
    known = [{"name": n, "path": str(path), "fingerprint": fingerprint(path)} for n, path in places.items()]
    folder = evaluation(tmp_path / "eval", {"mlm": words, "cost": cost}, known)
    before = read_sources([folder])[0]
    (places["taught"] / "extra.json").write_text("{}")
    assert read_sources([folder])[0] == before, "a file that no model is read from changes nothing"
    (places["taught"] / "config.json").write_text(
        (places["taught"] / "config.json").read_text(encoding="utf-8") + "\n"
    )
    later = read_sources([folder])[0]
    for (_, rows), (result, kept) in zip(before.results, later.results, strict=True):
        assert kept == [row for row in rows if row["model"] == "alone"]
        assert [one["name"] for one in result["models"]] == ["alone"]
    assert later.left_out == [
        "taught: it has changed since it was measured; the others' masked words are those that it could be "
        "asked as well"
    ]
    said = Page(write_report([folder], tmp_path / "a.html")).said
    assert "Not measured: taught: it has changed since" in said
    assert "Nothing measured" not in said


def test_energy_is_shown_as_what_it_is(runs: dict[str, Path], tasks: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["alone"], folder, ignore=shutil.ignore_patterns("checkpoints", "best"))
    (folder / "model" / "README.md").unlink()
    stage = {"run": "run", "steps": 4, "tokens": 99, "seconds": 1.0, "processes": 1, "finished": True}
    stage["energy"] = {"joules": 7200.0, "kwh": 0.002, "measured": False, "source": "estimate: 15 W × time"}
    cost = json.loads(json.dumps(tasks["cost"]))
    cost["models"] = [cost["models"][0] | {"name": "alone", "training": [stage]}]
    path = str(folder / "model")
    evaluation(
        folder / "eval", {"cost": cost}, [{"name": "alone", "path": path, "fingerprint": fingerprint(path)}]
    )
    said = Page(write_report([folder], tmp_path / "a.html")).said
    assert "2 Wh" in said
    assert "estimate: 15 W × time" in said
    card = folder / "model" / "README.md"
    assert "(estimate: 15 W × time)" in card.read_text(encoding="utf-8")
    assert "3.28 ms" in card.read_text(encoding="utf-8"), "what was measured since is in the card"
    results = json.loads((folder / "results.json").read_text())
    results["cost"] |= {"energy_joules": 36000.0, "energy_source": "RAPL"}
    (folder / "results.json").write_text(json.dumps(results))
    assert "10 Wh" in Page(write_report([folder], tmp_path / "b.html")).said
    assert "10 Wh, measured by RAPL" in card.read_text(encoding="utf-8")
    assert "estimate" not in card.read_text(encoding="utf-8")


def test_markdown_of_fine_tuning_and_glosses_says_what_they_measured(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    results = {name: json.loads((runs[name] / "results.json").read_text()) for name in runs}
    figures = {
        "classifier": results["classifier"]["valid"]["accuracy"],
        "senses": results["senses"]["valid"]["f1"],
    }
    for name, value in figures.items():
        text = write_report([runs[name]], tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert f"{value:.3f}" in text.split("## Learning")[0]
        assert f"]({'<' + name}/learning.svg>)" in text
        for false in ("Nothing has been evaluated", "No evaluation on held-out", "limbeck run recipe.toml"):
            assert false not in text, (name, false)
        assert not re.search(r"\b[01] (pairs|scores)\b", text), "yes and no are no counts"
        card = (runs[name] / "model" / "README.md").read_text(encoding="utf-8")
        assert not re.search(r"\b[01] (pairs|scores)\b", card)
        assert ("limbeck finetune MODEL --train" in text) == (name == "classifier")
        assert ("limbeck gloss recipe.toml" in text) == (name == "senses")
