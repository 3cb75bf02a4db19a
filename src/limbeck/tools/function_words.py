"""Words of English that are no content words, whatever a lexicon has under them (docs/wsd.md).

WordNet has nouns such as *a* (the letter), *in* (the inch) and *can*, which running text hardly ever means.
The list is closed: determiners, pronouns, prepositions and particles, conjunctions, the forms of *be*,
*have*, *do* and the modal verbs. It leaves out what SemCor's annotators took for a content word as often as
any other (*many*, *much*, *not*, *down*, *near*, *once*).
"""

BE = frozenset("be am is are was were been being".split())  # noqa: SIM905
"""The forms of *be*."""

FUNCTION_WORDS = (
    frozenset(
        """
    a an the this that these those each every either neither some any no all both another such what which
    whose one

    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its
    itself we us our ours ourselves they them their theirs themselves who whom whoever whomever whatever
    whichever someone somebody something anyone anybody anything everyone everybody everything nobody none
    there

    about across after against along alongside amid amidst among amongst around as at atop before behind
    below beneath beside besides between beyond by despite during except for from in into like of off on onto
    out over per since through throughout till to toward towards under underneath until unto up upon versus
    via with within without

    and but or nor yet if because unless although though while whereas whether than lest when where how why

    have has had having do does did done doing
    can cannot could may might must shall should will would ought
    """.split()  # noqa: SIM905 - it reads as the list it is
    )
    | BE
)

CLITICS = ("'s", "'m", "'d", "'re", "'ve", "'ll")
"""What is cut off a word's end."""

NEGATED = "n't"
"""End of contracted auxiliaries, none of which is a content word."""
