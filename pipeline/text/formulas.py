r"""Formulas as they are read aloud: `\(\frac{1}{2}\)` is "1 half".

`FORMULA` finds them between their delimiters, `goes_on` follows one through a stream, and
`formula_in_words` reads one out. latex2mathml parses the LaTeX; what is here speaks its MathML.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from xml.etree.ElementTree import Element

from pipeline.text.language_names import code_of

FUNCTIONS = {
    "sin": "sine", "cos": "cosine", "tan": "tangent", "log": "log", "ln": "natural log of",
    "exp": "exp", "lim": "limit", "max": "max", "min": "min", "mod": "mod", "det": "det",
    "gcd": "gcd", "cot": "cotangent", "sec": "secant", "arcsin": "arc sine",
    "arccos": "arc cosine", "arctan": "arc tangent",
}  # fmt: skip
"""How functions are named in English."""

_WORDS_LIKE = re.compile(
    r"(?<![\\a-zA-Z])(?!(?:" + "|".join(FUNCTIONS) + r")(?![a-zA-Z]))[^\W\d_]{4,}"
)
_LATEX_TEXT = re.compile(r"\\[a-zA-Z]+\*?(?:\{[a-zA-Z /.,-]*\}?)?")
_AMOUNT = re.compile(r"\d[\d.,]*(?:[kKmMbB]n?)?(?:[.,;:!?)]\s|\s+(?![-+*/=<>^\\−×·÷≤≥≠≈±$\s]|$))")
_STOP = re.compile(r"[.!?]\s|\n")

FORMULA = re.compile(
    r"""
      \\\((?P<round>.+?)\\\)
    | \\\[(?P<square>.+?)\\\]
    | \$\$(?P<display>[^$]+)\$\$
    | \\begin\{(?P<kind>[a-z]+)\*?\}(?P<block>.+?)\\end\{(?P=kind)\*?\}
    | (?<![\w\\$])\$(?P<inline>[^\s$](?:[^$\n]*[^\s$\\])?|\s[^$\n]*[=^_+\\][^$\n]*\s)\$(?![\d$])
    | (?<![A-Za-z:\\/.])(?P<bare>
        \\(?:[dt]?frac|sqrt|sum|int|pi|times|cdot|div|pm|alpha|beta|gamma|delta|theta|lambda|mu
        |sigma|omega|phi|psi|rho|epsilon|infty|approx|neq|leq|geq|le|ge|ne|Delta|text|boxed|mathrm
        |rightarrow|Rightarrow|ldots|cdots|in|circ)(?![a-zA-Z])
        (?:\[[^\[\]]*\])?(?:\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}){0,2}
      )
    """,
    re.VERBOSE | re.DOTALL,
)
"""A formula between delimiters, or a command of LaTeX that has lost them."""


def is_formula(inner: str) -> bool:
    """Whether what is between two single dollar signs is a formula, and no text between prices."""
    return not (_AMOUNT.match(inner) or _STOP.search(inner) or is_prose(inner))


def is_prose(inner: str) -> bool:
    """Whether words are among what is between delimiters, other than LaTeX's own."""
    return _WORDS_LIKE.search(_LATEX_TEXT.sub(" ", inner)) is not None


def goes_on(text: str) -> bool | None:
    r"""Whether a formula goes on after `text`, with which it begins.

    Args:
        text: From a backslash or a dollar sign on.

    Returns:
        None where `text` is none: its last character is not part of it.
    """
    if text == "$" or r"\begin{".startswith(text):
        return True
    if text.startswith(r"\begin{"):
        return not re.search(r"\\end\{[a-z]+\*?\}$", text)
    for opener, closer in ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$")):
        if text.startswith(opener):
            if opener == "$$" and "\\" not in text and is_prose(text):
                return None
            return not (text.endswith(closer) and len(text) > 3)
    if text[0] == "\\" or not is_formula(text[1:].rstrip("$")):
        return None
    return text[-1] != "$"


_HIDDEN = {code: 0xE000 + code for code in range(ord("A"), ord("z") + 1)}
_SHOWN = {hidden: code for code, hidden in _HIDDEN.items()}


