"""Labelled files, labels, metrics and batches of fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zstandard
from scipy import stats
from sklearn import metrics as sklearn_metrics

from limbeck.errors import UserError
from limbeck.finetune import metrics
from limbeck.finetune.batches import Encoded, Padding, TextClassBatches, collate, parts
from limbeck.finetune.examples import Examples, overlap, read_table
from limbeck.finetune.labels import Labels
from tests.tiny_labelled import write_table


def labelled(*labels: str) -> Examples:
    return Examples([f"text {number}" for number in range(len(labels))], None, labels, "f.tsv")


def test_a_table_is_read_as_it_stands(tmp_path: Path) -> None:
    content = '\ufefftext\ttext2\tlabel\r\n "quoted\tit\'s """ \t yes \r\nné\t日本\tno'
    path = tmp_path / "f.tsv"
    path.write_bytes(content.encode())
    packed = tmp_path / "f.tsv.zst"
    packed.write_bytes(zstandard.compress(path.read_bytes()))
    for found in (read_table(path), read_table(packed)):
        assert found.texts == [' "quoted', "né"]
        assert found.seconds == ['it\'s """ ', "日本"]
        assert found.labels == ["yes", "no"]
    assert read_table(path).fingerprint == read_table(packed).fingerprint
    named = read_table(path, text="text2", second="text")
    assert named.texts == ['it\'s """ ', "日本"]
    assert named.seconds == [' "quoted', "né"]


