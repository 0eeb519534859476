"""Generate a graph as a Wikidata dump: an entity a line, dated, with power-law degrees and mostly forward in time.

    uv run python -m benchmarks.generate 1000000 5000000 graph.json

The same arguments make the same file. Three entities in ten are concepts and need other concepts, the others are
people influenced by people, all in the order of their dates. Both degrees follow power laws: what has led to much is
drawn more often (preferential attachment), and how many edges end at an entity is drawn from a Pareto distribution.
One draw in a thousand makes two entities of one generation lead to each other: a cycle.
"""

import random
import sys
from collections.abc import Iterator

FIRST_YEAR, LAST_YEAR = -600, 1990
SEED = 20_261_120
MUTUAL_SHARE = 0.001
MUTUAL_WITHIN = 5
"""How many tens of entities apart two that lead to each other may be; ten on is always of the same kind."""
CONCEPT_DIGITS = frozenset({0, 3, 7})
"""The last digits of concepts' numbers."""
PREREQUISITES = 4
"""How many a concept has, on average; people share the other edges."""
PARETO_SHAPE = 2.0
MOST_INCOMING = 300


def _claim(property_id: str, value: str, kind: str = "wikibase-entityid") -> str:
    datavalue = f'{{"value":{value},"type":"{kind}"}}'
    snak = f'{{"snaktype":"value","property":"{property_id}","datavalue":{datavalue}}}'
    return f'{{"mainsnak":{snak},"rank":"normal"}}'


def _item(number: int) -> str:
    return f'{{"entity-type":"item","numeric-id":{number},"id":"Q{number}"}}'


def _time(year: int, precision: int) -> str:
    sign, digits = ("-", 1 - year) if year <= 0 else ("+", year)
    calendar = "http://www.wikidata.org/entity/Q1985727"
    return f'{{"time":"{sign}{digits:04d}-00-00T00:00:00Z","precision":{precision},"calendarmodel":"{calendar}"}}'


def is_concept(number: int) -> bool:
    """Tell whether an entity is a concept; the others are people."""
    return number % 10 in CONCEPT_DIGITS


def influencers(entities: int, edges: int) -> Iterator[set[int]]:
    """Yield, for each entity from number 1 on, the numbers of those that led to it: `edges` in all, about."""
    rng = random.Random(SEED)
    concept_share = len(CONCEPT_DIGITS) / 10
    people_mean = (edges / entities - concept_share * PREREQUISITES) / (1 - concept_share)
    # By kind, people first: the entities so far, and each of them as often again as it was drawn.
    earlier: tuple[list[int], list[int]] = ([], [])
    drawn: tuple[list[int], list[int]] = ([], [])
    mutual: dict[int, set[int]] = {}
    for number in range(1, entities + 1):
        kind = is_concept(number)
        mean = PREREQUISITES if kind else people_mean
        incoming = mean * (PARETO_SHAPE - 1) / PARETO_SHAPE * rng.paretovariate(PARETO_SHAPE)
        wanted = min(int(incoming + rng.random()), MOST_INCOMING, len(earlier[kind]))
        chosen = mutual.pop(number, set())
        for _ in range(2 * wanted):
            if len(chosen) >= wanted:
                break
            if rng.random() < MUTUAL_SHARE and (later := number + 10 * rng.randint(1, MUTUAL_WITHIN)) <= entities:
                mutual.setdefault(later, set()).add(number)
                chosen.add(later)
            else:
                chosen.add(_draw(rng, earlier[kind], drawn[kind]))
        earlier[kind].append(number)
        drawn[kind].extend(chosen)
        yield chosen


def _draw(rng: random.Random, earlier: list[int], drawn: list[int]) -> int:
    pool = drawn if drawn and rng.random() < 0.5 else earlier
    return pool[int(rng.random() * len(pool))]


def lines(entities: int, edges: int) -> Iterator[str]:
    """Yield the dump's lines."""
    yield "["
    for number, chosen in enumerate(influencers(entities, edges), 1):
        year = FIRST_YEAR + (LAST_YEAR - FIRST_YEAR) * number // entities
        claims, what = _concept(number, year) if is_concept(number) else _person(number, year)
        if chosen:
            led_by = "P279" if is_concept(number) else "P737"
            claims.append(f'"{led_by}":[' + ",".join(_claim(led_by, _item(one)) for one in sorted(chosen)) + "]")
        end = "" if number == entities else ","
        yield f'{{"type":"item","id":"Q{number}",{what},"claims":{{{",".join(claims)}}}}}{end}'
    yield "]"


def _person(number: int, year: int) -> tuple[list[str], str]:
    claims = [
        f'"P31":[{_claim("P31", _item(5))}]',
        f'"P569":[{_claim("P569", _time(year, 9), "time")}]',
        f'"P570":[{_claim("P570", _time(year + 40 + number % 50, 9), "time")}]',
    ]
    return claims, _terms(f"Person {number}", f"thinker of the year {year}")


def _concept(number: int, year: int) -> tuple[list[str], str]:
    return [f'"P571":[{_claim("P571", _time(year, 9), "time")}]'], _terms(f"Concept {number}", f"idea of {year}")


def _terms(label: str, description: str) -> str:
    def english(text: str) -> str:
        return f'{{"en":{{"language":"en","value":"{text}"}}}}'

    return f'"labels":{english(label)},"descriptions":{english(description)}'


def main() -> None:
    """Write the file named on the command line."""
    entities, edges, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with open(path, "w", encoding="utf-8", buffering=1 << 20) as file:  # noqa: PTH123
        for line in lines(entities, edges):
            file.write(line + "\n")


if __name__ == "__main__":
    main()