def show(text: str, language: str = "en") -> str:
    """The text with the variables that `formula_in_words` hid from other rules.

    An English "a" is spelled as espeak-ng names the letter: alone it would be the article.
    """
    if code_of(language) == "en":
        text = text.replace(chr(0xE000 + ord("a")), "eh")
    return text.translate(_SHOWN)


_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi",
    "ο": "omicron", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi",
    "χ": "chi", "ψ": "psi", "ω": "omega",
}  # fmt: skip
SYMBOLS = {
    **_GREEK,
    **{letter.upper(): name for letter, name in _GREEK.items()},
    "ϵ": "epsilon", "ϕ": "phi", "ϑ": "theta", "∆": "delta", "µ": "mu",
    "∞": "infinity", "∈": "is in", "∉": "is not in", "∂": "partial", "∇": "nabla",
    "∀": "for all", "∃": "there exists", "∅": "the empty set", "∪": "union",
    "∩": "intersection", "⊂": "is a subset of", "⊆": "is a subset of", "∠": "angle",
    "∴": "therefore", "∝": "is proportional to", "⇒": "implies", "⟹": "implies",
    "⇔": "if and only if", "⟺": "if and only if", "∧": "and", "∨": "or", "¬": "not",
    "⊥": "is perpendicular to", "∥": "is parallel to",
}  # fmt: skip
"""English words for signs that stand for one wherever they are written."""

_TERMS = (
    "over", "all over", "square root", "cube root", "root", "squared", "cubed", "power", "sub",
    "from", "to", "of", "∑", "∏", "∫", "lim",
    "+", "−", "±", "×", "÷", "=", "≠", "<", ">", "≤", "≥", "≈", "→", "∞", "°", "%",
)  # fmt: skip
_LANGUAGES = {
    "en": (
        "{} over {}|{} all over {}|the square root of {}|the cube root of {}|the {1} root of {0}"
        "|{} squared|{} cubed|{} to the power of {}|{} sub {}|from|to|of|the sum|the product"
        "|the integral|the limit"
        "|plus|minus|plus or minus|times|divided by|equals|is not equal to|is less than"
        "|is greater than|is less than or equal to|is greater than or equal to|is approximately"
        "|to|infinity|degrees|percent"
    ),
    "de": (
        "{} durch {}|{}, durch {}|Wurzel aus {}|dritte Wurzel aus {}|{1}-te Wurzel aus {0}"
        "|{} Quadrat|{} hoch 3|{} hoch {}|{} {}|von|bis|von|Summe|Produkt|Integral|Grenzwert"
        "|plus|minus|plus minus|mal|geteilt durch|gleich|ungleich|kleiner als|größer als"
        "|kleiner gleich|größer gleich|ungefähr gleich|gegen|unendlich|Grad|Prozent"
    ),
    "fr": (
        "{} sur {}|{}, sur {}|racine carrée de {}|racine cubique de {}|racine {1}-ième de {0}"
        "|{} au carré|{} au cube|{} puissance {}|{} {}|de|à|de|somme|produit|intégrale|limite"
        "|plus|moins|plus ou moins|fois|divisé par|égale|différent de|inférieur à|supérieur à"
        "|inférieur ou égal à|supérieur ou égal à|environ égal à|tend vers|l'infini|degrés"
        "|pour cent"
    ),
    "es": (
        "{} sobre {}|{}, sobre {}|raíz cuadrada de {}|raíz cúbica de {}|raíz {1}-ésima de {0}"
        "|{} al cuadrado|{} al cubo|{} elevado a {}|{} sub {}|desde|hasta|de|suma|producto"
        "|integral|límite"
        "|más|menos|más menos|por|dividido por|igual a|distinto de|menor que|mayor que"
        "|menor o igual que|mayor o igual que|aproximadamente|tiende a|infinito|grados|por ciento"
    ),
    "it": (
        "{} fratto {}|{}, fratto {}|radice quadrata di {}|radice cubica di {}"
        "|radice {1}-esima di {0}|{} al quadrato|{} al cubo|{} elevato a {}|{} con {}|da|a|di"
        "|somma|prodotto|integrale|limite"
        "|più|meno|più o meno|per|diviso|uguale a|diverso da|minore di|maggiore di"
        "|minore o uguale a|maggiore o uguale a|circa|tende a|infinito|gradi|per cento"
    ),
    "nl": (
        "{} gedeeld door {}|{}, gedeeld door {}|de wortel van {}|de derdemachtswortel van {}"
        "|de {1}-de machtswortel van {0}|{} kwadraat|{} tot de derde|{} tot de macht {}|{} {}"
        "|van|tot|van|de som|het product|de integraal|de limiet"
        "|plus|min|plus of min|keer|gedeeld door|is gelijk aan|is niet gelijk aan|kleiner dan"
        "|groter dan|kleiner dan of gelijk aan|groter dan of gelijk aan|ongeveer|naar|oneindig"
        "|graden|procent"
    ),
    "pl": (
        "{} przez {}|{}, przez {}|pierwiastek z {}|pierwiastek sześcienny z {}"
        "|pierwiastek stopnia {1} z {0}|{} do kwadratu|{} do sześcianu|{} do potęgi {}|{} {}"
        "|od|do|z|suma|iloczyn|całka|granica"
        "|plus|minus|plus minus|razy|podzielić przez|równa się|nie równa się|mniejsze niż"
        "|większe niż|mniejsze lub równe|większe lub równe|około|do|nieskończoność|stopni|procent"
    ),
    "sv": (
        "{} genom {}|{}, genom {}|roten ur {}|kubikroten ur {}|{1}-te roten ur {0}"
        "|{} i kvadrat|{} i kubik|{} upphöjt till {}|{} {}|från|till|av|summan|produkten"
        "|integralen|gränsvärdet"
        "|plus|minus|plus minus|gånger|delat med|är lika med|är inte lika med|mindre än"
        "|större än|mindre än eller lika med|större än eller lika med|ungefär|går mot"
        "|oändligheten|grader|procent"
    ),
    "pt": (
        "{} sobre {}|{}, sobre {}|raiz quadrada de {}|raiz cúbica de {}|raiz {1}-ésima de {0}"
        "|{} ao quadrado|{} ao cubo|{} elevado a {}|{} {}|de|até|de|soma|produto|integral|limite"
        "|mais|menos|mais ou menos|vezes|dividido por|igual a|diferente de|menor que|maior que"
        "|menor ou igual a|maior ou igual a|aproximadamente|tende a|infinito|graus|por cento"
    ),
}
WORDS = {
    language: dict(zip(_TERMS, row.split("|"), strict=True)) for language, row in _LANGUAGES.items()
}
"""For each language: templates and words of what formulas are made of."""

