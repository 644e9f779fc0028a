"""Makes up word problems in GSM8K's form from a seed and writes them to the folder named: a train split and two tests.

A fact is a step's sign and numbers (`37 + 8`). A tenth of the facts with a first number above 9 is in no training text,
of sums with both numbers above 9 either way round. `test.txt` uses only facts that training may have, in problems whose
start and steps are no training problem's; every problem of `test-facts.txt` needs at least one of the facts kept back.
"""

import pathlib
import random
import sys

NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Lily", "Max"]
THINGS = ["balls", "kites", "books", "baskets", "drums", "boats", "hats", "lamps", "bells", "cakes"]
VERBS = {
    "+": ["buys {} more", "finds {} more", "gets {} from a friend"],
    "-": ["gives away {}", "loses {}", "sells {}"],
    "*": ["makes it {} times as many", "then has {} times as many"],
}
STEPS = [
    "{name} {verb}, so there are {sum} {things}.",
    "Then {name} {verb}: {sum} {things}.",
    "{name} {verb}. That is {sum}.",
]


def kept_back(sign: str, one: int, two: int) -> bool:
    if one < 10:
        return False
    if sign == "+":
        one, two = max(one, two), min(one, two)
    return random.Random(f"{one} {sign} {two}").random() < 0.1


def problem(dice: random.Random) -> tuple[tuple, bool, str]:
    """The numbers of a problem, whether it needs a fact kept back, and its text."""
    name, things = dice.choice(NAMES), dice.choice(THINGS)
    start = value = dice.randint(2, 40)
    told, worked, numbers, needs = [], [], [start], False
    for _ in range(dice.randint(2, 3)):
        ways = [("+", two, value + two) for two in range(2, 13) if value + two < 100]
        ways += [("-", two, value - two) for two in range(2, 13) if value > two]
        times = [("*", two, value * two) for two in range(2, 6) if value * two < 100]
        if times and dice.random() < 0.2:
            ways = times
        sign, two, result = dice.choice(ways)
        needs |= kept_back(sign, value, two)
        verb = dice.choice(VERBS[sign]).format(two)
        told.append(f"{name} {verb}.")
        done = f"{value} {sign} {two} = {result}"
        worked.append(dice.choice(STEPS).format(name=name, verb=verb, sum=done, things=things))
        numbers.append((sign, two))
        value = result
    question = f"{name} has {start} {things}. {' '.join(told)} How many {things} does {name} have now?"
    return tuple(numbers), needs, f"Question: {question}\nAnswer: {' '.join(worked)}\n#### {value}"


def main(folder: pathlib.Path) -> None:
    dice = random.Random(7)
    tests, numbers_of_test = {False: [], True: []}, set()
    while min(map(len, tests.values())) < 400:
        numbers, needs, text = problem(dice)
        if numbers not in numbers_of_test and len(tests[needs]) < 400:
            numbers_of_test.add(numbers)
            tests[needs].append(text)
    train = []
    while len(train) < 40_000:
        numbers, needs, text = problem(dice)
        if numbers not in numbers_of_test and not needs:
            train.append(text)
    folder.mkdir(parents=True, exist_ok=True)
    for part, texts in {"train": train, "test": tests[False], "test-facts": tests[True]}.items():
        (folder / f"{part}.txt").write_text("\n<|endoftext|>\n".join(texts) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
