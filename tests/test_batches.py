"""Batches: what student and teachers see against a slow reading of the text, and what they may depend on."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.lexicon.wordnet import find_wordnet
from limbeck.teachers.projection import Projection
from limbeck.text.batches import Batch, Collator, TeacherBatch, TextBatches, fixed_batches
from limbeck.text.corpus import build_corpus
from limbeck.text.pieces import PieceTokenizer, train_tokenizer
from limbeck.text.prepare import Prepared, prepare
from limbeck.text.words import SHOW_KEEP, SHOW_MASK, SHOW_RANDOM, mask_plan, word_spans
from tests.models import TEXTS, make_tokenizer
from tests.tiny_recipes import sentences
from tests.vocabularies import HARD, Memory, vocabulary

PASSAGES = [*TEXTS, *(text for text in HARD if word_spans(text).size), *sentences(80, seed=5)]
SEED, RATE = 11, 0.15


@cache
def xlnet_tokenizer() -> PieceTokenizer:
    """Pads on the left, special tokens at the end."""
    return PieceTokenizer.from_hf(make_tokenizer("unigram", family="xlnet"), name="xlnet")


def teachers() -> list[PieceTokenizer]:
    return [vocabulary("gpt2"), xlnet_tokenizer(), vocabulary("wordpiece:cased", limit=20)]


def prepared_text(
    cache: Path, texts: Sequence[str], student: PieceTokenizer, others: Sequence[PieceTokenizer]
) -> Prepared:
    maps = [
        Projection.build(t, student, teacher_width=t.vocab_size, student_width=student.vocab_size).gold_map
        for t in others
    ]
    return prepare(Memory(list(texts)), student, others, maps, cache=cache, workers=1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_text(tmp_path_factory.mktemp("cache"), PASSAGES, vocabulary("wordpiece"), teachers())


def collator(sees: str = "mask", **options: object) -> Collator:
    given = {"seed": SEED, "rate": RATE, "student_sees": sees} | options
    return Collator(vocabulary("wordpiece"), teachers(), **given)  # type: ignore[arg-type]


def source(prepared: Prepared, batch: int = 8, micro: int = 8, **options: object) -> TextBatches:
    sees = str(options.pop("sees", "mask"))
    rows = np.arange(len(prepared))
    return TextBatches(prepared, collator(sees), rows, batch=batch, micro_batch=micro, **options)  # type: ignore[arg-type]


def everything(prepared: Prepared, sees: str = "mask", variant: int = 0) -> Batch:
    return collator(sees)([prepared.passage(i) for i in range(len(prepared))], variant)


def visible(part: Batch | TeacherBatch, row: int) -> list[int]:
    """The pieces of a row without its padding."""
    return part.input_ids[row][part.attention_mask[row] == 1].tolist()


def selected_spans(text: str, prepared: Prepared, row: int, variant: int = 0) -> list[tuple[int, int]]:
    spans = word_spans(text)
    plan = mask_plan(len(spans), int(prepared.hashes[row]), seed=SEED, variant=variant, rate=RATE)
    return [tuple(span) for span in spans[plan.selected].tolist()]


def reading(
    tokenizer: PieceTokenizer, text: str, words: list[tuple[int, int]]
) -> list[tuple[int, int, int, bool]]:
    """Id, start, end of each piece, and whether it overlaps one of the words."""
    pieces = tokenizer.encode([text])
    found = []
    for id_, start, end in zip(pieces.ids.tolist(), pieces.start.tolist(), pieces.end.tolist(), strict=True):
        over = start < end and any(start < word_end and end > word for word, word_end in words)
        found.append((id_, start, end, over))
    return found


def expected(tokenizer: PieceTokenizer, text: str, words: list[tuple[int, int]]) -> list[int]:
    """What a model sees of a text, special tokens included."""
    pieces = [tokenizer.mask_id if over else id_ for id_, _, _, over in reading(tokenizer, text, words)]
    return [*tokenizer.prefix, *pieces, *tokenizer.suffix]


def test_what_the_student_sees(prepared: Prepared) -> None:
    tokenizer, batch = vocabulary("wordpiece"), everything(prepared)
    width = batch.input_ids.shape[1]
    seen = 0
    for row, text in enumerate(PASSAGES):
        words = selected_spans(text, prepared, row)
        assert visible(batch, row) == expected(tokenizer, text, words)
        slots = [(n, piece) for n, piece in enumerate(reading(tokenizer, text, words)) if piece[3]]
        mine = (batch.passage == row).nonzero()[:, 0]
        assert batch.gold[mine].tolist() == [piece[0] for _, piece in slots]
        place = [row * width + len(tokenizer.prefix) + n for n, _ in slots]
        assert batch.position[mine].tolist() == place
        kinds = prepared.passage(row).student.kind
        assert batch.kind[mine].tolist() == [int(kinds[n]) for n, _ in slots]
        seen += len(slots)
    assert batch.count == seen
    assert bool((batch.input_ids.flatten()[batch.position] == tokenizer.mask_id).all())
    assert bool(batch.masked.all())
    assert batch.tokens == int(batch.attention_mask.sum())
    assert int((batch.input_ids == tokenizer.pad_id).sum()) == batch.input_ids.numel() - batch.tokens


@pytest.mark.parametrize("number", [0, 1])
def test_what_a_teacher_sees_and_answers(prepared: Prepared, number: int) -> None:
    student, tokenizer = vocabulary("wordpiece"), teachers()[number]
    batch = everything(prepared)
    part = batch.teachers[number]
    width = part.input_ids.shape[1]
    answers = dict(zip(part.slot.tolist(), part.position.tolist(), strict=True))
    assert len(answers) > 0.3 * batch.count
    assert bool((part.input_ids.flatten()[part.position] == tokenizer.mask_id).all())
    for row, text in enumerate(PASSAGES):
        words = selected_spans(text, prepared, row)
        assert visible(part, row) == expected(tokenizer, text, words)
        ours = [piece for piece in reading(student, text, words) if piece[3]]
        theirs = reading(tokenizer, text, words)
        begin = int(part.attention_mask[row].argmax()) + len(tokenizer.prefix)
        for slot, piece in zip((batch.passage == row).nonzero()[:, 0].tolist(), ours, strict=True):
            if slot in answers:
                at = answers[slot] - row * width - begin
                assert theirs[at][1:3] == piece[1:3], (text, piece)
                assert theirs[at][3]


def test_padding_stands_where_the_tokenizer_wants_it(prepared: Prepared) -> None:
    batch = everything(prepared)
    xlnet = batch.teachers[1]
    assert vocabulary("wordpiece").prefix
    assert not xlnet_tokenizer().prefix
    assert bool((batch.attention_mask[:, 0] == 1).all())
    assert bool((xlnet.attention_mask[:, -1] == 1).all())
    for part, order in ((batch, 1), (xlnet, -1)):
        steps = np.diff(part.attention_mask.numpy()[:, ::order], axis=1)
        assert (steps <= 0).all()  # ones, then zeros: no holes
    assert bool((xlnet.input_ids[xlnet.attention_mask == 0] == xlnet_tokenizer().pad_id).all())


def test_a_passage_cut_by_the_teachers_limit(prepared: Prepared) -> None:
    tokenizer, batch = teachers()[2], everything(prepared)
    part = batch.teachers[2]
    assert tokenizer.limit == 20 - len(tokenizer.prefix) - len(tokenizer.suffix)
    assert part.input_ids.shape[1] <= 20
    covered = set(part.slot.tolist())
    cut = 0
    for row, text in enumerate(PASSAGES):
        words = selected_spans(text, prepared, row)
        whole = reading(tokenizer, text, words)
        body = visible(part, row)[1:-1]
        assert body == [tokenizer.mask_id if over else id_ for id_, _, _, over in whole][: len(body)]
        if len(whole) > tokenizer.limit:
            cut += 1
            end = whole[len(body)][1]  # where the first lost piece begins
            ours = [piece for piece in reading(vocabulary("wordpiece"), text, words) if piece[3]]
            slots = (batch.passage == row).nonzero()[:, 0].tolist()
            assert not covered & {s for s, piece in zip(slots, ours, strict=True) if piece[1] >= end}
    assert cut > 5


def test_a_passage_cut_by_the_students_limit(tmp_path: Path) -> None:
    student = vocabulary("wordpiece", limit=12)
    texts = [*TEXTS, "donaudampfschifffahrtsgesellschaft " * 3]  # its first word alone is too long
    prepared = prepared_text(tmp_path, texts, student, [vocabulary("gpt2")])
    made = Collator(student, [vocabulary("gpt2")], seed=SEED, rate=0.5, student_sees="mask")
    batch = made([prepared.passage(i) for i in range(len(texts))], 0)
    assert batch.input_ids.shape[1] <= 12
    assert visible(batch, len(texts) - 1) == [*student.prefix, *student.suffix]
    assert len(texts) - 1 not in batch.passage.tolist()
    nothing = made([prepared.passage(len(texts) - 1)], 0)
    assert nothing.count == 0
    assert len(nothing.teachers[0].slot) == 0


def test_bert_shows_the_mask_a_random_piece_or_the_word(prepared: Prepared) -> None:
    tokenizer = vocabulary("wordpiece")
    shares: Counter[int] = Counter()
    drawn = set()
    for variant in range(30):
        masks, bert = everything(prepared, "mask", variant), everything(prepared, "bert", variant)
        for name in ("position", "gold", "kind", "passage"):
            assert torch.equal(getattr(masks, name), getattr(bert, name))
        for one, other in zip(masks.teachers, bert.teachers, strict=True):  # they see the mask all the same
            assert all(
                torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
            )
        shown = bert.input_ids.flatten()[bert.position]
        assert torch.equal(shown == tokenizer.mask_id, bert.masked)
        slot = 0
        for row, text in enumerate(PASSAGES):
            plan = mask_plan(
                len(word_spans(text)), int(prepared.hashes[row]), seed=SEED, variant=variant, rate=RATE
            )
            spans = word_spans(text)[plan.selected].tolist()
            for id_, start, end, over in reading(tokenizer, text, [(a, b) for a, b in spans]):
                if not over:
                    continue
                word = next(n for n, (a, b) in enumerate(spans) if start < b and end > a)
                show, piece = int(plan.show[word]), int(shown[slot])
                shares[show] += 1
                if show == SHOW_MASK:
                    assert piece == tokenizer.mask_id
                elif show == SHOW_KEEP:
                    assert piece == id_
                else:
                    assert piece not in tokenizer.special_ids
                    drawn.add(piece)
                slot += 1
        everywhere = torch.ones(bert.input_ids.numel(), dtype=torch.bool)
        everywhere[bert.position] = False
        assert torch.equal(bert.input_ids.flatten()[everywhere], masks.input_ids.flatten()[everywhere])
    total = shares.total()
    assert total > 5000
    assert shares[SHOW_MASK] / total == pytest.approx(0.8, abs=0.03)
    assert shares[SHOW_RANDOM] / total == pytest.approx(0.1, abs=0.02)
    assert shares[SHOW_KEEP] / total == pytest.approx(0.1, abs=0.02)
    assert len(drawn) > 0.5 * tokenizer.vocab_size * (1 - np.exp(-shares[SHOW_RANDOM] / tokenizer.vocab_size))


def rows_of(batches: Sequence[Batch]) -> list[tuple[object, ...]]:
    """Everything that is said of each passage, in an order of its own, whatever batch it stood in."""
    found = []
    for batch in batches:
        for row in range(len(batch.input_ids)):
            slots = (batch.passage == row).nonzero()[:, 0]
            said: list[object] = [
                tuple(visible(batch, row)),
                tuple(batch.gold[slots].tolist()),
                tuple(batch.kind[slots].tolist()),
                tuple(batch.masked[slots].tolist()),
            ]
            first = int(slots[0]) if len(slots) else 0
            for part in batch.teachers:
                width = part.input_ids.shape[1]
                mine = (part.position // width) == row
                begin = row * width + int(part.attention_mask[row].argmax())
                place = tuple((part.position[mine] - begin).tolist())
                said += [tuple(visible(part, row)), place, tuple((part.slot[mine] - first).tolist())]
            found.append(tuple(said))
    return sorted(found, key=repr)


@pytest.mark.parametrize("sees", ["mask", "bert"])
def test_micro_batches_and_ranks_change_nothing(prepared: Prepared, sees: str) -> None:
    for step in (0, 3):
        whole = rows_of(source(prepared, sees=sees).micro_batches(step))
        assert len(whole) == 8
        assert rows_of(source(prepared, micro=3, sees=sees).micro_batches(step)) == whole
        for world, micro in ((2, 4), (3, 2)):
            ranks = [source(prepared, micro=micro, rank=r, world=world, sees=sees) for r in range(world)]
            together = [batch for rank in ranks for batch in rank.micro_batches(step)]
            assert rows_of(together) == whole
            assert all(len(batch.input_ids) <= micro for batch in together)


def test_the_batch_size_changes_no_mask(prepared: Prepared) -> None:
    epochs = []
    for batch in (1, 12, 48):
        given = source(prepared, batch, batch, sees="bert")
        epochs.append(set(rows_of([b for s in range(given.steps_per_epoch) for b in given.micro_batches(s)])))
    assert epochs[1] <= epochs[0]
    assert epochs[2] <= epochs[0]
    assert len(epochs[0]) == len(PASSAGES)


def test_a_batch_is_a_pure_function_of_the_step(prepared: Prepared) -> None:
    forwards, backwards = source(prepared), source(prepared)
    steps = 2 * forwards.steps_per_epoch + 1
    said = [rows_of(forwards.micro_batches(step)) for step in range(steps)]
    for step in reversed(range(steps)):
        assert rows_of(backwards.micro_batches(step)) == said[step]


def unmasked(batch: Batch) -> list[tuple[int, ...]]:
    """The passages of a batch, as they were before a word was hidden."""
    whole = batch.input_ids.flatten().index_copy(0, batch.position, batch.gold).view_as(batch.input_ids)
    plain = dataclasses.replace(batch, input_ids=whole)
    return [tuple(visible(plain, row)) for row in range(len(whole))]


def test_every_epoch_has_its_own_order_and_its_own_masks(prepared: Prepared) -> None:
    given = source(prepared)
    length = given.steps_per_epoch
    assert length == len(prepared) // 8
    first, second = (
        [given.micro_batches(step)[0] for step in range(start, start + length)] for start in (0, length)
    )
    for epoch in (first, second):
        texts = [text for batch in epoch for text in unmasked(batch)]
        assert len(set(texts)) == len(texts) == length * 8, "every passage at most once"
    batches = [{frozenset(unmasked(batch)) for batch in epoch} for epoch in (first, second)]
    assert len(batches[0] & batches[1]) < 0.4 * length  # the few longest passages always meet
    seen = [{row[0] for row in rows_of(epoch)} for epoch in (first, second)]
    assert len(seen[0] & seen[1]) < 0.2 * len(seen[0])


def test_students_with_and_without_teachers_read_the_same_text_in_the_same_order(prepared: Prepared) -> None:
    rows = np.arange(len(prepared))
    taught = source(prepared, batch=4, micro=4)
    alone = Collator(vocabulary("wordpiece"), [], seed=SEED, rate=RATE, student_sees="bert")
    untaught = TextBatches(prepared, alone, rows, batch=4, micro_batch=4)
    for step in range(6):
        (one,), (other,) = taught.micro_batches(step), untaught.micro_batches(step)
        assert torch.equal(one.gold, other.gold)
        assert torch.equal(one.position, other.position)
        assert other.teachers == ()


def test_another_seed_is_another_order_and_other_masks(prepared: Prepared) -> None:
    rows = np.arange(len(prepared))
    other = TextBatches(prepared, collator(seed=SEED + 1), rows, batch=8, micro_batch=8)
    assert rows_of(other.micro_batches(0)) != rows_of(source(prepared).micro_batches(0))
    assert rows_of([everything(prepared)]) != rows_of([everything(prepared, variant=1)])


def test_fewer_passages_than_a_batch(prepared: Prepared) -> None:
    few = TextBatches(prepared, collator(), np.arange(5), batch=64, micro_batch=2)
    assert few.steps_per_epoch == 1
    assert [len(batch.input_ids) for batch in few.micro_batches(0)] == [2, 2, 1]
    assert few.micro_batches(7)[0].count > 0


def test_evaluation_takes_every_row_once_under_variant_0(prepared: Prepared) -> None:
    rows = np.arange(3, len(prepared))
    batches = list(fixed_batches(prepared, collator(), rows, 16))
    assert rows_of(batches) == rows_of([collator()([prepared.passage(int(i)) for i in rows], 0)])
    assert max(len(batch.input_ids) for batch in batches) == 16


def test_moving_a_batch_leaves_the_teachers_parts(prepared: Prepared) -> None:
    batch = everything(prepared)
    moved = batch.to("meta")
    assert moved.input_ids.device.type == "meta"
    assert (moved.tokens, moved.count) == (batch.tokens, batch.count)
    assert moved.teachers is batch.teachers
    assert batch.teachers[0].to("meta").position.device.type == "meta"


def padding(
    prepared: Prepared, student: PieceTokenizer, *, batch: int, micro: int, steps: int = 1000
) -> float:
    """Share of padding among all that is fed in an epoch."""
    made = Collator(student, [], seed=SEED, rate=RATE, student_sees="mask")
    given = TextBatches(prepared, made, np.arange(len(prepared)), batch=batch, micro_batch=micro)
    tokens = fed = 0
    for step in range(min(steps, given.steps_per_epoch)):
        for part in given.micro_batches(step):
            tokens += part.tokens
            fed += part.input_ids.numel()
    return 1 - tokens / fed


@pytest.mark.parametrize(("batch", "micro"), [(64, 64), (16, 16), (256, 32)])
def test_little_padding(tmp_path_factory: pytest.TempPathFactory, batch: int, micro: int) -> None:
    student = vocabulary("wordpiece")
    cache = tmp_path_factory.getbasetemp() / "padding"  # prepared once for all three
    prepared = prepared_text(cache, sentences(6000, seed=9, longest=60), student, [])
    assert np.percentile(prepared.lengths, 95) > 3 * np.percentile(prepared.lengths, 10)
    assert padding(prepared, student, batch=batch, micro=micro) < 0.05


@pytest.mark.data
@pytest.mark.parametrize("name", ["corpus-small", "wordnet"])
def test_little_padding_on_real_text(tmp_path: Path, name: str) -> None:
    if name == "wordnet":
        try:
            find_wordnet()
        except UserError:
            pytest.skip("no WordNet")
        pattern = "wordnet:/valid"
    else:
        data = Path(os.environ.get("LIMBECK_DATA", Path(__file__).parents[2] / "shared" / "data"))
        pattern = str(data / "corpus-small" / "valid.txt.zst")
        if not Path(pattern).is_file():
            pytest.skip("no corpus-small")
    corpus = build_corpus(
        [pattern], base=tmp_path, words=96, min_words=4, on_error="stop", cache=tmp_path, label="text.train"
    )
    hf = train_tokenizer("wordpiece:2000", corpus.texts(range(500)))
    student = PieceTokenizer.from_hf(hf, name="student")
    prepared = prepare(corpus, student, [], [], cache=tmp_path, workers=1)
    assert padding(prepared, student, batch=64, micro=64) < 0.05
