"""The closed classes of words that facts, requests and descriptions draw from. A word is in one class only."""

from __future__ import annotations

WOMEN = tuple(
    "ada agnes alma anna astrid beata berta clara cora dagny dora edda edith elsa emma erna esther eva fanny frida "
    "gerda greta hanna hedda helga hilda ida inga irma jana judith karla katja lena lina lotte lucia magda maja marta "
    "mina mona nora olga paula petra runa sara selma signe sofia thea thora ulla vera viola wanda yrsa zita elin".split()
)
MEN = tuple(
    "adam albin anton arne axel bernd bjorn bruno carl david edgar egil elias emil erik felix finn fritz georg gustav "
    "hans harald henrik hugo igor ivar jakob jan johan jonas josef karel kurt lars leo ludwig magnus martin mikkel "
    "nils olaf oskar otto paul peter ralf rolf rune samuel sigurd simon stefan sven thomas tor ulrik viktor walter "
    "werner konrad".split()
)

CLASSES: dict[str, tuple[str, ...]] = {
    "person": WOMEN + MEN,
    "place": tuple(
        "mill fountain forge chapel bridge river pond orchard market tower quarry meadow harbor inn school gate lake hill "
        "bakery garden".split()
    ),
    "trade": tuple(
        "baker smith weaver miller potter tailor fisher carpenter cooper shepherd mason tanner brewer dyer hunter "
        "roofer painter barber".split()
    ),
    "food": tuple(
        "bread cheese honey cake soup porridge butter milk ham jam pie cider cabbage barley bacon mutton stew "
        "cream".split()
    ),
    "animal": tuple("goat cow hen dog cat pig sheep duck goose horse donkey pony rabbit dove".split()),
    "herb": tuple("sage mint thyme dill basil fennel nettle yarrow rue borage chervil lovage tansy sorrel".split()),
    "ailment": tuple("fever cough burns rash cramps toothache headache fatigue gout hiccups worry".split()),
    "quality": tuple("old small plain fine quiet warm brown famous round simple lovely odd".split()),
    "tool": tuple("salt ash smoke water sand oil vinegar rope wax chalk".split()),
    "hour": tuple("dawn noon dusk night".split()),
    "number": tuple(str(n) for n in range(41)),
    "valuable": tuple("purse ring coat silver cart".split()),
    "building": tuple("house barn roof shed fence".split()),
    "paper": tuple("letters diary notes".split()),
    "trick": tuple("weights scales cards".split()),
    "limb": tuple("arm leg nose".split()),
}

CLASS_OF: dict[str, str] = {word: name for name, words in CLASSES.items() for word in words}

PLURALS: dict[str, str] = {
    "place": "places",
    "trade": "trades",
    "food": "foods",
    "animal": "animals",
    "herb": "herbs",
}
