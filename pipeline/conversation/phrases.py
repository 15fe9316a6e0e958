"""What is said, and understood, without the model, in each language that is known here. Pure.

While a tool works the time is filled, and the user may call it off; before one that does something
they are asked. All that is in the language of the voice. It is no part of the reply's text, and the
history does not have it.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.engines.whisper import bare
from pipeline.text.language_names import code_of


class Phrases(NamedTuple):
    """Those of a language. Of what users say, `|` is between one phrase and the next.

    Attributes:
        wait: Said soon after the call of a tool, one after the other.
        still: When it takes long, once more.
        off: What users say who want no more of it, and nothing besides, but for `POLITE` words.
        ask: Whether a tool may be used.
        join: Between its name and what it is given.
        unclear: Said when it is not clear what the answer was.
        yes: Words and phrases of an answer, without signs. "Okay" and "fine" alone are none:
            recognisers write them for other short sounds.
        no: Likewise.
    """

    wait: tuple[str, ...]
    still: tuple[str, ...]
    off: str
    ask: str
    join: str
    unclear: str
    yes: str
    no: str


POLITE = frozenset(
    {"please", "no", "oh", "okay", "ok", "actually", "just", "well", "thanks", "bitte", "nein"}
    | {"danke", "non", "merci", "por", "favor", "gracias", "per", "favore", "grazie", "nee"}
    | {"não", "obrigado", "obrigada", "alstublieft", "proszę", "nie", "tack", "prosím", "ne"}
    | {"it", "that", "the", "es", "das", "die", "den"}
    | {"sure", "fine", "alright", "oké", "okej", "okey", "ок", "окей"}
    | {"thank", "you", "sil", "te", "vous", "plaît", "dank", "je", "graag", "hoor", "dziękuję"}
    | {"děkuji", "пожалуйста", "спасибо", "будь", "ласка", "дякую", "lütfen", "teşekkürler"}
)
"""Words beside those of `Phrases.off` and `Phrases.yes` that change nothing."""

PHRASES = {
    "en": Phrases(
        wait=("One moment, I'm checking.", "Let me see.", "Just a second."),
        still=("I'm still on it.", "It takes a little longer.", "Still working on it."),
        off="cancel|never mind|nevermind|forget it|stop searching|stop looking|stop checking|"
        "call it off",
        ask="May I use {tool}{with_}? Say yes or no.",
        join=" with ",
        unclear="Please say yes or no.",
        yes="yes|yeah|yep|yup|go ahead|please do|do it|please do it|do that|please do that|you may|"
        "you can|of course|certainly|absolutely|definitely|that's fine|that's okay|"
        "that's ok",
        no="no|nope|nah|not|don't|dont|do not|never|stop|cancel|wait|please don't|rather not",
    ),
    "de": Phrases(
        wait=("Einen Moment, ich sehe nach.", "Mal sehen.", "Einen Augenblick."),
        still=("Ich bin noch dabei.", "Es dauert noch ein wenig.", "Noch einen Moment."),
        off="abbrechen|brich ab|brich das ab|vergiss es|lass es|lass gut sein|egal",
        ask="Darf ich {tool} benutzen{with_}? Sag ja oder nein.",
        join=" mit ",
        unclear="Bitte sag ja oder nein.",
        yes="ja|jawohl|jo|klar|gerne|mach das|mach es|natürlich|sicher|in ordnung|bitte",
        no="nein|nö|ne|nee|nicht|kein|keine|lass|lass das|niemals|stopp|halt|abbrechen",
    ),
    "fr": Phrases(
        wait=("Un instant, je vérifie.", "Voyons voir.", "Juste une seconde."),
        still=(
            "Je suis toujours dessus.",
            "Cela prend un peu plus de temps.",
            "Encore un instant.",
        ),
        off="annule|annulez|annule ça|laisse tomber|laissez tomber|oublie|oublie ça",
        ask="Puis-je utiliser {tool}{with_} ? Dites oui ou non.",
        join=" avec ",
        unclear="Dites oui ou non, s'il vous plaît.",
        yes="oui|ouais|d'accord|bien sûr|vas-y|allez-y|certainement|volontiers",
        no="non|pas|jamais|arrête|arrêtez|annule|annulez|stop",
    ),
    "es": Phrases(
        wait=("Un momento, lo compruebo.", "Déjame ver.", "Un segundo."),
        still=("Sigo en ello.", "Tarda un poco más.", "Un momento más."),
        off="cancela|cancélalo|cancelar|olvídalo|déjalo|no importa",
        ask="¿Puedo usar {tool}{with_}? Di sí o no.",
        join=" con ",
        unclear="Por favor, di sí o no.",
        yes="sí|si|claro|claro que sí|vale|de acuerdo|adelante|hazlo|por supuesto|desde luego",
        no="no|nunca|para|cancela|mejor no|tampoco",
    ),
    "it": Phrases(
        wait=("Un momento, controllo.", "Vediamo.", "Solo un secondo."),
        still=("Ci sto ancora lavorando.", "Ci vuole ancora un po'.", "Ancora un momento."),
        off="annulla|lascia stare|lascia perdere|non importa",
        ask="Posso usare {tool}{with_}? Di' sì o no.",
        join=" con ",
        unclear="Per favore, di' sì o no.",
        yes="sì|si|certo|certo che sì|va bene|d'accordo|fallo|vai|certamente",
        no="no|non|mai|ferma|fermati|annulla",
    ),
    "pt": Phrases(
        wait=("Um momento, vou verificar.", "Vamos ver.", "Só um segundo."),
        still=("Ainda estou a ver.", "Demora mais um pouco.", "Só mais um momento."),
        off="cancela|cancele|cancelar|esquece|esqueça|deixa para lá",
        ask="Posso usar {tool}{with_}? Diga sim ou não.",
        join=" com ",
        unclear="Por favor, diga sim ou não.",
        yes="sim|claro|claro que sim|está bem|tudo bem|pode|com certeza|vai em frente",
        no="não|nao|nunca|para|pare|cancela|cancele",
    ),
    "nl": Phrases(
        wait=("Een moment, ik kijk het na.", "Even kijken.", "Een seconde."),
        still=("Ik ben er nog mee bezig.", "Het duurt nog even.", "Nog een moment."),
        off="annuleer|annuleren|laat maar|vergeet het",
        ask="Mag ik {tool} gebruiken{with_}? Zeg ja of nee.",
        join=" met ",
        unclear="Zeg alsjeblieft ja of nee.",
        yes="ja|jawel|jazeker|prima|goed|dat is goed|doe maar|natuurlijk|zeker",
        no="nee|neen|niet|geen|nooit|stop|annuleer",
    ),
    "pl": Phrases(
        wait=("Chwileczkę, sprawdzam.", "Zobaczmy.", "Sekundę."),
        still=("Jeszcze sprawdzam.", "To potrwa trochę dłużej.", "Jeszcze chwilę."),
        off="anuluj|nieważne|zostaw to",
        ask="Czy mogę użyć {tool}{with_}? Powiedz tak lub nie.",
        join=" z ",
        unclear="Proszę powiedzieć tak lub nie.",
        yes="tak|jasne|dobrze|oczywiście|proszę|zgoda|pewnie",
        no="nie|nigdy|stop|anuluj|przestań",
    ),
    "sv": Phrases(
        wait=("Ett ögonblick, jag kollar.", "Få se.", "En sekund."),
        still=("Jag håller fortfarande på.", "Det tar lite längre tid.", "Ett ögonblick till."),
        off="avbryt|glöm det|strunta i det",
        ask="Får jag använda {tool}{with_}? Säg ja eller nej.",
        join=" med ",
        unclear="Säg ja eller nej, tack.",
        yes="ja|javisst|jo|visst|gör det|absolut|gärna|självklart",
        no="nej|nä|inte|aldrig|stopp|avbryt",
    ),
    "cs": Phrases(
        wait=("Okamžik, podívám se.", "Uvidíme.", "Vteřinku."),
        still=("Ještě na tom pracuji.", "Trvá to o něco déle.", "Ještě okamžik."),
        off="zruš to|zrušit|nech to být|zapomeň na to",
        ask="Mohu použít {tool}{with_}? Řekněte ano nebo ne.",
        join=", ",
        unclear="Řekněte prosím ano nebo ne.",
        yes="ano|jo|jasně|dobře|samozřejmě|klidně",
        no="ne|nikdy|stop|zruš|zrušit",
    ),
    "ru": Phrases(
        wait=("Одну минуту, я проверю.", "Сейчас посмотрим.", "Секунду."),
        still=("Я всё ещё проверяю.", "Это займёт ещё немного времени.", "Ещё минуту."),
        off="отмена|отмени|отмени это|неважно|забудь|не надо",
        ask="Можно использовать {tool}{with_}? Скажите да или нет.",
        join=", ",
        unclear="Скажите, пожалуйста, да или нет.",
        yes="да|ага|конечно|хорошо|ладно|можно|давай|давайте",
        no="нет|не|никогда|стоп|отмена|нельзя",
    ),
    "uk": Phrases(
        wait=("Хвилинку, я перевірю.", "Зараз подивимося.", "Секунду."),
        still=("Я ще перевіряю.", "Це займе ще трохи часу.", "Ще хвилинку."),
        off="скасуй|скасувати|неважливо|забудь|не треба",
        ask="Чи можна використати {tool}{with_}? Скажіть так або ні.",
        join=", ",
        unclear="Скажіть, будь ласка, так або ні.",
        yes="так|ага|звичайно|добре|гаразд|можна|давай|давайте",
        no="ні|не|ніколи|стоп|скасуй|не можна",
    ),
    "tr": Phrases(
        wait=("Bir dakika, bakıyorum.", "Bir bakayım.", "Bir saniye."),
        still=("Hâlâ bakıyorum.", "Biraz daha sürecek.", "Bir dakika daha."),
        off="iptal|iptal et|boş ver|vazgeç",
        ask="{tool} kullanabilir miyim{with_}? Evet ya da hayır deyin.",
        join=", ",
        unclear="Lütfen evet ya da hayır deyin.",
        yes="evet|tamam|olur|peki|tabii|elbette|yap",
        no="hayır|yok|olmaz|asla|dur|iptal|yapma",
    ),
}


def bridge(language: str, number: int, *, again: bool) -> str:
    """What is said for the `number`th time; empty in a language that is not known here.

    Args:
        language: Code of what the voice speaks, such as `en` or `en-GB`.
        number: Counted through the conversation: each time it is another one.
        again: Whether something was said before, and it takes long.
    """
    known = PHRASES.get(code_of(language))
    if known is None:
        return ""
    phrases = known.still if again else known.wait
    return phrases[number % len(phrases)]


def called_off(text: str) -> bool:
    """Whether somebody says, in any of the languages, that they want no more of what runs.

    Only if they say nothing else: "Cancel my appointment" is for the model to understand.
    """
    return tuple(word for word in bare(text) if word not in POLITE) in _OFF


_OFF = {
    tuple(word for word in bare(phrase) if word not in POLITE)
    for known in PHRASES.values()
    for phrase in known.off.split("|")
}