PARTS = {
    2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh", 8: "eighth",
    9: "ninth", 10: "tenth", 12: "twelfth", 16: "sixteenth", 20: "twentieth",
    32: "thirty-second", 64: "sixty-fourth", 100: "hundredth",
}  # fmt: skip
"""What one part is called of so many that make a whole."""


def parts(numerator: int, denominator: int) -> str:
    """A fraction as so many parts: 3/8 is "3 eighths"."""
    one = PARTS[denominator]
    many = "halves" if denominator == 2 else f"{one}s"
    return f"{numerator} {one if numerator == 1 else many}"


@functools.lru_cache(64)
def formula_in_words(latex: str, language: str = "en") -> str:
    """A formula as it is read aloud; its variables are hidden from other rules until `show`.

    Args:
        latex: Without its delimiters.
        language: Of the voice, as "en" or "en-US". Of a language that `WORDS` does not know, the
            formula's symbols are left to the phonemiser.
    """
    from latex2mathml.converter import convert_to_element  # only who reads formulas waits for it

    latex = re.sub(r"(?<=\d)(?:\{,\}|,)(?=\d{3}(?!\d))", "", latex)
    try:
        tree = convert_to_element(latex.strip())
        for node in tree.iter():
            node.text = html.unescape(node.text or "")
        said = _Reader(language).said(tree)
    except Exception:  # broken LaTeX raises all kinds; its letters are left
        said = re.sub(r"\\[a-zA-Z]+|[\\{}$&]", " ", latex)
    return re.sub(r"\s+(?=,)|\s+(?=\s)", "", said).strip()


_ACCENTS = {"→": "vector {}", "¯": "{} bar", "―": "{} bar", "^": "{} hat", "˙": "{} dot",
            "~": "{} tilde"}  # fmt: skip
