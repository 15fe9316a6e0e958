"""How languages other than English are read aloud: tables, by the code of the language.

They hold what espeak-ng misreads (`wording` applies them): of abbreviations the common ones, with
what each tells of the sentence, and the words for signs that it names in English or leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.text import ordinals


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeOfDay:
    """How the time of day is written and said.

    Attributes:
        hour: What is said between hours and minutes, after one hour and after more.
        joint: What comes before the minutes, after that.
        to: Said between two times.
        before: Words after which "14.30" is a time (a regular expression).
        after: Words after "14.30" that make it a time; they are not said beside `hour`.
        letter: What stands between hours and minutes in "14h30".
        bare_hours: Said after whole hours if one of `after` was written.
    """

    hour: tuple[str, str] = ("", "")
    joint: str = " "
    to: str
    before: str = ""
    after: str = ""
    letter: str = ""
    bare_hours: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How a language is read aloud.

    A key of the abbreviations may have a space after each full stop within it as it is written. It
    may begin with a capital. "?" makes its last full stop optional, "-" lets it end longer words,
    "#" asks for a number before it.

    Attributes:
        minus: The word before a negative number and between two numbers.
        to: The word between the ends of a range; "" leaves a pause.
        leads: Abbreviations, and their words, that always lead on: "z.B.", "Sig.".
        number: Those that lead on if a number or a small letter follows, and are words otherwise.
        ends: Those that end the sentence if a capital follows: "etc. Voilà".
        open: Those after which the next word decides: "5 Min. Pause", "5 Min. Danach".
        starters: Words that begin a sentence where a capital alone does not tell.
        stressed: Words of two or three letters that espeak-ng spells if they are in capitals.
        counted: Signs of money and short words that are counted, and their words by plural form:
            "one other", "one few many other".
        signs: Signs that espeak-ng leaves out or names in English, and their words; "+½" is that
            of "2½", ":" that of "3:1".
        one: The words for a single one of what is counted, masculine and feminine; "" leaves "1".
        cent: The word for hundredths, where there is nothing more.
        cents: What stands between "19 euros" and "95".
        half: "½" before a feminine word, and how such a word ends.
        of: What stands between "3 millions" and a word, before a consonant and before a vowel.
        per: What stands between "5 euros" and "kilo".
        comma: Said for a decimal comma, where espeak-ng says "point".
        hundred: What stands between "19" and "45" of 1945 where people count hundreds up to 1999.
        mute_point: Whether espeak-ng leaves out the point of "3.5".
        clock: See `TimeOfDay`.
        ordinals: A function of `ordinals`.
    """

    minus: str
    to: str = ""
    leads: dict[str, str] = field(default_factory=dict)
    number: dict[str, str] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    starters: str = ""
    stressed: str = ""
    counted: dict[str, str] = field(default_factory=dict)
    signs: dict[str, str] = field(default_factory=dict)
    one: tuple[str, str] = ("", "")
    cent: str = ""
    cents: str = " "
    half: tuple[str, str] = ("", "")
    of: tuple[str, str] = (" ", " ")
    per: str = ""
    comma: str = ""
    hundred: str = ""
    mute_point: bool = False
    clock: TimeOfDay | None = None
    ordinals: Callable[[str, bool], str] | None = None


# fmt: off
_GERMAN = Language(
    minus="minus",
    to="bis",
    leads={
        "Abt.": "Abteilung", "wg.": "wegen", "z.Hd.": "zu Händen", "ebd.": "ebenda",
        "jmd.": "jemand", "s.a.": "siehe auch", "Fa.": "Firma", "Frl.": "Fräulein",
        "Anl.": "Anlage", "s.S.": "siehe Seite", "s.Abb.": "siehe Abbildung",
        "s.Kap.": "siehe Kapitel", "s.Tab.": "siehe Tabelle", "o.g.": "oben genannte",
        "Anm.": "Anmerkung", "zw.": "zwischen", "bes.": "besonders", "dt.": "deutsch",
        "engl.": "englisch", "lat.": "lateinisch", "zB": "zum Beispiel", "ggfs.": "gegebenenfalls",
        "evt.": "eventuell", "vs.?": "versus", "insg.": "insgesamt", "i.S.v.": "im Sinne von",
        "z.H.": "zu Händen", "bspw.": "beispielsweise", "überw.": "überwiegend",
        "ungef.": "ungefähr", "u.E.": "unseres Erachtens", "i.H.v.": "in Höhe von",
        "Temp.": "Temperatur", "i.Allg.": "im Allgemeinen", "Mo.-Fr.?": "Montag bis Freitag",
        "Mo.–Fr.?": "Montag bis Freitag", "Mo-Fr": "Montag bis Freitag",
        "Mo–Fr": "Montag bis Freitag", "med.": "med", "z.B.": "zum Beispiel", "d.h.": "das heißt",
        "u.a.": "unter anderem", "bzw.": "beziehungsweise", "ggf.": "gegebenenfalls",
        "ca.?": "circa", "evtl.": "eventuell", "vgl.": "vergleiche", "sog.": "sogenannte",
        "inkl.": "inklusive", "exkl.": "exklusive", "zzgl.": "zuzüglich", "abzgl.": "abzüglich",
        "i.d.R.": "in der Regel", "i.A.": "im Auftrag", "u.U.": "unter Umständen",
        "z.T.": "zum Teil", "z.Z.": "zur Zeit", "z.Zt.": "zur Zeit", "m.E.": "meines Erachtens",
        "insb.": "insbesondere", "insbes.": "insbesondere", "gem.": "gemäß", "lt.": "laut",
        "bzgl.": "bezüglich", "einschl.": "einschließlich", "entspr.": "entsprechend",
        "allg.": "allgemein", "urspr.": "ursprünglich", "eigtl.": "eigentlich", "ehem.": "ehemalig",
        "geb.": "geboren", "gest.": "gestorben", "max.": "maximal", "mind.": "mindestens",
        "durchschn.": "durchschnittlich", "jährl.": "jährlich", "tägl.": "täglich",
        "mtl.": "monatlich", "s.o.": "siehe oben", "s.u.": "siehe unten", "i.e.": "das heißt",
        "Dr.?": "Doktor", "Prof.?": "Professor", "Hr.": "Herr", "Hrn.": "Herrn", "Fr.": "Frau",
        "Fam.": "Familie", "St.": "Sankt", "Dipl.-Ing.": "Diplomingenieur", "Ing.": "Ingenieur",
        "Hl.": "Heiliger", "hl.": "heilige", "Mag.": "Magister", "Rd.": "Rund", "rd.": "rund",
        "versch.": "verschiedene", "Tel.": "Telefon", "Nrn.": "Nummern",
    },
    number={
        "Nr.?": "Nummer", "Fr.": "Freitag", "Mo.": "Montag", "Di.": "Dienstag", "Mi.": "Mittwoch",
        "Do.": "Donnerstag", "Sa.": "Samstag", "Max.": "maximal", "min.": "minimal",
        "Min.": "minimal", "Bd.": "Band", "S.": "Seite", "Abb.": "Abbildung", "Kap.": "Kapitel",
        "Abs.": "Absatz", "Art.": "Artikel", "Abschn.": "Abschnitt", "Tab.": "Tabelle",
        "Ziff.": "Ziffer", "Jan.": "Januar",
    },
    ends={
        "u.dgl.": "und dergleichen", "u.s.f.": "und so fort", "u.v.a.m.": "und vieles andere mehr",
        "u.v.a.": "und viele andere", "usw.": "und so weiter", "etc.": "et cetera",
        "usf.": "und so fort", "u.v.m.": "und vieles mehr", "u.s.w.": "und so weiter",
        "u.ä.": "und ähnliches", "u.Ä.": "und Ähnliches",
    },
    open={
        "zus.": "zusammen", "dgl.": "dergleichen", "i.V.": "in Vertretung", "Hg.": "Herausgeber",
        "Pfd.": "Pfund", "#J.": "Jahre", "#Mon.": "Monate", "a.D.": "außer Dienst",
        "Hbf.?": "Hauptbahnhof", "Bhf.?": "Bahnhof", "Whg.": "Wohnung", "Hrsg.": "Herausgeber",
        "Bsp.": "Beispiel", "Mwst.": "Mehrwertsteuer", "p.a.": "pro Jahr", "k.A.": "keine Angabe",
        "Dez.": "Dezember", "Nov.": "November", "Okt.": "Oktober", "Sep.": "September",
        "Sept.": "September", "Aug.": "August", "Apr.": "April", "Feb.": "Februar",
        "#f.": "folgende", "#S.": "Seiten", "o.ä.": "oder ähnlich", "o.Ä.": "oder Ähnliches",
        "e.V.": "e V", "-str.": "straße",
        "-Str.": "Straße", "Str.": "Straße", "MwSt.": "Mehrwertsteuer", "v.Chr.": "vor Christus",
        "n.Chr.": "nach Christus", "Jh.": "Jahrhundert", "Mio.": "Millionen", "Mrd.": "Milliarden",
        "Tsd.": "Tausend", "Pers.": "Personen", "Stk.": "Stück", "Pkt.": "Punkte",
        "Aufl.": "Auflage", "Verf.": "Verfasser", "ff.": "folgende", "Pl.": "Platz",
    },
    stressed="alt gut ich ja neu nie nun nur rot wer wie",
    starters=(
        "aber alle alles als also am an auch auf aus außerdem bei beim bis bitte da dabei dafür"
        " daher damals damit danach dann daraus darum das dass dazu dein deine dem den denn der"
        " des deshalb dessen dich die dies diese dieser dieses dir doch dort du durch ein eine"
        " einem einen einer einige er es etwa für gegen gestern gibt gut haben hat hatte heute"
        " hier ich ihr ihre im in ist ja jede jeder jedes jedoch jetzt kann kein keine können"
        " leider man manche mein meine mit morgen möchte möchten nach natürlich nein nicht noch"
        " nun nur ob oder ohne schließlich schon sehr sein seine seit sich sie sind so sogar"
        " solche soll sonst später trotzdem um und uns unser unsere unter viele vielleicht vom"
        " von vor wann war waren warum was weil weitere welche wenn wer werden wie wir wird wo"
        " zu zudem zuerst zum zunächst zur zwar zwischen über übrigens"
    ),
    signs={
        "±": "plus minus", "≈": "ungefähr", "~": "etwa", "=": "gleich", "×": "mal",
        "÷": "geteilt durch", "&": "und", "<": "kleiner als", ">": "größer als",
        "≤": "kleiner oder gleich", "≥": "größer oder gleich", "²": "hoch 2", "³": "hoch 3",
        "½": "ein halb", "+½": "einhalb", "‰": "Promille", "#": "Nummer", "§": "Paragraf",
        "√": "Wurzel aus", ":": "zu",
    },
    half=("eine halbe", "e"),
    cent="Cent",
    per="pro",
    counted={
        "US$": "Dollar", "€": "Euro", "$": "Dollar", "£": "Pfund", "CHF": "Franken", "¥": "Yen",
        "EL": "Esslöffel Esslöffel", "TL": "Teelöffel Teelöffel",
        "Msp": "Messerspitze Messerspitzen", "mAh": "Milliamperestunde Milliamperestunden",
    },
    one=("ein", "eine"),
    hundred=" hundert ",
    clock=TimeOfDay(hour=(" Uhr", " Uhr"), to="bis", after="Uhr"),
    ordinals=ordinals.german,
)

