"""Prepared text: what is in it, where it is cut, that it does not depend on who made it, and damage."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import UserError
from limbeck.teachers.projection import Projection
from limbeck.text.align import KIND_NONE, TRUNCATED
from limbeck.text.pieces import PieceTokenizer
from limbeck.text.prepare import Prepared, prepare
from tests.models import TEXTS
from tests.test_align import Aligned
from tests.vocabularies import HARD, Memory, vocabulary

MANY = [f"{text} {n}" for n in range(300) for text in (*TEXTS, *HARD)]  # 4800: two record batches


def gold_map(teacher: PieceTokenizer, student: PieceTokenizer) -> np.ndarray:
    widths = {"teacher_width": teacher.vocab_size, "student_width": student.vocab_size}
    return Projection.build(teacher, student, **widths).gold_map


def made(
    texts: list[str],
    cache: Path,
    *,
    student: PieceTokenizer | None = None,
    teachers: tuple[str, ...] = ("gpt2", "unigram"),
    limit: int | None = None,
    workers: int | None = 1,
) -> Prepared:
    student = student or vocabulary("wordpiece")
    others = [vocabulary(kind, limit=limit) for kind in teachers]
    maps = [gold_map(teacher, student) for teacher in others]
    return prepare(Memory(texts), student, others, maps, cache=cache, workers=workers)


def test_passages_hold_pieces_words_and_map(tmp_path: Path) -> None:
    texts = [*TEXTS, *HARD, "", "   "]
    prepared, corpus = made(texts, tmp_path), Memory(texts)
    assert len(prepared) == len(texts)
    assert prepared.hashes.tolist() == corpus.hashes.tolist()
    assert prepared.n_words.tolist() == corpus.n_words.tolist()
    for t, kind in enumerate(("gpt2", "unigram")):
        a = Aligned(vocabulary("wordpiece"), vocabulary(kind), texts)
        for i in range(len(texts)):
            p = prepared.passage(i)
            ours, theirs = a.student.row == i, a.teacher.row == i
            assert (p.hash, p.n_words) == (int(corpus.hashes[i]), int(corpus.n_words[i]))
            assert p.student.ids.tolist() == a.student.ids[ours].tolist()
            assert p.student.kind.tolist() == a.kind[ours].tolist()
            assert p.teachers[t].ids.tolist() == a.teacher.ids[theirs].tolist()
            assert p.teachers[t].map.tolist() == a.map[ours].tolist()
            for side, located, mine in ((p.student, a.student, ours), (p.teachers[t], a.teacher, theirs)):
                base = a.words.offsets[i]
                for first, last, low, high in zip(
                    side.first, side.last, located.first[mine], located.last[mine], strict=True
                ):
                    assert (first, last) == ((low - base, high - base) if high >= low else (1, 0))
            assert prepared.lengths[i] == len(p.student.ids)
            assert prepared.teacher_lengths[t][i] == len(p.teachers[t].ids)


def test_views_are_not_copies(tmp_path: Path) -> None:
    p = made(list(TEXTS), tmp_path).passage(2)
    arrays = [*p.student, *(array for teacher in p.teachers for array in teacher)]
    assert not any(array.flags.owndata or array.flags.writeable for array in arrays)
    assert [a.dtype.name for a in p.student] == ["uint16", "uint16", "uint16", "uint8"]
    assert [a.dtype.name for a in p.teachers[0]] == ["uint16", "uint16", "uint16", "int16"]


def test_large_vocabularies_take_wider_ids(tmp_path: Path) -> None:
    import transformers

    fast = transformers.PreTrainedTokenizerFast.from_pretrained(_saved(tmp_path))
    fast.add_tokens([f"⟨{n}⟩" for n in range(66_000)])
    large = PieceTokenizer.from_hf(fast, name="large")
    assert large.vocab_size > 65536
    prepared = made(["the dog ⟨65999⟩"], tmp_path / "cache", student=large, teachers=())
    assert prepared.passage(0).student.ids.dtype == np.uint32
    assert prepared.passage(0).student.ids[-1] == large.vocab_size - 1


def _saved(folder: Path) -> Path:
    vocabulary("wordpiece").hf.save_pretrained(folder / "tokenizer")
    return folder / "tokenizer"


def test_passages_longer_than_a_model_are_cut_at_a_word(tmp_path: Path) -> None:
    short = PieceTokenizer.from_hf(vocabulary("wordpiece").hf, name="short", limit=12)
    whole = made(list(TEXTS), tmp_path)
    prepared = made(list(TEXTS), tmp_path, student=short, limit=20)
    assert prepared.lengths.max() <= 10
    for i in range(len(TEXTS)):
        p, full = prepared.passage(i), whole.passage(i)
        kept = len(p.student.ids)
        assert p.student.ids.tolist() == full.student.ids[:kept].tolist()
        assert kept == len(full.student.ids) or full.student.first[kept] > p.student.last[-1]
        for cut, teacher in zip(p.teachers, full.teachers, strict=True):
            assert len(cut.ids) <= 18
            assert len(cut.map) == kept
            assert cut.ids.tolist() == teacher.ids[: len(cut.ids)].tolist()
            assert cut.map.max(initial=-1) < len(cut.ids)
    longer = made(list(TEXTS), tmp_path, limit=20)
    codes = np.concatenate([longer.passage(i).teachers[0].map for i in range(len(TEXTS))])
    kinds = np.concatenate([longer.passage(i).student.kind for i in range(len(TEXTS))])
    assert 0 < (codes[kinds != KIND_NONE] == TRUNCATED).mean() < 1


def test_worker_processes_make_the_same_file(tmp_path: Path) -> None:
    alone = made(MANY, tmp_path / "a", workers=1)
    seen: list[tuple[int, int]] = []
    student, teacher = vocabulary("wordpiece"), vocabulary("gpt2")
    others = [teacher, vocabulary("unigram")]
    maps = [gold_map(t, student) for t in others]
    together = prepare(
        Memory(MANY), student, others, maps, cache=tmp_path / "b", workers=2,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(4096, len(MANY)), (len(MANY), len(MANY))]
    assert together.fingerprint == alone.fingerprint
    files = [(p.folder / "data.arrow").read_bytes() for p in (alone, together)]
    assert files[0] == files[1]
    last = together.passage(len(MANY) - 1)
    assert last.n_words == Memory(MANY[-1:]).n_words[0]


def test_made_once(tmp_path: Path) -> None:
    first = made(list(TEXTS), tmp_path)
    written = (first.folder / "data.arrow").stat().st_mtime_ns
    again = made(list(TEXTS), tmp_path)
    assert again.folder == first.folder
    assert (again.folder / "data.arrow").stat().st_mtime_ns == written
    assert len(list(tmp_path.iterdir())) == 1


def test_anything_that_decides_the_content_changes_the_fingerprint(tmp_path: Path) -> None:
    texts = list(TEXTS)
    prints = [
        made(texts, tmp_path).fingerprint,
        made(texts[:-1], tmp_path).fingerprint,
        made(texts, tmp_path, teachers=("unigram", "gpt2")).fingerprint,
        made(texts, tmp_path, limit=30).fingerprint,
        made(texts, tmp_path, student=vocabulary("bpe")).fingerprint,
    ]
    student, teacher = vocabulary("wordpiece"), vocabulary("gpt2")
    other = gold_map(teacher, student)
    other[0, 10] = -1
    prints.append(prepare(Memory(texts), student, [teacher], [other], cache=tmp_path, workers=1).fingerprint)
    assert len(set(prints)) == len(prints)


def test_no_passages(tmp_path: Path) -> None:
    prepared = made([], tmp_path)
    assert (len(prepared), len(prepared.lengths), len(prepared.teacher_lengths)) == (0, 0, 2)


@pytest.mark.parametrize("damage", ["cut", "gone", "meta", "other"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    folder = made(list(TEXTS), tmp_path).folder
    data, meta = folder / "data.arrow", folder / "meta.json"
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:-100])
    elif damage == "gone":
        data.unlink()
    elif damage == "meta":
        meta.write_text("{")
    else:
        meta.write_text(meta.read_text().replace('"passages": 8', '"passages": 9'))
    with pytest.raises(UserError, match="delete the folder") as caught:
        made(list(TEXTS), tmp_path)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(Memory):
        def texts(self, indices: object) -> list[str]:
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="disk"):
        prepare(Broken(list(TEXTS)), vocabulary("wordpiece"), [], [], cache=tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []


UNGUARDED = """
import sys
import os
import subprocess
import sys
from pathlib import Path
from limbeck.text.prepare import prepare
from tests.vocabularies import Memory, vocabulary

print("the script runs")
corpus = Memory([f"passage number {i} of a text" for i in range(4097)])
made = prepare(corpus, vocabulary("wordpiece"), [], [], cache=Path(sys.argv[1]), workers=2)
print(len(made))
"""


def test_an_unguarded_script_is_not_run_again_by_the_workers(tmp_path: Path) -> None:
    """`from limbeck import …` in five lines, without `if __name__ == "__main__":`."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cache")],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["the script runs", "4097"]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks the workers up in /proc")
def test_a_killed_parent_leaves_no_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    long = UNGUARDED.replace("range(4097)", "range(200_000)").replace("len(made)", "'done'")
    script.write_text(long.replace('print("the script runs")', 'print("the script runs", flush=True)'))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "cache")],
        stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        workers: list[int] = []
        deadline = time.monotonic() + 90
        while len(workers) < 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            workers = [pid for pid in _children(process.pid) if "spawn_main" in _command(pid)]
        assert len(workers) >= 2
        process.kill()
        process.wait()
        while any("spawn_main" in _command(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any("spawn_main" in _command(pid) for pid in workers)


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in found.read_text().split()] if found.exists() else []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace(chr(0), " ")
    except OSError:
        return ""
