"""
What is known about single languages: words that carry no meaning of their own, and plain cues of decisions and tasks.

Short lists by hand, on purpose: nothing to download, and easy to extend. A language without a list is summarised as
well, with its most frequent words left out instead; decisions and tasks are then left empty, not guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_FUNCTION_WORDS = {
    "en": """
        a about actually after again ah all alright also always am an and another any anybody anything are aren't
        around as at away back be because been before being bit both but by bye came can can't cannot come could
        couldn't did didn't do does doesn't doing don't done down each else enough er even ever every everybody
        everything few first for from get gets getting give go goes going gonna good got gotta great guess guys
        had has have haven't having he he'd he'll he's hello her here hers hey hi him his hm hmm how huh i i'd
        i'll i'm i've idea if in into is isn't it it'd it'll it's its just kind kinda know last later least less
        let let's like little look looks lot lots made make makes many may maybe me mean means mhm might mine mm
        more most much must my need never new next nice no nobody nope not nothing now of off oh ok okay on once
        one ones only or other others our ours out over own people perhaps please point pretty probably put quite
        rather really right said same say saying says see seem seems shall she she's should shouldn't since so
        some somebody somehow someone something sometimes somewhere soon sort still stuff such sure take tell
        than thank thanks that that'd that'll that's the their theirs them then there there's these they they'd
        they'll they're they've thing things think this those though thought three through time to today together
        told too try trying two uh uh-huh um under until up us use used very wanna want wants was wasn't way we
        we'd we'll we're we've well went were weren't what what's whatever when where whether which while who
        who's whole whose why will with within without won't would wouldn't wow yeah year yep yes yet you you'd
        you'll you're you've your yours
    """,
    "de": """
        ab aber ach alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist
        bitte da dabei dafür dagegen daher damit danach dann daran darauf darf darum das dass dein deine dem den
        denn der deren des deshalb die dies diese diesem diesen dieser dieses dir doch dort du durch eben ein
        eine einem einen einer eines einfach einmal er es etwas euch euer eure für gab ganz geben gegen geht
        genau gerade gerne gesagt gibt ging gleich gut habe haben hat hatte hatten hier hin hm ich ihm ihn ihnen
        ihr ihre ihrem ihren ihrer im immer in ins irgendwie ist ja jede jeden jeder jedes jetzt kann kannst kein
        keine keinen können könnte könnten machen macht mal man mehr mein meine meinen meiner mich mir mit muss
        möchte müssen na nach nachdem natürlich ne nee nein nicht nichts noch nun nur ob oder oh ohne okay schon
        sehr sei sein seine seinen seiner seit sich sie sind so sollen sollte sollten sondern sonst sowie tja um
        und uns unser unsere unter viel viele vielleicht vom von vor war waren warum was weg weil weiß welche
        wenig wenn wer werde werden wie wieder will wir wird wirklich wo wollen worden wurde wurden würde würden
        zu zum zur zwar zwischen äh ähm über
    """,
    "fr": """
        ah ai alors après au aussi autre aux avait avant avec avez avoir avons bah beaucoup ben bien bon c'est
        car ce cela ces cet cette ceux chose comme comment d'accord dans de des donc du déjà elle elles en encore
        enfin est et euh eux faire fait faut fois font hein ici il ils j'ai je juste la le les leur leurs lui là
        ma mais me mes moi moins mon même n'est ne non nos notre nous on ont ou oui où par parce pas peu peut
        peux plus pour pourquoi qu'il qu'on quand que quel quelle quelque qui quoi rien sa sans se sera ses si
        son sont sous suis sur ta tes toi ton toujours tous tout toute toutes trop très tu un une va vais voilà
        vont vos votre vous vraiment y à ça étaient était été être
    """,
    "es": """
        a ah ahora ahí al algo alguna algunas alguno algunos allí antes aquí así aunque bien bueno cada casi como
        con cosa cosas creo cual cuando cuál cuándo cómo de del desde después donde dos dónde e eh el ella ellas
        ellos en entonces era eran es esa esas ese eso esos esta estaba estar estas este esto estos estoy está
        están fue fueron gracias ha había hace hacer han hasta hay he hola igual ir la las le les lo los luego me
        mi mis mucho muy más mí nada ni no nos nosotros o os otra otro para pero poco por porque puede puedo pues
        que quien quién qué se sea ser si sido siempre sin sobre solo son soy su sus sí sólo también tampoco tan
        tanto te tengo tenía ti tiene tienen todo todos tu tú un una uno unos usted va vale vamos van vez voy y
        ya yo él
    """,
    "it": """
        a abbiamo ad adesso ah ai al alla alle allora altra altri altro anche ancora avere c'è che chi ci ciò
        come con cosa così cui da dai dal dalla degli dei del della delle dello di dire dopo dove due e ecco ed
        era erano essere fa fare fatto gli ha hai hanno ho i il in io l' la le lei li lo loro lui là ma me meno
        mi mia mio molto ne nei nel nella no noi non nostra nostro o ogni oh ok ora per perché però più poco poi
        possiamo può qua quale quando quanto quella quelle quelli quello questa queste questi questo qui quindi
        sarà se sei si sia siamo sono sta stato su sua sul sulla suo sì te ti tra tu tutti tutto un una uno va vi
        voi è
    """,
    "pt": """
        a agora ah ainda algum alguma ali além antes ao aos aqui as assim até aí bem boa bom cada coisa com como
        da das de dela dele depois do dos e ela elas ele eles em entre então era essa esse estar estava este está
        estão eu faz fazer foi for foram gente há isso isto já lhe lá mais mas me mesmo meu minha muito na nada
        nas nem no nos nossa nosso num não né nós o onde os ou outra outro para pela pelo pode por porque pouco
        pra qual quando que quem se sem ser será seu sim sobre sua são só também tem tenho ter tinha todo todos
        tu tudo têm um uma umas uns vai vamos você vocês vou é
    """,
    "nl": """
        aan al alle alleen alles als altijd ander andere ben bent bij daar dan dat de den deze die dit doch doen
        door dus een eens eigenlijk en er even ga gaan gaat geen gewoon goed had heb hebben heeft hem het hier
        hij hoe hun iets ik in is ja je jij jou jouw jullie kan kun kunnen maar me meer men met mij mijn moet
        moeten na naar nee niet niets nog nou nu of oké om omdat ons onze ook op over te toch toen tot u uit uw
        van veel voor waar waren was wat we weer wel welke werd wie wij wil worden wordt zal ze zei zelf zich zij
        zijn zo zoals zonder zou
    """,
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}

FREQUENT_SHARE = 0.1
"""Without a list, words in more than this share of the units count as function words, once there are enough units."""

MIN_UNITS_FOR_FREQUENCY = 40

_VERB = (
    r"(?:send|write|call|e-?mail|prepare|check|ask|book|order|fix|update|finish|schedule|set up|draft|share|review|"
    r"look into|follow up|take care|organi[sz]e|upload|submit|arrange|circulate|contact)"
)
_DECISIONS = {
    "en": r"\b(?<!if )(?<!whether )(?<!until )(?<!when )(?<!once )(?<!before )(?<!unless )(?<!had )"
    r"we(?:'ve| have)?(?: all)? (?:decided|agreed|resolved|voted)\b"
    r"|\bthe decision (?:is|was)\b|\blet's go with\b|\bwe(?:'ll| will|'re going to| are going to) go with\b"
    r"|\b(?:it's|it is|that's|that is) (?:decided|agreed|settled)\b",
    "de": r"\bwir haben (?:(?!nicht|noch|nie)\w+ ){0,8}(?:beschlossen|entschieden|vereinbart|geeinigt)\b",
}
_TASKS = {
    "en": rf"\baction item\b|\bI(?:'ll| will|'m going to| am going to) {_VERB}\b"
    rf"|\b(?:can|could|would|will) you (?:please )?{_VERB}\b",
    "de": r"\bich (?:schicke|übernehme|erledige|kümmere mich)\b",
}
_OWN_TASKS = {
    "en": rf"\bI(?:'ll| will|'m going to| am going to) {_VERB}\b",
    "de": r"\bich (?:schicke|übernehme|erledige|kümmere mich)\b",
}
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_TAGE = "montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag"
_DUE = {
    "en": rf"\b(?:by|before|until|on) (?:the end of (?:the|this|next) (?:day|week|month)|tomorrow|tonight|next week"
    rf"|next month|(?:next )?(?:{_DAYS}))\b|\b(?:today|tomorrow|tonight|next week)\b",
    "de": rf"\b(?:bis|am) (?:ende der woche|nächste woche|morgen|(?:nächsten )?(?:{_TAGE}))\b"
    r"|\b(?:heute|nächste woche)\b",
}


class Cues:
    """The plain signs of one language that something was decided, or that somebody took something on."""

    def __init__(self, language: str | None) -> None:
        self._decision, self._task, self._own_task, self._due = (
            re.compile(patterns[language], re.IGNORECASE) if language in patterns else None
            for patterns in (_DECISIONS, _TASKS, _OWN_TASKS, _DUE)
        )

    def is_decision(self, text: str) -> bool:
        return _find(self._decision, text) is not None

    def is_task(self, text: str) -> bool:
        return _find(self._task, text) is not None

    def is_own_task(self, text: str) -> bool:
        """The speaker takes it on."""
        return _find(self._own_task, text) is not None

    def due(self, text: str) -> str | None:
        """When, as it was said."""
        return _find(self._due, text)


def list_language(language: str | None, terms: Iterable[str]) -> str | None:
    """
    The language whose lists fit: the one that was named, else the one whose function words cover most of the text.

    None when there is no list for the language, or when hardly a word of the text is in any.
    """
    if language is not None:
        named = language.split("-")[0].split("_")[0].lower()
        return named if named in FUNCTION_WORDS else None
    counts = Counter(terms)
    covered = {name: sum(counts[word] for word in words) for name, words in FUNCTION_WORDS.items()}
    best = max(covered, key=lambda name: covered[name])
    return best if covered[best] > 0.2 * counts.total() else None


def function_words(language: str | None, rows: Sequence[Sequence[str]]) -> frozenset[str]:
    """The words to leave out: those of the language's list, or for None (no list) what stands in very many units."""
    if language is not None:
        return FUNCTION_WORDS[language]
    if len(rows) < MIN_UNITS_FOR_FREQUENCY:
        return frozenset()
    units_with = Counter(term for row in rows for term in set(row))
    return frozenset(term for term, count in units_with.items() if count > FREQUENT_SHARE * len(rows))


def _find(pattern: re.Pattern[str] | None, text: str) -> str | None:
    found = pattern.search(text.replace("\u2019", "'")) if pattern else None
    return found[0] if found else None