_FRENCH = Language(
    minus="moins",
    to="à",
    leads={
        "qq.": "quelques", "vs.?": "versus", "N.B.": "nota bene", "P.-S.": "post-scriptum",
        "tél.?": "téléphone", "bd.?": "boulevard", "Ste.?": "Sainte", "St.?": "Saint",
        "MM.": "Messieurs", "M.": "Monsieur", "mme.?": "Madame", "Mmes.?": "Mesdames",
        "mlle.?": "Mademoiselle", "Mlles.?": "Mesdemoiselles", "Mr.?": "Monsieur",
        "dr.?": "Docteur", "Dre.?": "Docteure", "Pr.?": "Professeur", "prof.": "professeur",
        "Me.": "Maître", "Mgr.?": "Monseigneur", "p.ex.": "par exemple", "c.-à-d.": "c'est-à-dire",
        "càd.?": "c'est-à-dire", "env.": "environ", "cf.": "confer", "boul.": "boulevard",
        "av.": "avenue", "pl.": "place", "n°": "numéro", "nº": "numéro",
        "approx.": "approximativement", "rte.": "route", "fg.": "faubourg",
        "c.a.d.": "c'est-à-dire", "i.e.": "c'est-à-dire", "resp.": "respectivement",
        "qqch.": "quelque chose", "qqn.": "quelqu'un", "dép.": "département",
        "bât.": "bâtiment", "sté.?": "société",
    },
    number={
        "ex.": "exemple", "no.?": "numéro", "max.": "maximum", "min.": "minimum", "p.": "page",
        "pp.": "pages", "fig.": "figure", "chap.": "chapitre", "art.": "article", "vol.": "volume",
        "t.": "tome", "éd.": "édition", "ch.": "chapitre",
    },
    ends={
        "pers.": "personnes", "Cie.?": "compagnie", "déc.": "décembre", "nov.": "novembre",
        "oct.": "octobre", "sept.": "septembre", "juil.": "juillet", "avr.": "avril",
        "févr.": "février", "janv.": "janvier", "svp.?": "s'il vous plaît", "suiv.": "suivantes",
        "s.v.p.": "s'il vous plaît", "av.J.-C.": "avant Jésus-Christ",
        "ap.J.-C.": "après Jésus-Christ", "apr.J.-C.": "après Jésus-Christ", "etc.": "et cetera",
        "hab.": "habitants", "arr.": "arrondissement", "#p.": "pages",
        "c.à s.": "cuillères à soupe", "c.à.s.": "cuillères à soupe",
        "c.à c.": "cuillères à café", "c.à.c.": "cuillères à café", "#M€": "millions d'euros",
        "#Md€": "milliards d'euros", "#Mds€": "milliards d'euros", "#Md": "milliards",
        "#Mds": "milliards",
    },
    stressed="bon ne tu un",
    starters=(
        "alors après au aux avant avec bonne bref c ce cela ces cet cette chaque comme d dans"
        " de depuis des donc du elle elles en enfin ensuite est et il ils j je l la le les leur"
        " lorsque ma mais mon n nous on or ou où par pendant peut plus pour puis quand que qui"
        " sa sans selon si son sur toi tous tout toutes tu un une voici voilà vos votre vous y à"
    ),
    signs={
        "±": "plus ou moins", "≈": "environ", "~": "environ", "=": "égale", "×": "fois",
        "÷": "divisé par", "&": "et", "<": "inférieur à", ">": "supérieur à",
        "≤": "inférieur ou égal à", "≥": "supérieur ou égal à", "²": "au carré", "³": "au cube",
        "½": "un demi", "+½": "et demi", "‰": "pour mille", "#": "numéro", "§": "paragraphe",
        "√": "racine de", ":": "à",
    },
    cent="centimes",
    per="par",
    counted={
        "€": "euro euros", "$": "dollar dollars", "£": "livre livres", "CHF": "franc francs",
        "¥": "yen yens",
    },
    of=(" de ", " d'"),
    clock=TimeOfDay(hour=(" heure", " heures"), to="à", letter="[hH]"),
    ordinals=ordinals.french,
)

