"""The special pieces a tokenizer puts around a pair of texts, so that pairs can be joined as ids."""

from __future__ import annotations

from dataclasses import dataclass

from limbeck.errors import UserError
from limbeck.text.pieces import PieceTokenizer

Ids = tuple[int, ...]


@dataclass(frozen=True)
class PairTemplate:
    """A pair is `prefix context between gloss suffix`.

    prefix, between, suffix: ids; prefix_types, between_types, suffix_types: their token types; context_type,
    gloss_type: those of the two texts (whether a model takes them is `families.takes_token_types`). pad_id,
    padding_side: of the tokenizer.
    """

    prefix: Ids
    between: Ids
    suffix: Ids
    prefix_types: Ids
    between_types: Ids
    suffix_types: Ids
    context_type: int
    gloss_type: int
    pad_id: int
    padding_side: str

    @property
    def most_types(self) -> int:
        """The largest token type; 0: the tokenizer tells the two texts by nothing but their separator."""
        special = (*self.prefix_types, *self.between_types, *self.suffix_types)
        return max(*special, self.context_type, self.gloss_type)

    @property
    def special(self) -> int:
        """Number of special pieces in a pair."""
        return len(self.prefix) + len(self.between) + len(self.suffix)

    @classmethod
    def of(cls, tokenizer: PieceTokenizer) -> PairTemplate:
        """Found by letting the tokenizer join two short texts.

        A tokenizer that puts nothing between two texts (it was saved with a template for single texts only)
        gets what BERT has: the first text as it stands alone, then the second and its end.

        Raises:
            UserError: the tokenizer has no special token that could part two texts.
        """
        for first, second in (("a", "the"), ("0", "1"), (".", ",")):
            a, b = (tokenizer.backend.encode(text, add_special_tokens=False).ids for text in (first, second))
            # Types by name: transformers 5 leaves them out for ALBERT and XLNet, which were trained on them.
            joined = tokenizer.hf(first, second, padding=False, truncation=False, return_token_type_ids=True)
            ids, types = list(joined["input_ids"]), list(joined["token_type_ids"])
            start = len(tokenizer.prefix)
            behind = start + len(a)
            places = [at for at in range(behind, len(ids) - len(b) + 1) if ids[at : at + len(b)] == b]
            if a and b and places and places[-1] > behind and ids[start:behind] == a:
                return cls._cut(tokenizer, ids, types, (start, behind, places[-1], places[-1] + len(b)))
        return cls._made(tokenizer)

    @classmethod
    def _cut(
        cls, tokenizer: PieceTokenizer, ids: list[int], types: list[int], at: tuple[int, int, int, int]
    ) -> PairTemplate:
        start, behind, second, end = at
        return cls(
            prefix=tuple(ids[:start]),
            between=tuple(ids[behind:second]),
            suffix=tuple(ids[end:]),
            prefix_types=tuple(types[:start]),
            between_types=tuple(types[behind:second]),
            suffix_types=tuple(types[end:]),
            context_type=types[start],
            gloss_type=types[second],
            pad_id=tokenizer.pad_id,
            padding_side=tokenizer.padding_side,
        )

    @classmethod
    def _made(cls, tokenizer: PieceTokenizer) -> PairTemplate:
        hf, suffix = tokenizer.hf, tokenizer.suffix
        between = tuple(i for i in suffix if i != hf.cls_token_id)
        if not between:
            raise UserError(
                f"{tokenizer.name}: the tokenizer has no special token that parts two texts; take a model "
                "whose tokenizer has"
            )
        return cls(
            prefix=tokenizer.prefix,
            between=between,
            suffix=suffix,
            prefix_types=(0,) * len(tokenizer.prefix),
            between_types=(0,) * len(between),
            suffix_types=(1,) * len(suffix),
            context_type=0,
            gloss_type=1,
            pad_id=tokenizer.pad_id,
            padding_side=tokenizer.padding_side,
        )