def test_a_table_without_a_header_and_with_short_rows(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "f.tsv",
        (),
        [("gj04", "1", "", "A text."), ("x", "0"), ("y", "0", "*", "B"), ("z", "0", "", "")],
    )
    found = read_table(path, text=3, label=1, lenient=True)
    assert (found.texts, found.seconds, found.labels) == (["A text.", "B", ""], None, ["1", "0", "0"])
    with pytest.raises(UserError, match="line 2, has 2 columns instead of 4"):
        read_table(path, text=3, label=1)
    with pytest.raises(UserError, match="has 4 columns, so there is no column 6"):
        read_table(path, text=5, label=1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give it a header and labelled rows"),
        (b"text\tlabel\n", "has no row; give it labelled texts"),
        (b"text\tlabel\na\t1\ncaf\xe9\t2\n", "line 3, is not UTF-8; save the file as UTF-8"),
        (b"text\tlabel\na\0\t1\n", "is not UTF-8 text (NUL bytes in it)"),
        (
            b"sentence\tlabel\na\t1\n",
            "has no column 'text'; its header (the first line) has 'sentence', 'label'",
        ),
        (b"text\tanswer\na\t1\n", "has no column 'label'"),
        (b"text\ttext\tlabel\na\tb\t1\n", "has 2 columns named 'text'; rename all but one"),
        (b"text\tlabel\na\t1\nb\tc\t1\n", "line 3, has 3 columns instead of 2; a row is one line"),
        (b"text\tlabel\na\t1\n \t1\n", "has 1 rows without a text in column 'text', the first in line 3"),
        (b"text\tlabel\na\t1\nb\t \n", "has 1 rows without a label in column 'label', the first in line 3"),
        (b"text\tlabel\na\t\nb\t\n", "has no label at all in column 'label'; give a labelled file"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.tsv"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_table(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_or_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_table(tmp_path / "none.tsv")
    (tmp_path / "f.tsv.zst").write_bytes(zstandard.compress(b"text\tlabel\n" + b"a\t1\n" * 999)[:-9])
    with pytest.raises(UserError, match=r"f.tsv.zst is damaged or no .zst file"):
        read_table(tmp_path / "f.tsv.zst")


@pytest.mark.parametrize(
    ("labels", "kind", "classes"),
    [
        (("b", "a", "b"), "auto", ("a", "b")),
        (("10", "9", "1"), "auto", ("1", "9", "10")),
        (("1.5", "2", "3"), "auto", None),
        (("1.0", "2.0"), "auto", ("1.0", "2.0")),
        (("1.5", "2", "x"), "auto", ("1.5", "2", "x")),
        (("1.5", "2"), "classes", ("1.5", "2")),
        (("0", "1"), "scores", None),
        (tuple(map(str, range(20))), "auto", tuple(map(str, range(20)))),
        (tuple(map(str, range(21))), "auto", None),
        (("nan", "1.5"), "auto", ("1.5", "nan")),
    ],
)
def test_classes_and_scores_are_found(labels: tuple[str, ...], kind: str, classes: object) -> None:
    assert Labels.find(labelled(*labels), kind).classes == classes  # type: ignore[arg-type]


def test_labels_that_cannot_be_learnt() -> None:
    with pytest.raises(UserError, match=r"f.tsv has one class only, 'a', so there is nothing to tell apart"):
        Labels.find(labelled("a", "a"))
    with pytest.raises(UserError, match="has the same score in every row"):
        Labels.find(labelled("1.5", "1.50"), "scores")
    with pytest.raises(UserError, match="row 2: the label 'b' is no number"):
        Labels.find(labelled("1.5", "b"), "scores")
    found = Labels.find(labelled("a", "b"))
    assert found.encode(labelled("b", "a")).tolist() == [1, 0]
    with pytest.raises(
        UserError, match=r"has the label 'c' and 1 more \(3 rows\), which .* they have 'a', 'b'"
    ):
        found.encode(labelled("c", "a", "d", "c"))


def test_overlap_is_counted_without_labels() -> None:
    train = Examples(["a", "b"], ["x", "y"], ["0", "1"], "train")
    other = Examples(["a", "a", "b", "b"], ["x", "y", "y", "y"], ["1", "0", "0", "1"], "valid")
    assert overlap(train, other) == 3
    assert overlap(train, Examples(["a\0x"], None, ["0"], "valid")) == 0


def test_metrics_are_those_of_scikit_learn_and_scipy() -> None:
    draw = np.random.default_rng(0)
    for classes in (2, 3):
        gold, said = draw.integers(0, classes, 200), draw.integers(0, classes, 200)
        assert metrics.accuracy(gold, said) == pytest.approx(sklearn_metrics.accuracy_score(gold, said))
        assert metrics.matthews(gold, said, classes) == pytest.approx(
            sklearn_metrics.matthews_corrcoef(gold, said)
        )
        assert metrics.macro_f1(gold, said, classes) == pytest.approx(
            sklearn_metrics.f1_score(gold, said, average="macro")
        )
    assert metrics.f1(gold == 1, said == 1, True) == pytest.approx(
        sklearn_metrics.f1_score(gold == 1, said == 1)
    )
    scores, guessed = draw.normal(size=99).round(1), draw.normal(size=99).round(1)
    assert metrics.pearson(scores, guessed) == pytest.approx(stats.pearsonr(scores, guessed)[0])
    assert metrics.spearman(scores, guessed) == pytest.approx(stats.spearmanr(scores, guessed)[0])


def test_metrics_at_their_edges() -> None:
    gold = np.array([0, 1, 1, 0])
    assert metrics.f1(gold, np.zeros(4, np.int64), 1) == 0.0
    assert metrics.matthews(gold, np.zeros(4, np.int64), 2) == 0.0
    assert metrics.matthews(gold, 1 - gold, 2) == pytest.approx(-1.0)
    assert metrics.pearson(gold, np.ones(4)) is None
    assert metrics.spearman(np.ones(4), gold) is None
    two = metrics.measure(Labels(("a", "b")), gold, np.eye(2)[gold])
    assert two == {"accuracy": 1.0, "macro_f1": 1.0, "matthews": pytest.approx(1.0), "f1": 1.0}
    assert "f1" not in metrics.measure(Labels(("a", "b", "c")), gold, np.eye(3)[gold])
    exact = metrics.measure(Labels(None), gold.astype(float), 2.0 * gold[:, None])
    assert exact == {"mse": 0.5, "pearson": pytest.approx(1.0), "spearman": pytest.approx(1.0)}


def test_majority_answers_without_text() -> None:
    labels = Labels(("a", "b", "c"))
    answers = metrics.majority(labels, np.array([2, 2, 1]), 4)
    assert answers.argmax(1).tolist() == [2] * 4
    assert metrics.majority(Labels(None), np.array([1.0, 4.0]), 2).tolist() == [[2.5], [2.5]]


def encoded(widths: list[int]) -> Encoded:
    offsets = np.concatenate([[0], np.cumsum(widths)])
    return Encoded(np.arange(1, offsets[-1] + 1, dtype=np.int32), None, offsets, 0)


def test_rows_are_padded_on_the_tokenizers_side() -> None:
    rows = encoded([3, 1, 2])
    right = collate(rows, np.array([2, 0]), Padding(0, "right"), np.array([5, 6, 7]))
    assert right.input_ids.tolist() == [[5, 6, 0], [1, 2, 3]]
    assert right.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert (right.gold.tolist(), right.count, right.tokens) == ([7, 5], 2, 5)
    left = collate(rows, np.array([2, 0]), Padding(9, "left"), np.array([0.5, 1.0, 1.5]))
    assert left.input_ids.tolist() == [[9, 5, 6], [1, 2, 3]]
    assert left.gold.tolist() == [1.5, 0.5]


def test_parts_keep_within_the_budget() -> None:
    widths = np.random.default_rng(1).integers(1, 50, 300)
    found = list(parts(widths, np.arange(300), 100))
    assert sorted(np.concatenate(found).tolist()) == list(range(300))
    assert all(len(part) * widths[part].max() <= 100 or len(part) == 1 for part in found)
    assert [part.tolist() for part in parts(np.array([200, 5]), np.arange(2), 100)] == [[1], [0]]


def test_batches_are_a_function_of_the_step_and_shared_by_ranks() -> None:
    rows = encoded(np.random.default_rng(2).integers(2, 30, 50).tolist())
    hashes = np.random.default_rng(3).integers(0, 1 << 63, 50).astype(np.uint64)

    def batches(rank: int = 0, world: int = 1, seed: int = 0) -> TextClassBatches:
        return TextClassBatches(
            rows,
            np.arange(50),
            hashes,
            Padding(0, "right"),
            seed=seed,
            batch=8,
            tokens=64,
            rank=rank,
            world=world,
        )

    def seen(source: TextClassBatches, step: int) -> list[int]:
        return [int(one) for batch in source.micro_batches(step) for one in batch.gold]

    whole, later = batches(), batches()
    assert whole.steps_per_epoch == 6
    epoch = [seen(whole, step) for step in range(6)]
    assert len({row for step in epoch for row in step}) == 48
    assert seen(later, 4) == epoch[4]
    assert [seen(whole, 6 + step) for step in range(6)] != epoch
    assert [seen(batches(seed=1), step) for step in range(6)] != epoch
    assert sorted(seen(batches(0, 2), 3) + seen(batches(1, 2), 3)) == sorted(epoch[3])
