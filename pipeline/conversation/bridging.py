"""What is said while a tool works and nothing else is heard, by the language of the voice. Pure.

It only fills the time: it is no part of the reply's text, and the history does not have it.
"""

from __future__ import annotations

from typing import NamedTuple


class Bridges(NamedTuple):
    """What is said in a language, one after the other.

    Attributes:
        first: Soon after the call.
        again: When it takes long, once more.
    """

    first: tuple[str, ...]
    again: tuple[str, ...]


BRIDGES = {
    "en": Bridges(
        ("One moment, I'm checking.", "Let me see.", "Just a second."),
        ("I'm still on it.", "It takes a little longer.", "Still working on it."),
    ),
    "de": Bridges(
        ("Einen Moment, ich sehe nach.", "Mal sehen.", "Einen Augenblick."),
        ("Ich bin noch dabei.", "Es dauert noch ein wenig.", "Noch einen Moment."),
    ),
    "fr": Bridges(
        ("Un instant, je vérifie.", "Voyons voir.", "Juste une seconde."),
        ("Je suis toujours dessus.", "Cela prend un peu plus de temps.", "Encore un instant."),
    ),
    "es": Bridges(
        ("Un momento, lo compruebo.", "Déjame ver.", "Un segundo."),
        ("Sigo en ello.", "Tarda un poco más.", "Un momento más."),
    ),
    "it": Bridges(
        ("Un momento, controllo.", "Vediamo.", "Solo un secondo."),
        ("Ci sto ancora lavorando.", "Ci vuole ancora un po'.", "Ancora un momento."),
    ),
    "pt": Bridges(
        ("Um momento, vou verificar.", "Vamos ver.", "Só um segundo."),
        ("Ainda estou a ver.", "Demora mais um pouco.", "Só mais um momento."),
    ),
    "nl": Bridges(
        ("Een moment, ik kijk het na.", "Even kijken.", "Een seconde."),
        ("Ik ben er nog mee bezig.", "Het duurt nog even.", "Nog een moment."),
    ),
    "pl": Bridges(
        ("Chwileczkę, sprawdzam.", "Zobaczmy.", "Sekundę."),
        ("Jeszcze sprawdzam.", "To potrwa trochę dłużej.", "Jeszcze chwilę."),
    ),
    "sv": Bridges(
        ("Ett ögonblick, jag kollar.", "Få se.", "En sekund."),
        ("Jag håller fortfarande på.", "Det tar lite längre tid.", "Ett ögonblick till."),
    ),
    "cs": Bridges(
        ("Okamžik, podívám se.", "Uvidíme.", "Vteřinku."),
        ("Ještě na tom pracuji.", "Trvá to o něco déle.", "Ještě okamžik."),
    ),
    "ru": Bridges(
        ("Одну минуту, я проверю.", "Сейчас посмотрим.", "Секунду."),
        ("Я всё ещё проверяю.", "Это займёт ещё немного времени.", "Ещё минуту."),
    ),
    "uk": Bridges(
        ("Хвилинку, я перевірю.", "Зараз подивимося.", "Секунду."),
        ("Я ще перевіряю.", "Це займе ще трохи часу.", "Ще хвилинку."),
    ),
    "tr": Bridges(
        ("Bir dakika, bakıyorum.", "Bir bakayım.", "Bir saniye."),
        ("Hâlâ bakıyorum.", "Biraz daha sürecek.", "Bir dakika daha."),
    ),
}


def bridge(language: str, number: int, *, again: bool) -> str:
    """What is said for the `number`th time; empty in a language that is not known here.

    Args:
        language: Code of what the voice speaks, such as `en` or `en-GB`.
        number: Counted through the conversation: each time it is another one.
        again: Whether something was said before, and it takes long.
    """
    known = BRIDGES.get(language[:2].lower())
    if known is None:
        return ""
    phrases = known.again if again else known.first
    return phrases[number % len(phrases)]