_SPANISH = Language(
    minus="menos",
    to="a",
    leads={
        "s/n": "sin número", "esq.": "esquina", "hno.": "hermano", "hnos.": "hermanos",
        "Mtro.": "maestro", "vs.?": "versus", "ej.": "ejemplo", "tlf.": "teléfono",
        "C.P.": "código postal", "Excmo.": "excelentísimo", "Ilmo.": "ilustrísimo",
        "v.gr.": "verbigracia", "prof.": "profesor", "sr.": "señor", "sra.": "señora",
        "srta.": "señorita", "sres.": "señores", "sras.": "señoras", "dr.": "doctor",
        "dra.": "doctora", "dres.": "doctores", "D.": "don", "Dña.": "doña", "D.ª": "doña",
        "profa.": "profesora", "Profª.?": "profesora", "gral.": "general", "lic.": "licenciado",
        "Lcdo.": "licenciado", "Lcda.": "licenciada", "ing.": "ingeniero", "arq.": "arquitecto",
        "Cnel.": "coronel", "Sto.": "santo", "Sta.": "santa", "S.": "san", "Mons.": "monseñor",
        "Fr.": "fray", "p.ej.": "por ejemplo", "aprox.": "aproximadamente", "Ave.": "avenida",
        "av.": "avenida", "avda.": "avenida", "c/": "calle", "pza.": "plaza", "Pl.": "plaza",
        "ctra.": "carretera", "P.º": "paseo", "n.º": "número", "nº": "número", "n.°": "número",
        "núm.": "número", "núms.": "números", "tel.": "teléfono", "teléf.": "teléfono",
        "tfno.": "teléfono", "i.e.": "es decir", "incl.": "incluido", "cf.": "confróntese",
        "la prof.": "la profesora", "depto.": "departamento", "dpto.": "departamento",
        "ed.": "edición",
    },
    number={
        "s.": "siglo", "máx.": "máximo", "mín.": "mínimo", "pág.": "página", "págs.": "páginas",
        "p.": "página", "pp.": "páginas", "art.": "artículo", "arts.": "artículos",
        "cap.": "capítulo", "caps.": "capítulos", "fig.": "figura", "vol.": "volumen",
        "Art.": "Artículo", "Fig.": "Figura", "Vol.": "Volumen", "nro.": "número",
    },
    ends={
        "atte.": "atentamente", "habs.": "habitantes", "dic.": "diciembre", "nov.": "noviembre",
        "oct.": "octubre", "sept.": "septiembre", "ago.": "agosto", "jul.": "julio",
        "jun.": "junio", "abr.": "abril", "feb.": "febrero", "ene.": "enero", "dcha.": "derecha",
        "izq.": "izquierda", "etc.": "etcétera", "Ud.": "usted", "Uds.": "ustedes", "Vd.": "usted",
        "Vds.": "ustedes", "EE.UU.": "Estados Unidos", "a.C.": "antes de Cristo",
        "d.C.": "después de Cristo", "a.m.": "de la mañana", "p.m.": "de la tarde", "ud.": "usted",
        "uds.": "ustedes", "S.A.": "S A", "Cía.": "compañía", "hab.": "habitantes",
        "mill.": "millones", "a.de C.": "antes de Cristo", "d.de C.": "después de Cristo",
        "Ltda.": "limitada", "#M€": "millones de euros",
    },
    stressed="con dos hoy más muy ni no si sin sí tan tú un ya",
    starters=(
        "a ahora al algunos antes aquí así aunque cada como con cuando cuál de del desde"
        " después donde e el ella ellas ellos en entonces era es esa ese eso esta estas este"
        " esto estos está están fue había hay he hoy la las le lo los luego me mi muchos muy más"
        " nada no nos nosotros o otra para pero por porque primero pues que quien qué se según"
        " ser si sin sobre son su sus sí también te tiene todo todos tras tu tú un una uno usted"
        " vamos y ya yo él"
    ),
    signs={
        "±": "más o menos", "≈": "aproximadamente", "~": "aproximadamente", "=": "igual a",
        "×": "por", "÷": "entre", "&": "y", "<": "menor que", ">": "mayor que",
        "≤": "menor o igual que", "≥": "mayor o igual que", "²": "al cuadrado", "³": "al cubo",
        "½": "medio", "+½": "y medio", "‰": "por mil", "#": "número", "§": "sección",
        "√": "raíz de", ":": "a",
    },
    half=("media", "a"),
    cent="céntimos",
    per="por",
    counted={
        "US$": "dólar dólares", "USD": "dólar dólares", "€": "euro euros", "$": "dólar dólares",
        "£": "libra libras", "¥": "yen yenes", "MXN": "peso pesos",
        "cda": "cucharada cucharadas", "cdas": "cucharada cucharadas",
        "cdta": "cucharadita cucharaditas", "cdtas": "cucharadita cucharaditas",
    },
    one=("un", "una"),
    cents=" con ",
    of=(" de ", " de "),
    clock=TimeOfDay(
        joint=" y ", to="a", before="las|la", after="h|hs|hrs|horas", letter="h",
        bare_hours=" horas",
    ),
    ordinals=ordinals.spanish,
)

_ITALIAN = Language(
    minus="meno",
    to="a",
    leads={
        "p.le": "piazzale", "rif.": "riferimento", "cav.": "cavalier", "sig.ri": "signori",
        "vs.?": "versus", "spett.le": "spettabile", "cell.": "cellulare", "F.lli": "fratelli",
        "ill.mo": "illustrissimo", "N.B.": "nota bene", "sec.": "secolo", "S.Maria": "Santa Maria",
        "S.Anna": "Santa Anna", "S.Lucia": "Santa Lucia", "S.Chiara": "Santa Chiara",
        "S.Croce": "Santa Croce", "gent.mo": "gentilissimo", "sig.": "signor", "sig.ra": "signora",
        "sig.na": "signorina", "sigg.": "signori", "sig.re": "signore", "dott.": "dottor",
        "dott.ssa": "dottoressa", "dr.": "dottor", "dr.ssa": "dottoressa", "prof.": "professor",
        "prof.ssa": "professoressa", "proff.": "professori", "ing.": "ingegner", "avv.": "avvocato",
        "arch.": "architetto", "rag.": "ragionier", "geom.": "geometra", "on.": "onorevole",
        "sen.": "senatore", "gen.": "generale", "col.": "colonnello", "mons.": "monsignor",
        "card.": "cardinale", "S.": "San", "SS.": "Santissimi", "Ss.": "Santi",
        "ad es.": "ad esempio", "p.es.": "per esempio", "per es.": "per esempio", "ca.": "circa",
        "cfr.": "confronta", "n°": "numero", "nº": "numero", "p.za": "piazza", "p.zza": "piazza",
        "v.le": "viale", "c.so": "corso", "L.go": "largo", "tel.": "telefono", "incl.": "incluso",
        "escl.": "escluso", "spett.": "spettabile", "egr.": "egregio", "gent.": "gentile",
        "gent.ma": "gentilissima", "es.": "esempio", "resp.": "rispettivamente", "loc.": "località",
        "c.a.": "circa",
    },
    number={
        "int.": "interno", "max.": "massimo", "min.": "minimo", "n.": "numero", "nn.": "numeri",
        "nr.": "numero", "num.": "numero", "pag.": "pagina", "pagg.": "pagine", "pp.": "pagine",
        "p.": "pagina", "art.": "articolo", "artt.": "articoli", "cap.": "capitolo",
        "capp.": "capitoli", "fig.": "figura", "figg.": "figure", "vol.": "volume",
        "voll.": "volumi", "v.": "vedi", "tab.": "tabella", "gen.": "gennaio", "mar.": "marzo",
        "set.": "settembre", "ed.": "edizione", "sez.": "sezione",
    },
    ends={
        "q.b.": "quanto basta", "tot.": "totale", "gg.": "giorni", "dic.": "dicembre",
        "nov.": "novembre", "ott.": "ottobre", "sett.": "settembre", "ago.": "agosto",
        "lug.": "luglio", "giu.": "giugno", "apr.": "aprile", "feb.": "febbraio",
        "ecc.": "eccetera", "etc.": "eccetera", "a.C.": "avanti Cristo", "d.C.": "dopo Cristo",
        "S.p.A.": "S P A", "S.r.l.": "S R L", "mln.": "milioni", "mld.": "miliardi",
        "ab.": "abitanti", "u.s.": "ultimo scorso", "p.v.": "prossimo venturo",
    },
    stressed="con due già ma mai non più si tu una",
    starters=(
        "a adesso ai al alla alle allora anche ancora che chi ci come con così da dal dalla dei"
        " del della delle di dopo dove dunque durante e ecco ed era fra gli ha hai hanno ho i il"
        " in infine inoltre invece io l la le lei lo loro lui ma mentre mi mio molti nei nel"
        " nella no noi non o oggi ogni ora per perché però poi prima qual quale quando quanto"
        " quella quello questa queste questi questo qui se secondo sei senza si sia siamo solo"
        " sono sta sul sulla tra tu tutti tutto un una uno vi voi è"
    ),
    signs={
        "±": "più o meno", "≈": "circa", "~": "circa", "=": "uguale a", "×": "per", "÷": "diviso",
        "&": "e", "<": "minore di", ">": "maggiore di", "≤": "minore o uguale a",
        "≥": "maggiore o uguale a", "²": "al quadrato", "³": "al cubo", "½": "mezzo",
        "+½": "e mezzo", "‰": "per mille", "#": "numero", "§": "paragrafo", "√": "radice di",
        ":": "a",
    },
    half=("mezza", "a"),
    cent="centesimi",
    per="al",
    counted={
        "€": "euro euro", "$": "dollaro dollari", "£": "sterlina sterline", "CHF": "franco franchi",
        "¥": "yen yen", "hg": "etto etti",
    },
    one=("un", "una"),
    cents=" e ",
    of=(" di ", " di "),
    clock=TimeOfDay(
        joint=" e ", to="alle", before="[Aa]lle|le|[Dd]alle|ore|all'", after="h|ore",
        bare_hours=" ore",
    ),
    ordinals=ordinals.italian,
)

