"""What is said while a tool works: by us, to fill the time; by the user, to call it off. Pure.

What fills the time is in the language of the voice. It is no part of the reply's text, and the
history does not have it.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.engines.whisper import bare
from pipeline.text.language_names import code_of


class Bridges(NamedTuple):
    """What is said in a language.

    Attributes:
        first: Soon after the call, one after the other.
        again: When it takes long, once more.
        off: What users say who want no more of it, and nothing besides, but for `POLITE` words.
    """

    first: tuple[str, ...]
    again: tuple[str, ...]
    off: tuple[str, ...]


POLITE = frozenset(
    {"please", "no", "oh", "okay", "ok", "actually", "just", "well", "thanks", "bitte", "nein"}
    | {"danke", "non", "merci", "por", "favor", "gracias", "per", "favore", "grazie", "nee"}
    | {"não", "obrigado", "obrigada", "alstublieft", "proszę", "nie", "tack", "prosím", "ne"}
)
"""Words beside those of `Bridges.off` that change nothing."""


BRIDGES = {
    "en": Bridges(
        ("One moment, I'm checking.", "Let me see.", "Just a second."),
        ("I'm still on it.", "It takes a little longer.", "Still working on it."),
        (
            "cancel",
            "cancel that",
            "cancel it",
            "never mind",
            "nevermind",
            "forget it",
            "forget that",
            "stop searching",
            "stop looking",
            "stop checking",
            "call it off",
        ),
    ),
    "de": Bridges(
        ("Einen Moment, ich sehe nach.", "Mal sehen.", "Einen Augenblick."),
        ("Ich bin noch dabei.", "Es dauert noch ein wenig.", "Noch einen Moment."),
        ("abbrechen", "brich ab", "brich das ab", "vergiss es", "lass es", "lass gut sein", "egal"),
    ),
    "fr": Bridges(
        ("Un instant, je vérifie.", "Voyons voir.", "Juste une seconde."),
        ("Je suis toujours dessus.", "Cela prend un peu plus de temps.", "Encore un instant."),
        (
            "annule",
            "annulez",
            "annule ça",
            "laisse tomber",
            "laissez tomber",
            "oublie",
            "oublie ça",
        ),
    ),
    "es": Bridges(
        ("Un momento, lo compruebo.", "Déjame ver.", "Un segundo."),
        ("Sigo en ello.", "Tarda un poco más.", "Un momento más."),
        ("cancela", "cancélalo", "cancelar", "olvídalo", "déjalo", "no importa"),
    ),
    "it": Bridges(
        ("Un momento, controllo.", "Vediamo.", "Solo un secondo."),
        ("Ci sto ancora lavorando.", "Ci vuole ancora un po'.", "Ancora un momento."),
        ("annulla", "lascia stare", "lascia perdere", "non importa"),
    ),
    "pt": Bridges(
        ("Um momento, vou verificar.", "Vamos ver.", "Só um segundo."),
        ("Ainda estou a ver.", "Demora mais um pouco.", "Só mais um momento."),
        ("cancela", "cancele", "cancelar", "esquece", "esqueça", "deixa para lá"),
    ),
    "nl": Bridges(
        ("Een moment, ik kijk het na.", "Even kijken.", "Een seconde."),
        ("Ik ben er nog mee bezig.", "Het duurt nog even.", "Nog een moment."),
        ("annuleer", "annuleren", "laat maar", "vergeet het"),
    ),
    "pl": Bridges(
        ("Chwileczkę, sprawdzam.", "Zobaczmy.", "Sekundę."),
        ("Jeszcze sprawdzam.", "To potrwa trochę dłużej.", "Jeszcze chwilę."),
        ("anuluj", "nieważne", "zostaw to"),
    ),
    "sv": Bridges(
        ("Ett ögonblick, jag kollar.", "Få se.", "En sekund."),
        ("Jag håller fortfarande på.", "Det tar lite längre tid.", "Ett ögonblick till."),
        ("avbryt", "glöm det", "strunta i det"),
    ),
    "cs": Bridges(
        ("Okamžik, podívám se.", "Uvidíme.", "Vteřinku."),
        ("Ještě na tom pracuji.", "Trvá to o něco déle.", "Ještě okamžik."),
        ("zruš to", "zrušit", "nech to být", "zapomeň na to"),
    ),
    "ru": Bridges(
        ("Одну минуту, я проверю.", "Сейчас посмотрим.", "Секунду."),
        ("Я всё ещё проверяю.", "Это займёт ещё немного времени.", "Ещё минуту."),
        ("отмена", "отмени", "отмени это", "неважно", "забудь", "не надо"),
    ),
    "uk": Bridges(
        ("Хвилинку, я перевірю.", "Зараз подивимося.", "Секунду."),
        ("Я ще перевіряю.", "Це займе ще трохи часу.", "Ще хвилинку."),
        ("скасуй", "скасувати", "неважливо", "забудь", "не треба"),
    ),
    "tr": Bridges(
        ("Bir dakika, bakıyorum.", "Bir bakayım.", "Bir saniye."),
        ("Hâlâ bakıyorum.", "Biraz daha sürecek.", "Bir dakika daha."),
        ("iptal", "iptal et", "boş ver", "vazgeç"),
    ),
}


def bridge(language: str, number: int, *, again: bool) -> str:
    """What is said for the `number`th time; empty in a language that is not known here.

    Args:
        language: Code of what the voice speaks, such as `en` or `en-GB`.
        number: Counted through the conversation: each time it is another one.
        again: Whether something was said before, and it takes long.
    """
    known = BRIDGES.get(code_of(language))
    if known is None:
        return ""
    phrases = known.again if again else known.first
    return phrases[number % len(phrases)]


def called_off(text: str) -> bool:
    """Whether somebody says, in any of the languages, that they want no more of what runs.

    Only if they say nothing else: "Cancel my appointment" is for the model to understand.
    """
    return tuple(word for word in bare(text) if word not in POLITE) in _OFF


_OFF = {
    tuple(word for word in bare(phrase) if word not in POLITE)
    for known in BRIDGES.values()
    for phrase in known.off
}
