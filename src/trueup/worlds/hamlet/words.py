"""The closed classes of words that facts, requests and descriptions draw from. A word is in one class only."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WOMEN = _words(
    "ada agnes alma anna astrid beata berta clara cora dagny dora edda edith elsa emma erna esther eva fanny frida "
    "gerda greta hanna hedda helga hilda ida inga irma jana judith karla katja lena lina lotte lucia magda maja marta "
    "mina mona nora olga paula petra runa sara selma signe sofia thea thora ulla vera viola wanda yrsa zita elin"
)
MEN = _words(
    "adam albin anton arne axel bernd bjorn bruno carl david edgar egil elias emil erik felix finn fritz georg gustav "
    "hans harald henrik hugo igor ivar jakob jan johan jonas josef karel kurt lars leo ludwig magnus martin mikkel "
    "nils olaf oskar otto paul peter ralf rolf rune samuel sigurd simon stefan sven thomas tor ulrik viktor walter "
    "werner konrad"
)

# The largest sum there is, and one more for those who miscount.
MOST_NUMBER = 17

CLASSES: dict[str, tuple[str, ...]] = {
    "person": WOMEN + MEN,
    "place": _words(
        "mill fountain forge chapel bridge river pond orchard market tower quarry meadow harbor inn school gate lake "
        "hill bakery garden"
    ),
    "trade": _words(
        "baker smith weaver miller potter tailor fisher carpenter cooper shepherd mason tanner brewer dyer hunter "
        "roofer painter barber"
    ),
    "food": _words(
        "bread cheese honey cake soup porridge butter milk ham jam pie cider cabbage barley bacon mutton stew cream"
    ),
    "animal": _words("goat cow hen dog cat pig sheep duck goose horse donkey pony rabbit dove"),
    "herb": _words("sage mint thyme dill basil fennel nettle yarrow rue borage chervil lovage tansy sorrel"),
    "ailment": _words("fever cough burns rash cramps toothache headache fatigue gout hiccups worry"),
    "quality": _words("old small plain fine quiet warm brown famous round simple lovely odd"),
    "tool": _words("salt ash smoke water sand oil vinegar rope wax chalk"),
    "hour": _words("dawn noon dusk night"),
    "number": tuple(str(n) for n in range(MOST_NUMBER + 1)),
    "valuable": _words("purse ring coat silver cart"),
    "building": _words("house barn roof shed fence"),
    "paper": _words("letters diary notes"),
    "trick": _words("weights scales cards"),
    "limb": _words("arm leg nose"),
}

CLASS_OF: dict[str, str] = {word: name for name, words in CLASSES.items() for word in words}

PLURALS: dict[str, str] = {
    "place": "places",
    "trade": "trades",
    "food": "foods",
    "animal": "animals",
    "herb": "herbs",
}