_BIG = {"∑": "∑", "∏": "∏", "∫": "∫", "lim": "lim"}
_SILENT = frozenset("()[]{}⟨⟩⌊⌋⌈⌉&\u2061\u2062\u2063")
_SAME = {"-": "−", "⋅": "×", "∗": "×", "*": "×", "·": "×", "⟶": "→", "≃": "≈", "⩽": "≤", "⩾": "≥"}
_BARS = {"|": "the absolute value of", "∣": "the absolute value of", "‖": "the norm of"}
_OPERATORS = frozenset("+−±×÷=≠<>≤≥≈→")
_ORDINALS = {"4": "fourth", "5": "fifth", "6": "sixth", "n": "nth", "k": "k-th"}


class _Reader:
    """Reads MathML out in one language."""

    def __init__(self, language: str) -> None:
        language = code_of(language)
        self._english = language == "en"
        self._words = WORDS.get(language, {})

    def said(self, node: Element) -> str:
        """What is said for a node."""
        rules: dict[str, Callable[[Element], str]] = {
            "mi": self._leaf, "mo": self._leaf, "mn": self._leaf, "mtext": self._leaf,
            "mspace": lambda space: ", " if space.get("linebreak") else " ",
            "msup": self._power, "msub": self._sub, "msubsup": self._sub,
            "munder": self._under, "mover": self._under, "munderover": self._under,
            "mfrac": self._fraction, "msqrt": self._root, "mroot": self._root,
            "mtable": lambda table: ", ".join(map(self.said, table)),
            "mtr": lambda row: ", ".join(map(self.said, row)),
        }  # fmt: skip
        return rules.get(node.tag, self._row)(node)

    def _row(self, row: Iterable[Element]) -> str:
        """Nodes one after the other. Upright letters are a word or a unit, no variables."""
        nodes = list(row)
        if nodes and all(map(_is_upright, nodes)):
            return "".join(map(_upright, nodes))
        out: list[str] = []
        open_bar = False
        for i, node in enumerate(nodes):
            text = node.text or ""
            if node.tag == "mo" and text in _BARS and self._english:
                closes = open_bar or not any(other.text == text for other in nodes[i + 1 :])
                out.append("given" if closes and not open_bar else "" if closes else _BARS[text])
                open_bar = not closes
            elif text == "(" and i:
                out.append(self._before_bracket(nodes, i))
            elif i and _innermost(node).text == ")" and node.tag == "msup":
                out.append(self._all(node[1]))
            elif text == "!" and self._english:
                out.append("factorial")
            elif text == ":" and self._english:
                out.append("from" if i and (nodes[i - 1].text or "") in "fgh" else "to")
            else:
                out.append(self.said(node))
        return " ".join(out)

    def _before_bracket(self, nodes: list[Element], i: int) -> str:
        """What a bracket says of what is before it: "f of x", "n times the rest"."""
        before = _innermost(nodes[i - 1])
        after = nodes[i + 2] if i + 2 < len(nodes) else None
        name = before.text or ""
        if before.tag == "mn" or name == ")" or (before.tag == "mi" and len(name) == 1):
            alone = after is not None and (after.text or _innermost(after).text) in (")", ",")
            if before.tag == "mi" and (name in "fghFGHPE" or alone):
                return self._word("of")
            return self._word("×")
        return ""

    def _all(self, exponent: Element) -> str:
        """The power of a whole bracket."""
        said = self._raised("", exponent).strip()
        return f"all {said}" if self._english else said

    def _word(self, term: str) -> str:
        return self._words.get(term, term)

    def _leaf(self, leaf: Element) -> str:
        text = _SAME.get(leaf.text or "", leaf.text or "")
        if leaf.tag == "mtext":
            return f" {text} "
        if text in ("…", "⋯", "⋮"):
            return ", and so on, " if self._english else " … "
        text = unicodedata.normalize("NFKC", text)
        if text in _SILENT:
            return ""
        if text in ("∑", "∏", "∫"):
            return f"{self._word(text)} {self._word('of')}"
        if text in self._words:
            return self._words[text]
        if text in _GREEK or (self._english and text in SYMBOLS):
            return SYMBOLS[text]
        if self._english and text in FUNCTIONS:
            return "the natural log of" if text == "ln" else FUNCTIONS[text]
        if len(text) == 1 and leaf.tag == "mi":
            return text.lower().translate(_HIDDEN)
        return text

    def _raised(self, base: str, exponent: Element) -> str:
        """A base and what is above it."""
        sign = _SAME.get(_innermost(exponent).text or "", _innermost(exponent).text or "")
        if _single(exponent):
            if sign in ("∘", "°"):
                return f"{base} {self._word('°')}"
            if sign and not sign.strip("′'"):
                return f"{base}{' prime' * len(sign)}" if self._english else base
            if sign == "2":
                return self._word("squared").format(base)
            if sign == "3":
                return self._word("cubed").format(base)
        template = self._words.get("power", "{} ^ {}")
        return template.format(base, self.said(exponent))

    def _power(self, node: Element) -> str:
        base, exponent = node
        if (base.text or "") in _BIG:
            return self._bounded(base, None, exponent)
        whole = base.tag == "mrow" and len(base) > 1 and base[0].get("fence") == "true"
        if whole:
            return f"{self.said(base)} {self._all(exponent)}"
        return self._raised(self.said(base), exponent)

    def _sub(self, node: Element) -> str:
        base, below = node[0], node[1]
        above = node[2] if len(node) > 2 else None
        if (base.text or "") in _BIG:
            return self._bounded(base, below, above)
        if base.text == "log" and self._english:
            return f"log base {self.said(below)} of"
        said = self._words.get("sub", "{} {}").format(self.said(base), self.said(below))
        return said if above is None else self._raised(said, above)

    def _under(self, node: Element) -> str:
        base, other = node[0], node[1]
        if (_innermost(base).text or "") in _BIG:
            if node.tag == "mover":
                return self._bounded(base, None, other)
            return self._bounded(base, other, node[2] if len(node) > 2 else None)
        accent = _ACCENTS.get(other.text or "") if node.tag == "mover" else None
        if accent and self._english:
            return accent.format(self.said(base))
        return self.said(base) if accent else f"{self.said(base)} {self.said(other)}"

    def _bounded(self, sign: Element, below: Element | None, above: Element | None) -> str:
        """A sum, a product, an integral or a limit, with its bounds."""
        name = _innermost(sign).text or ""
        out = [self._word(name)]
        if below is not None:
            said = self.said(below)
            if name == "lim" and self._english:
                out.append("as " + said.replace(" to ", " goes to ", 1))
            else:
                out += [self._word("from"), said]
        if above is not None:
            out += [self._word("to"), self.said(above)]
        return " ".join([*out, self._word("of")])

    def _fraction(self, node: Element) -> str:
        above, below = node
        top, bottom = self.said(above).strip(), self.said(below).strip()
        if node.get("linethickness") == "0":
            return f"{top} choose {bottom}" if self._english else f"{top}, {bottom}"
        if self._english and top.isdecimal() and bottom.isdecimal():
            a, b = int(top), int(bottom)
            if a < b and b in PARTS:
                return parts(a, b)
        compound = any(_SAME.get(n.text or "", n.text or "") in _OPERATORS for n in above.iter())
        return self._words.get("all over" if compound else "over", "{} / {}").format(top, bottom)

    def _root(self, node: Element) -> str:
        degree = "2" if node.tag == "msqrt" else _innermost(node[1]).text or ""
        base = " ".join(map(self.said, node)) if node.tag == "msqrt" else self.said(node[0])
        if degree in ("2", "3"):
            return self._words.get("square root" if degree == "2" else "cube root", "√ {}").format(
                base
            )
        which = _ORDINALS.get(degree, f"{degree}th") if self._english else degree
        return self._words.get("root", "{1} √ {0}").format(base, which)


def _is_upright(node: Element) -> bool:
    """Whether a node is of upright letters: a word or a unit."""
    if node.tag == "msup":
        return _is_upright(node[0])
    return node.get("mathvariant") == "normal" or (node.tag == "mo" and node.text == "/")


def _upright(node: Element) -> str:
    """A node of upright letters as text: "m/s^2"."""
    if node.tag == "msup":
        return "^".join(map(_upright, node))
    return (node.text or "") + "".join(map(_upright, node))


def _innermost(node: Element) -> Element:
    """The first leaf of a node."""
    while len(node):
        node = node[0]
    return node


def _single(node: Element) -> bool:
    """Whether a node has one leaf."""
    return sum(not len(n) for n in node.iter()) == 1