_DUTCH = Language(
    minus="min",
    to="tot",
    leads={
        "nl.": "namelijk", "m.m.v.": "met medewerking van", "t.h.v.": "ter hoogte van",
        "d.i.": "dat is", "v.l.n.r.": "van links naar rechts", "vb.": "voorbeeld",
        "a.h.w.": "als het ware", "geb.": "geboren", "mevr.?": "mevrouw", "dhr.?": "de heer",
        "vs.?": "versus", "o.l.v.": "onder leiding van", "t.n.v.": "ten name van",
        "i.c.m.": "in combinatie met", "m.i.v.": "met ingang van", "v.a.": "vanaf",
        "c.q.": "casu quo", "t.z.t.": "te zijner tijd", "m.u.v.": "met uitzondering van",
        "t.g.v.": "ter gelegenheid van", "d.m.v.": "door middel van",
        "n.v.t.": "niet van toepassing", "t/m vr.": "tot en met vrijdag",
        "t/m za.": "tot en met zaterdag", "t/m zo.": "tot en met zondag",
        "t/m do.": "tot en met donderdag", "mw.": "mevrouw", "dr.": "dokter", "drs.": "doctorandus",
        "ir.": "ingenieur", "ing.": "ingenieur", "prof.": "professor", "mr.": "meester",
        "ds.": "dominee", "St.": "Sint", "bijv.": "bijvoorbeeld", "bv.": "bijvoorbeeld",
        "b.v.": "bijvoorbeeld", "d.w.z.": "dat wil zeggen", "dwz.?": "dat wil zeggen",
        "o.a.": "onder andere", "m.a.w.": "met andere woorden", "i.v.m.": "in verband met",
        "t.o.v.": "ten opzichte van", "n.a.v.": "naar aanleiding van",
        "m.b.t.": "met betrekking tot", "m.b.v.": "met behulp van", "t.b.v.": "ten behoeve van",
        "m.n.": "met name", "i.p.v.": "in plaats van", "i.t.t.": "in tegenstelling tot",
        "t.a.v.": "ter attentie van", "o.b.v.": "op basis van", "t/m": "tot en met",
        "nr.?": "nummer", "nrs.": "nummers", "ca.?": "circa", "resp.": "respectievelijk",
        "incl.": "inclusief", "excl.": "exclusief", "evt.": "eventueel", "ong.": "ongeveer",
        "tel.": "telefoon", "vgl.": "vergelijk", "zgn.": "zogenaamde", "z.g.": "zogenaamde",
        "gem.": "gemiddeld", "mbt.": "met betrekking tot", "e.e.a.": "een en ander",
        "a.s.": "aanstaande", "vnl.": "voornamelijk", "w.o.": "waaronder", "t.w.": "te weten",
        "-str.": "straat", "i.h.b.": "in het bijzonder", "fam.": "familie", "m.i.": "mijns inziens",
        "i.e.": "dat wil zeggen",
    },
    number={
        "max.": "maximaal", "min.": "minimaal", "blz.": "bladzijde", "p.": "pagina",
        "pag.": "pagina", "pp.": "pagina's", "fig.": "figuur", "afb.": "afbeelding",
        "hfst.": "hoofdstuk", "art.": "artikel", "vol.": "volume", "dl.": "deel",
        "par.": "paragraaf", "ma.": "maandag", "di.": "dinsdag", "wo.": "woensdag",
        "vr.": "vrijdag", "za.": "zaterdag", "jan.": "januari",
    },
    ends={
        "e.o.": "en omgeving", "e.v.": "en volgende", "dec.": "december", "nov.": "november",
        "okt.": "oktober", "sep.": "september", "sept.": "september", "aug.": "augustus",
        "jul.": "juli", "jun.": "juni", "apr.": "april", "mrt.": "maart", "feb.": "februari",
        "jl.": "jongstleden", "z.s.m.": "zo spoedig mogelijk", "s.v.p.": "alstublieft",
        "a.u.b.": "alstublieft", "e.d.": "en dergelijke", "enz.": "enzovoort", "etc.": "et cetera",
        "v.Chr.": "voor Christus", "n.Chr.": "na Christus", "mln.": "miljoen", "mld.": "miljard",
        "B.V.": "B V", "N.V.": "N V", "pers.": "personen", "p.p.": "per persoon", "p.u.": "per uur",
        "e.a.": "en anderen", "o.i.d.": "of iets dergelijks",
    },
    stressed="dat dit ja met nee nu ook wel zo",
    starters=(
        "aan al alle als bij daar daarna daarom dan dat de deze die dit door dus een eerst elke"
        " en er ga geen gisteren haar heb heeft het hier hij hoe ik in is ja je jij jullie kan"
        " kun later maar met mijn misschien morgen na naar nee niet nog nu of om omdat onze ook"
        " op over sinds soms te tijdens toch toen tot u uit uw van vandaag veel verder"
        " vervolgens via volgens voor waar waarom wanneer want was wat we wel wie wij zal ze zij"
        " zijn zo zonder zou"
    ),
    signs={
        "±": "plus of min", "≈": "ongeveer", "~": "ongeveer", "=": "is", "×": "keer",
        "÷": "gedeeld door", "&": "en", "<": "kleiner dan", ">": "groter dan",
        "≤": "kleiner dan of gelijk aan", "≥": "groter dan of gelijk aan", "²": "kwadraat",
        "³": "tot de derde", "½": "een half", "+½": "en een half", "‰": "promille", "#": "nummer",
        "§": "paragraaf", "√": "wortel van",
    },
    cent="cent",
    per="per",
    counted={
        "€": "euro", "$": "dollar", "£": "pond", "CHF": "frank", "¥": "yen",
        "el": "eetlepel eetlepels", "tl": "theelepel theelepels",
    },
    mute_point=True,
    hundred=" honderd ",
    clock=TimeOfDay(hour=(" uur", " uur"), to="tot", after="uur|u", letter="u"),
    ordinals=ordinals.dutch,
)

_POLISH = Language(
    minus="minus",
    to="do",
    leads={
        "ur.": "urodzony", "zm.": "zmarły", "dyr.": "dyrektor", "kl.": "klasa",
        "za szt.": "za sztukę", "vs.?": "kontra", "dn.": "dnia", "pw.": "pod wezwaniem",
        "nt.": "na temat", "ws.": "w sprawie", "pon.-pt.": "od poniedziałku do piątku",
        "pon.–pt.": "od poniedziałku do piątku", "tzn.?": "to znaczy", "tj.?": "to jest",
        "np.?": "na przykład", "w godz.": "w godzinach", "n.med.": "nauk medycznych",
        "z o.o.": "z o o", "pkt.?": "punkt", "tzw.": "tak zwany", "m.in.": "między innymi",
        "dr.?": "doktor", "prof.?": "profesor", "mgr.?": "magister", "inż.": "inżynier",
        "hab.": "habilitowany", "ks.": "ksiądz", "bp.?": "biskup", "gen.": "generał",
        "płk.?": "pułkownik", "kpt.": "kapitan", "Św.": "Święty", "przy ul.": "przy ulicy",
        "na ul.": "na ulicy", "z ul.": "z ulicy", "do ul.": "do ulicy", "ul.": "ulica",
        "przy al.": "przy alei", "w al.": "w alei", "al.": "aleja", "pl.": "plac", "os.": "osiedle",
        "nr.?": "numer", "im.": "imienia", "zob.": "zobacz", "por.": "porównaj", "wg.?": "według",
        "ds.": "do spraw", "ww.": "wyżej wymieniony", "w m.": "w mieście", "św.": "święty",
        "godz.": "godziny", "jw.": "jak wyżej", "red.": "redaktor", "dot.": "dotyczy",
        "pow.": "powiat", "woj.": "województwo", "gm.": "gmina", "tel.": "telefon",
        "ang.": "angielski", "łac.": "łacina", "p.": "pan", "pt.": "pod tytułem", "i.e.": "to jest",
        "śp.": "świętej pamięci", "przyp.": "przypis", "lek.": "lekarz",
    },
    number={
        "max.": "maksymalnie", "ok.": "około", "maks.": "maksymalnie", "min.": "minimum",
        "str.": "strona", "s.": "strona", "rys.": "rysunek", "rozdz.": "rozdział",
        "art.": "artykuł", "tab.": "tabela", "poz.": "pozycja", "t.": "tom", "ust.": "ustęp",
        "par.": "paragraf",
    },
    ends={
        "#os.": "osób", "n.p.m.": "nad poziomem morza", "szt.": "sztuk", "br.": "bieżącego roku",
        "itp.?": "i tym podobne", "itd.?": "i tak dalej", "etc.": "et cetera", "r.": "roku",
        "w.": "wieku", "p.n.e.": "przed naszą erą", "n.e.": "naszej ery",
        "m.st.": "miasta stołecznego", "S.A.": "S A", "cd.": "ciąg dalszy", "jr.": "junior",
    },
    stressed="już nie tak",
    starters=(
        "a aby ale ani bo być był była było były chociaż co czy dla dlaczego dlatego do dobrze"
        " dzisiaj gdy gdzie i ich ile inne ja jak jakie jednak jego jej jest jeśli już każdy"
        " kiedy kto która który ma mają mam mamy może my na nad najpierw nie niestety nigdy no o"
        " od ona one oni ono oraz pan pani po pod podczas potem poza przed przez przy później"
        " się stąd są ta tak także tam te tego ten teraz to tu tutaj ty tylko w we więc"
        " wszystkie wtedy z za ze że"
    ),
    signs={
        "±": "plus minus", "≈": "około", "~": "około", "=": "równa się", "×": "razy",
        "÷": "podzielić przez", "&": "i", "<": "mniejsze niż", ">": "większe niż",
        "≤": "mniejsze lub równe", "≥": "większe lub równe", "²": "do kwadratu",
        "³": "do sześcianu", "½": "pół", "+½": "i pół", "‰": "promili", "#": "numer",
        "§": "paragraf", "√": "pierwiastek z", ":": "do",
    },
    cent="groszy",
    per="za",
    counted={
        "gr": "grosz grosze groszy", "tys": "tysiąc tysiące tysięcy tysiąca",
        "mln": "milion miliony milionów miliona", "mld": "miliard miliardy miliardów miliarda",
        "zł": "złoty złote złotych złotego", "PLN": "złoty złote złotych złotego",
        "€": "euro euro euro", "$": "dolar dolary dolarów", "£": "funt funty funtów",
        "¥": "jen jeny jenów",
    },
    mute_point=True,
    ordinals=ordinals.polish,
)

_SWEDISH = Language(
    minus="minus",
    to="till",
    leads={
        "eg.": "egentligen", "ex.": "exempel", "omkr.": "omkring", "v.g.": "var god",
        "s.a.s.": "så att säga", "vs.?": "mot", "obs.": "observera", "i.o.m.": "i och med",
        "m.h.a.": "med hjälp av", "alt.": "alternativt", "d.": "den", "t.ex.": "till exempel",
        "bl.a.": "bland annat", "d.v.s.": "det vill säga", "dvs.?": "det vill säga",
        "p.g.a.": "på grund av", "pga.?": "på grund av", "s.k.": "så kallade", "f.d.": "före detta",
        "fr.o.m.": "från och med", "t.o.m.": "till och med", "f.n.": "för närvarande",
        "i.e.": "det vill säga", "m.a.o.": "med andra ord", "ca.?": "cirka", "c:a": "cirka",
        "kl.?": "klockan", "nr.?": "nummer", "inkl.": "inklusive", "exkl.": "exklusive",
        "ev.": "eventuellt", "resp.": "respektive", "jfr.?": "jämför", "dr.?": "doktor",
        "prof.?": "professor", "tel.": "telefon", "tfn.?": "telefon", "f.ö.": "för övrigt",
        "i st.f.": "i stället för", "ang.": "angående", "bl a": "bland annat",
        "t ex": "till exempel", "enl.": "enligt", "forts.": "fortsättning", "ung.": "ungefär",
        "S:t": "Sankt", "S:ta": "Sankta", "St.": "Sankt", "avd.": "avdelning", "ing.": "ingenjör",
        "hr.?": "herr", "fr.": "fru", "d.y.": "den yngre", "d.ä.": "den äldre", "g.m.": "gift med",
    },
    number={
        "max.": "maximalt", "min.": "minimalt", "fig.": "figur", "kap.": "kapitel",
        "art.": "artikel", "sid.": "sidan", "v.": "vecka", "s.": "sidan", "vol.": "volym",
        "jan.": "januari", "mån.": "måndag", "tis.": "tisdag", "ons.": "onsdag",
    },
    ends={
        "t.v.": "tills vidare", "m.v.h.": "med vänlig hälsning", "e.m.": "eftermiddagen",
        "f.m.": "förmiddagen", "dec.": "december", "nov.": "november", "okt.": "oktober",
        "sept.": "september", "aug.": "augusti", "apr.": "april", "feb.": "februari",
        "o.dyl.": "och dylikt", "mfl.": "med flera", "o.d.": "och dylikt", "osv.?": "och så vidare",
        "o.s.v.": "och så vidare", "m.m.": "med mera", "m.fl.": "med flera", "etc.": "et cetera",
        "f.Kr.": "före Kristus", "e.Kr.": "efter Kristus", "milj.": "miljoner",
        "mkr": "miljoner kronor", "e.d.": "eller dylikt", "pers.": "personer",
    },
    stressed="nej nu",
    starters=(
        "alla allt att av bara både de dem den denna deras dess dessa det detta dig där"
        " därefter därför då efter eller en ett fast flera från för först ha han hans har hennes"
        " hon hur här i ibland idag igår ingen inte ja jag jo kan kanske man med medan men mer"
        " min mina mot mycket många ni nu när nästa och också om på sedan senare ska skulle som"
        " så sådan tack till trots tyvärr under ut utan var varför varje vem vi vid vilka vilken"
        " vill är även åt över"
    ),
    signs={
        "±": "plus minus", "≈": "ungefär", "~": "ungefär", "=": "är lika med", "×": "gånger",
        "÷": "delat med", "&": "och", "<": "mindre än", ">": "större än",
        "≤": "mindre än eller lika med", "≥": "större än eller lika med", "²": "i kvadrat",
        "³": "i kubik", "½": "en halv", "+½": "och en halv", "‰": "promille", "#": "nummer",
        "§": "paragraf", "√": "roten ur", ":": "mot",
    },
    cent="öre",
    per="per",
    counted={
        "st": "styck stycken", "kr": "krona kronor", "€": "euro euro", "$": "dollar dollar",
        "£": "pund pund", "¥": "yen yen",
        "msk": "matsked matskedar", "tsk": "tesked teskedar", "krm": "kryddmått kryddmått",
        ":-": "krona kronor",
    },
    cents=" och ",
    comma=" komma ",
    hundred=" hundra ",
    clock=TimeOfDay(joint=" och ", to="till", before=r"[Kk]l\.?|[Kk]lockan"),
    ordinals=ordinals.swedish,
)

_PORTUGUESE = Language(
    minus="menos",
    to="a",
    leads={
        "tb.": "também", "ref.": "referência", "cód.": "código", "gov.": "governador",
        "Rod.": "rodovia", "vs.?": "versus", "s/n": "sem número", "Sen.": "senador",
        "Pres.": "presidente", "por ex.": "por exemplo", "na R.": "na rua", "da R.": "da rua",
        "a R.": "a rua", "pela R.": "pela rua", "à R.": "à rua", "sr.": "senhor", "sra.": "senhora",
        "Sr.ª": "senhora", "srta.": "senhorita", "srs.": "senhores", "sras.": "senhoras",
        "dr.": "doutor", "dra.": "doutora", "Dr.ª": "doutora", "drs.": "doutores",
        "prof.": "professor", "profa.": "professora", "Prof.ª": "professora",
        "Profª.?": "professora", "eng.": "engenheiro", "Eng.º": "engenheiro", "arq.": "arquiteto",
        "D.": "dom", "exmo.": "excelentíssimo", "exma.": "excelentíssima", "Ilmo.": "ilustríssimo",
        "Gen.": "general", "Cel.": "coronel", "Cap.": "capitão", "Pe.": "padre", "Sto.": "santo",
        "Sta.": "santa", "S.": "São", "p.ex.": "por exemplo", "aprox.": "aproximadamente",
        "av.": "avenida", "Pç.": "praça", "Pça.": "praça", "Al.": "alameda", "nº.?": "número",
        "n.º": "número", "n°": "número", "núm.": "número", "tel.": "telefone", "séc.": "século",
        "sécs.": "séculos", "i.e.": "isto é", "cf.": "confira", "incl.": "inclusive",
        "obs.": "observação", "ed.": "edição", "V.Exa.": "vossa excelência", "dep.": "departamento",
        "apto.": "apartamento",
    },
    number={
        "ex.": "exemplo", "máx.": "máximo", "mín.": "mínimo", "pág.": "página", "págs.": "páginas",
        "pag.": "página", "p.": "página", "pp.": "páginas", "art.": "artigo", "arts.": "artigos",
        "cap.": "capítulo", "caps.": "capítulos", "fig.": "figura", "vol.": "volume",
        "Art.": "Artigo", "Fig.": "Figura", "set.": "setembro", "out.": "outubro",
    },
    ends={
        "dez.": "dezembro", "nov.": "novembro", "ago.": "agosto", "jul.": "julho", "jun.": "junho",
        "abr.": "abril", "fev.": "fevereiro", "jan.": "janeiro", "etc.": "etcétera",
        "a.C.": "antes de Cristo", "d.C.": "depois de Cristo", "S.A.": "S A", "Ltda.": "limitada",
        "Cia.": "companhia", "hab.": "habitantes", "mi.": "milhões", "Jr.": "júnior",
        "a.m.": "da manhã", "p.m.": "da tarde",
    },
    stressed="bem com já nem sem sim só um",
    starters=(
        "a agora ainda antes ao aos após aqui as assim até cada com como da das de depois do"
        " dos durante e ela elas ele eles em então era essa esse esta este eu foi hoje há isso"
        " isto já logo mais mas me meu minha muito muitos na nas nem no nos não nós o onde os ou"
        " outra para pela pelo pois por porque quando que quem se segundo sem ser seu seus sim"
        " sobre sua são também tem teu todo todos tu um uma você vocês à às é"
    ),
    signs={
        "±": "mais ou menos", "≈": "aproximadamente", "~": "cerca de", "=": "igual a", "×": "vezes",
        "÷": "dividido por", "&": "e", "<": "menor que", ">": "maior que", "≤": "menor ou igual a",
        "≥": "maior ou igual a", "²": "ao quadrado", "³": "ao cubo", "½": "meio", "+½": "e meio",
        "‰": "por mil", "#": "número", "§": "parágrafo", "√": "raiz de", ":": "a",
    },
    half=("meia", "a"),
    cent="centavos",
    per="por",
    counted={
        "R$": "real reais", "€": "euro euros", "US$": "dólar dólares", "$": "dólar dólares",
        "£": "libra libras", "¥": "iene ienes",
    },
    one=("um", "uma"),
    mute_point=True,
    cents=" e ",
    of=(" de ", " de "),
    clock=TimeOfDay(hour=(" hora", " horas"), joint=" e ", to="às", letter="h(?:rs)?"),
    ordinals=ordinals.portuguese,
)

_DANISH = Language(
    minus="minus",
    to="til",
    leads={
        "d.": "den", "f.eks.": "for eksempel", "fx.?": "for eksempel", "bl.a.": "blandt andet",
        "ca.?": "cirka", "nr.?": "nummer", "dvs.?": "det vil sige", "d.v.s.": "det vil sige",
        "pga.?": "på grund af", "p.g.a.": "på grund af", "inkl.": "inklusive",
        "ekskl.": "eksklusive", "kl.?": "klokken", "evt.": "eventuelt", "hhv.": "henholdsvis",
        "jf.": "jævnfør", "tlf.": "telefon", "hr.": "herr", "fr.": "fru", "dr.": "doktor",
        "prof.": "professor", "mht.": "med hensyn til", "vedr.": "vedrørende",
        "fhv.": "forhenværende", "iflg.": "ifølge", "t.o.m.": "til og med",
    },
    number={"s.": "side", "maks.": "maksimalt", "min.": "minimum"},
    ends={
        "osv.": "og så videre", "o.s.v.": "og så videre", "m.m.": "med mere", "mv.": "med videre",
        "m.fl.": "med flere", "etc.": "et cetera", "f.Kr.": "før Kristus", "e.Kr.": "efter Kristus",
        "mio.": "millioner", "mia.": "milliarder",
    },
    stressed="ja nej nu",
    starters=(
        "af alle at bagefter da de den der derefter derfor desuden det dette du efter en er et"
        " for fra han hans har her hun hvad hvis hvor hvordan i ikke ja jeg kan man mange med"
        " men min nej nu når og også om på senere siden skal som så tak til under ved vi vil"
    ),
    signs={
        "±": "plus minus", "≈": "cirka", "~": "cirka", "½": "en halv", "+½": "og en halv",
        "‰": "promille",
    },
    cent="øre",
    per="per",
    counted={
        "kr": "krone kroner", "€": "euro euro", "$": "dollar dollars", "£": "pund pund",
        "spsk": "spiseske spiseskeer", "tsk": "teske teskeer",
    },
    hundred=" hundrede og ",
    clock=TimeOfDay(to="til", before=r"[Kk]l\.?|[Kk]lokken"),
)

_NORWEGIAN = Language(
    minus="minus",
    to="til",
    leads={
        "d.": "den", "f.eks.": "for eksempel", "bl.a.": "blant annet", "ca.?": "cirka",
        "nr.?": "nummer", "dvs.?": "det vil si", "d.v.s.": "det vil si", "pga.?": "på grunn av",
        "p.g.a.": "på grunn av", "inkl.": "inkludert", "ekskl.": "ekskludert", "kl.?": "klokken",
        "evt.": "eventuelt", "hhv.": "henholdsvis", "jf.": "jamfør", "tlf.": "telefon",
        "hr.": "herr", "fr.": "fru", "dr.": "doktor", "prof.": "professor",
        "mht.": "med hensyn til", "vedr.": "vedrørende", "iht.": "i henhold til",
        "t.o.m.": "til og med", "f.o.m.": "fra og med", "s.k.": "så kalte",
    },
    number={"s.": "side", "maks.": "maksimalt", "min.": "minimum"},
    ends={
        "osv.": "og så videre", "o.s.v.": "og så videre", "m.m.": "med mer", "mv.": "med videre",
        "m.fl.": "med flere", "etc.": "et cetera", "f.Kr.": "før Kristus", "e.Kr.": "etter Kristus",
        "mill.": "millioner", "mrd.": "milliarder",
    },
    stressed="ja nei nå",
    starters=(
        "alle at av da de den der deretter derfor dessuten det dette du en er et etter etterpå"
        " for fra han hans har her hun hva hvis hvor hvordan i ikke ja jeg kan man mange med men"
        " min nei nå når og også om på senere siden skal som så takk til under ved vi vil"
    ),
    signs={
        "±": "pluss minus", "≈": "cirka", "~": "cirka", "=": "er lik", "×": "ganger",
        "÷": "delt på", "½": "en halv", "+½": "og en halv",
    },
    cent="øre",
    per="per",
    counted={
        "kr": "krone kroner", "€": "euro euro", "$": "dollar dollar", "£": "pund pund",
        "ss": "spiseskje spiseskjeer", "ts": "teskje teskjeer",
    },
    hundred=" hundre og ",
    clock=TimeOfDay(to="til", before=r"[Kk]l\.?|[Kk]lokk(?:en|a)"),
)

_CZECH = Language(
    minus="minus",
    to="až",
    leads={
        "např.": "například", "cca.?": "cirka", "tj.": "to jest", "tzn.": "to znamená",
        "tzv.": "takzvaný", "mj.": "mimo jiné", "č.": "číslo", "str.": "strana", "ul.": "ulice",
        "p.": "pan", "pí.": "paní", "dr.": "doktor", "prof.": "profesor", "Ing.": "inženýr",
        "Mgr.": "magistr", "MUDr.": "doktor", "JUDr.": "doktor", "sv.": "svatý", "tel.": "telefon",
        "popř.": "popřípadě", "resp.": "respektive", "příp.": "případně", "vč.": "včetně",
        "nám.": "náměstí", "kap.": "kapitola", "obr.": "obrázek", "srov.": "srovnej",
    },
    number={"max.": "maximálně", "min.": "minimálně"},
    ends={
        "atd.": "a tak dále", "apod.": "a podobně", "aj.": "a jiné",
        "př.n.l.": "před naším letopočtem", "n.l.": "našeho letopočtu", "tis.": "tisíc",
        "mil.": "milionů", "r.": "roku", "a.s.": "a s", "s.r.o.": "s r o", "stol.": "století",
    },
    starters=(
        "a ale ano až by byl byla bylo co dnes do jak jako je jeho jejich její jen já k kde kdo"
        " kdy který mezi my má může na ne nebo ní o od on ona oni pak po pod podle potom poté"
        " pro proto protože před při s se si ta tak také tam ten to toto tu už v ve vy všechno z"
        " za ze že"
    ),
    signs={"&": "a", "~": "asi"},
    per="za",
    counted={"Kč": "koruna koruny koruny korun", "€": "euro eura eura eur"},
    clock=TimeOfDay(to="až", after="hod", bare_hours=" hodin"),
)

_SLOVAK = Language(
    minus="mínus",
    to="až",
    leads={
        "napr.": "napríklad", "cca.?": "cirka", "t.j.": "to jest", "tj.": "to jest",
        "tzv.": "takzvaný", "č.": "číslo", "str.": "strana", "ul.": "ulica", "p.": "pán",
        "dr.": "doktor", "prof.": "profesor", "Ing.": "inžinier", "Mgr.": "magister",
        "sv.": "svätý", "tel.": "telefón", "resp.": "respektíve", "vrát.": "vrátane",
        "nám.": "námestie",
    },
    number={"max.": "maximálne", "min.": "minimálne"},
    ends={
        "atď.": "a tak ďalej", "a pod.": "a podobne", "pod.": "podobne",
        "pred n.l.": "pred naším letopočtom", "tis.": "tisíc", "mil.": "miliónov", "r.": "roku",
        "s.r.o.": "s r o",
    },
    clock=TimeOfDay(to="až", after="hod", bare_hours=" hodín"),
    starters=(
        "a aj ale až bol bola bolo by dnes do ich ja je jeho jej k kde keď kto ktorý lebo medzi"
        " my má môže na nie o od on ona oni po pod podľa potom pre pred preto pri s sa si ta tak"
        " tam ten to toto tu už v vo vy všetko z za zo áno čo že"
    ),
)

_FINNISH = Language(
    minus="miinus",
    leads={
        "esim.": "esimerkiksi", "mm.": "muun muassa", "ts.": "toisin sanoen", "ks.": "katso",
        "vrt.": "vertaa", "prof.": "professori", "nro.?": "numero", "nk.": "niin kutsuttu",
        "ns.": "niin sanottu", "klo.?": "kello", "puh.": "puhelin", "ent.": "entinen",
        "sis.": "sisältää", "enint.": "enintään", "väh.": "vähintään",
    },
    number={"n.": "noin", "s.": "sivu", "maks.": "maksimi", "min.": "minimi"},
    ends={
        "jne.": "ja niin edelleen", "yms.": "ynnä muuta sellaista", "ym.": "ynnä muuta",
        "tms.": "tai muuta sellaista", "eaa.": "ennen ajanlaskun alkua", "eKr.": "ennen Kristusta",
        "jKr.": "jälkeen Kristuksen", "milj.": "miljoonaa", "mrd.": "miljardia",
        "kpl.": "kappaletta", "etc.": "et cetera",
    },
    starters=(
        "ei eli en ennen entä he hän ja jos jälkeen kaikki kiitos koska kuin kun me miksi mikä"
        " minä missä mitä monet mutta myös ne niin nyt olen on ovat se sen siellä siis sinä"
        " sitten tai te tämä tässä vaan vain vielä voi"
    ),
    per="per",
    counted={
        "€": "euro euroa", "$": "dollari dollaria",
        "rkl": "ruokalusikka ruokalusikallista", "tl": "teelusikka teelusikallista",
    },
    clock=TimeOfDay(to="", before="[Kk]lo|[Kk]ello"),
)

_RUSSIAN = Language(
    minus="минус",
    to="до",
    leads={
        "г.": "город", "т.е.": "то есть", "т.к.": "так как", "т.н.": "так называемый",
        "напр.": "например", "на ул.": "на улице", "по ул.": "по улице", "ул.": "улица",
        "см.": "смотри", "ср.": "сравни", "пр.": "проспект", "просп.": "проспект", "пл.": "площадь",
        "тел.": "телефон", "проф.": "профессор", "акад.": "академик", "св.": "святой",
        "ок.": "около", "макс.": "максимум", "в т.ч.": "в том числе", "№": "номер",
    },
    number={
        "с.": "страница", "стр.": "страница", "д.": "дом", "кв.": "квартира", "рис.": "рисунок",
        "гл.": "глава", "макс.": "максимум", "мин.": "минимум",
    },
    ends={
        "#г.": "года", "и т.д.": "и так далее", "и т.п.": "и тому подобное", "и др.": "и другие",
        "и пр.": "и прочее", "т.д.": "так далее", "т.п.": "тому подобное", "др.": "другие",
        "коп.": "копеек", "гг.": "годов", "г.н.э.": "года нашей эры", "до н.э.": "до нашей эры",
        "н.э.": "нашей эры", "чел.": "человек", "шт.": "штук", "в.": "века", "вв.": "веков",
        "#ст.л.": "столовые ложки", "#ч.л.": "чайные ложки",
    },
    starters=(
        "а без был была было в вам вас вот все всё вы где да для до его ее если есть еще ещё её"
        " же за здесь и из или их к как какой когда который кто куда мы на над не нет но о об он"
        " она они оно от по под после потом поэтому при про с сейчас так также там тем теперь то"
        " тогда тот ты у уже что чтобы это этот я"
    ),
    signs={
        "±": "плюс минус", "≈": "примерно", "~": "примерно", "&": "и", "×": "на", "½": "половина",
        "+½": "с половиной",
    },
    per="за",
    counted={
        "тыс": "тысяча тысячи тысяч", "млн": "миллион миллиона миллионов",
        "млрд": "миллиард миллиарда миллиардов", "руб": "рубль рубля рублей",
        "₽": "рубль рубля рублей", "€": "евро евро евро", "$": "доллар доллара долларов",
    },
)

_UKRAINIAN = Language(
    minus="мінус",
    to="до",
    leads={
        "т.зв.": "так званий", "напр.": "наприклад", "на вул.": "на вулиці", "вул.": "вулиця",
        "ім.": "імені", "див.": "дивись", "пл.": "площа", "тел.": "телефон", "стор.": "сторінка",
        "проф.": "професор", "св.": "святий", "макс.": "максимум", "просп.": "проспект",
        "буд.": "будинок", "м.": "місто", "№": "номер",
    },
    number={"рис.": "рисунок"},
    ends={
        "і т.д.": "і так далі", "і т.п.": "і тому подібне", "та ін.": "та інші",
        "і т.ін.": "і таке інше", "тощо.": "тощо", "рр.": "років", "р.": "року",
        "до н.е.": "до нашої ери", "н.е.": "нашої ери", "ст.": "століття",
        "#ст.л.": "столові ложки", "#ч.л.": "чайні ложки",
    },
    starters=(
        "а але без був була було в вам вас вже ви вона вони все він для до з за зараз й його"
        " коли крім мене ми на над не ні ось по потім при про під після та так також там тепер"
        " ти то тоді тому у хто це цей що щоб я як який якщо є і із їх її"
    ),
    per="за",
    counted={
        "тис": "тисяча тисячі тисяч", "млн": "мільйон мільйони мільйонів",
        "млрд": "мільярд мільярди мільярдів", "грн": "гривня гривні гривень",
        "₴": "гривня гривні гривень", "€": "євро євро євро", "$": "долар долари доларів",
    },
)

_TURKISH = Language(
    minus="eksi",
    to="ila",
    leads={
        "Dr.": "Doktor", "Prof.": "Profesör", "Doç.": "Doçent", "Av.": "Avukat", "Sn.": "Sayın",
        "örn.": "örneğin", "Örn.": "Örneğin", "bkz.": "bakınız", "Cad.": "Caddesi", "Sok.": "Sokak",
        "Mah.": "Mahallesi", "tel.": "telefon", "Tel.": "Telefon", "yakl.": "yaklaşık",
        "maks.": "maksimum",
    },
    number={"No.": "numara", "s.": "sayfa"},
    ends={
        "vb.": "ve benzeri", "vs.": "ve saire", "vd.": "ve diğerleri", "M.Ö.": "milattan önce",
        "M.S.": "milattan sonra", "A.Ş.": "A Ş",
    },
    starters=(
        "ama ancak bana ben bir biz bu bugün bunlar böyle böylece daha de en evet eğer fakat"
        " gibi hayır hem her iki ile ise için ne neden o olan onlar onun oysa sen siz sonra ve"
        " veya ya yani çok çünkü önce şimdi şu"
    ),
    per="bölü",
    counted={"₺": "lira lira", "€": "euro euro", "$": "dolar dolar"},
    clock=TimeOfDay(to="ila", before="[Ss]aat"),
)

_HUNGARIAN = Language(
    minus="mínusz",
    leads={
        "pl.": "például", "kb.": "körülbelül", "dr.": "doktor", "prof.": "professzor",
        "ún.": "úgynevezett", "ill.": "illetve", "Szt.": "Szent", "ti.": "tudniillik",
        "tel.": "telefon", "id.": "idősebb", "ifj.": "ifjabb", "özv.": "özvegy",
        "vö.": "vesd össze", "ld.": "lásd", "sz.": "szám",
    },
    number={"max.": "maximum", "min.": "minimum"},
    ends={
        "stb.": "és a többi", "i.e.": "időszámításunk előtt", "i.sz.": "időszámításunk szerint",
        "Kr.e.": "Krisztus előtt", "Kr.u.": "Krisztus után", "Kft.": "kft", "u.": "utca",
    },
    starters=(
        "a aki akkor ami az azonban azt aztán azért be csak de egy ekkor el előtt ez ezek ezt"
        " ezért ha hanem hogy hol igen is itt ki később le lehet majd meg mert mi mit most még"
        " nagyon nem nincs ott pedig sem sok után vagy van én és így ő ők"
    ),
    per="per",
    counted={"Ft": "forint forint", "€": "euró euró", "$": "dollár dollár"},
)

_ROMANIAN = Language(
    minus="minus",
    to="până la",
    leads={
        "dl.": "domnul", "dna.": "doamna", "d-na": "doamna", "d-l": "domnul", "dr.": "doctor",
        "prof.": "profesor", "ing.": "inginer", "str.": "strada", "nr.": "numărul",
        "bd.": "bulevardul", "p.ex.": "de exemplu", "de ex.": "de exemplu", "aprox.": "aproximativ",
        "pag.": "pagina", "sf.": "sfântul", "tel.": "telefon", "cca.?": "circa", "jud.": "județul",
    },
    number={
        "art.": "articolul", "fig.": "figura", "cap.": "capitolul", "max.": "maximum",
        "min.": "minimum",
    },
    ends={
        "etc.": "etcetera", "ș.a.m.d.": "și așa mai departe", "ș.a.": "și altele",
        "î.Hr.": "înainte de Hristos", "d.Hr.": "după Hristos", "mil.": "milioane",
    },
    starters=(
        "a aceasta acest acum am apoi ar are astfel atunci au aș ca cand care ce cei cel cine"
        " cu cum când da dacă dar de deci deoarece din după e ea ei el ele era este eu fi fără"
        " iar ieri la mai multe mulți nici noi nu o oricum pe pentru poate prin sau se sub sunt"
        " un una unde voi vă în încă între și"
    ),
    per="pe",
    counted={"€": "euro euro euro", "$": "dolar dolari dolari"},
)

_CATALAN = Language(
    minus="menys",
    to="a",
    leads={
        "sr.": "senyor", "sra.": "senyora", "srs.": "senyors", "dr.": "doctor", "dra.": "doctora",
        "p.ex.": "per exemple", "núm.": "número", "n.º": "número", "pàg.": "pàgina",
        "av.": "avinguda", "c/": "carrer", "pl.": "plaça", "aprox.": "aproximadament",
        "tel.": "telèfon", "St.": "Sant", "Sta.": "Santa",
    },
    number={
        "art.": "article", "cap.": "capítol", "fig.": "figura", "vol.": "volum", "màx.": "màxim",
        "mín.": "mínim",
    },
    ends={"etc.": "etcètera", "a.C.": "abans de Crist", "d.C.": "després de Crist"},
    starters=(
        "a així al als amb aquest aquesta aquí ara avui bé cada com de del dels després doncs"
        " el ella ells els en encara era es està fins ha hi i ja jo la les li llavors molt més"
        " no o on per perquè però pot quan que qui què sense si sí són també tot totes té un una"
        " va és"
    ),
    per="per",
    counted={"€": "euro euros", "$": "dòlar dòlars"},
)

_GREEK = Language(
    minus="μείον",
    to="έως",
    leads={
        "π.χ.": "παραδείγματος χάρη", "δηλ.": "δηλαδή", "βλ.": "βλέπε", "τηλ.": "τηλέφωνο",
        "του κ.": "του κυρίου", "τον κ.": "τον κύριο", "η κ.": "η κυρία",
        "την κ.": "την κυρία", "της κ.": "της κυρίας", "κ.": "κύριος", "κα.": "κυρία",
        "Δρ.?": "Δόκτωρ", "καθ.": "καθηγητής", "λεωφ.": "λεωφόρος", "οδ.": "οδός",
        "περ.": "περίπου", "συμπ.": "συμπεριλαμβανομένου", "ό.π.": "όπως παραπάνω",
    },
    number={
        "σελ.": "σελίδα", "σ.": "σελίδα", "κεφ.": "κεφάλαιο", "εικ.": "εικόνα", "αρ.": "αριθμός",
    },
    ends={
        "κ.λπ.": "και λοιπά", "κλπ.": "και λοιπά", "κ.τ.λ.": "και τα λοιπά",
        "κτλ.": "και τα λοιπά", "κ.ά.": "και άλλα", "κ.α.": "και άλλα", "π.Χ.": "προ Χριστού",
        "μ.Χ.": "μετά Χριστόν", "π.μ.": "πριν το μεσημέρι", "μ.μ.": "μετά το μεσημέρι",
        "χλμ.": "χιλιόμετρα", "εκ.": "εκατοστά", "εκατ.": "εκατομμύρια", "δισ.": "δισεκατομμύρια",
    },
    starters=(
        "αλλά αν αργότερα αυτά αυτή αυτό αυτός για δεν εγώ εδώ είναι εκεί εμείς ενώ επίσης εσύ"
        " ένα ένας έτσι έχει η θα και κάθε μετά μια μπορεί μπορείτε να ναι ο οι όλα όμως όταν"
        " όχι πολλά ποιος πού πριν πώς σε σήμερα στη στην στις στο στον στους τα τη την της τι"
        " τις το τον του τους τότε τώρα ύστερα χωρίς ως"
    ),
    per="ανά",
    counted={"€": "ευρώ ευρώ", "$": "δολάριο δολάρια"},
)

LANGUAGES = {
    "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "it": _ITALIAN, "nl": _DUTCH, "pl": _POLISH,
    "sv": _SWEDISH, "pt": _PORTUGUESE, "da": _DANISH, "no": _NORWEGIAN, "cs": _CZECH,
    "sk": _SLOVAK, "fi": _FINNISH, "ru": _RUSSIAN, "uk": _UKRAINIAN, "tr": _TURKISH,
    "hu": _HUNGARIAN, "ro": _ROMANIAN, "ca": _CATALAN,
    "ar": Language(minus="ناقص", to="إلى"),
    "bg": Language(minus="минус", to="до"),
    "cy": Language(minus="minws", to="i"),
    "el": _GREEK,
    "eu": Language(minus="minus"),
    "fa": Language(minus="منفی", to="تا"),
    "hi": Language(minus="माइनस", to="से"),
    "id": Language(minus="minus", to="sampai"),
    "is": Language(minus="mínus", to="til"),
    "ja": Language(minus="マイナス", to="から"),
    "ka": Language(minus="მინუს"),
    "kk": Language(minus="минус"),
    "ko": Language(minus="마이너스", to="에서"),
    "ku": Language(minus="minus"),
    "lb": Language(minus="minus", to="bis"),
    "lt": Language(minus="minus", to="iki"),
    "lv": Language(minus="mīnus", to="līdz"),
    "ml": Language(minus="മൈനസ്"),
    "ne": Language(minus="माइनस", to="देखि"),
    "sl": Language(
        minus="minus", to="do", leads={"npr.": "na primer", "dr.": "doktor", "oz.": "oziroma"},
        ends={"itd.": "in tako dalje", "ipd.": "in podobno"},
    ),
    "sq": Language(minus="minus", to="deri"),
    "sr": Language(
        minus="minus", to="do", leads={"npr.": "na primer", "dr.": "doktor", "tj.": "to jest"},
        ends={"itd.": "i tako dalje"},
    ),
    "sw": Language(minus="hasi", to="hadi"),
    "te": Language(minus="మైనస్"),
    "ur": Language(minus="منفی", to="سے"),
    "vi": Language(minus="âm", to="đến"),
    "zh": Language(minus="负", to="到"),
}
# fmt: on
