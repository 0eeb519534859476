"""Generate a graph as a Wikidata dump: an entity a line, dated, with power-law degrees and mostly forward in time.

    uv run python -m benchmarks.generate 1000000 5000000 graph.json

The same arguments make the same file. Entities are people in the order of their birth; who influenced whom follows
preferential attachment (the more someone influenced, the likelier they influence the next), and one edge in a
thousand goes against time within a lifetime, which makes a few cycles.
"""

import random
import sys
from collections.abc import Iterator

FIRST_YEAR, LAST_YEAR = -600, 1990
SEED = 20_261_120
BACKWARD_SHARE = 0.001
BACKWARD_WITHIN = 50
"""How many entities on an edge against time may reach: they are then of one generation."""


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


def influencers(entities: int, edges: int) -> Iterator[set[int]]:
    """Yield, for each entity from number 1 on, the numbers of those that influenced it: `edges` in all, about."""
    rng = random.Random(SEED)
    drawn: list[int] = []
    per_entity = edges / max(1, entities - 1)
    owed = 0.0
    for number in range(1, entities + 1):
        owed += per_entity if number > 1 else 0
        chosen: set[int] = set()
        tries = 0
        while len(chosen) < min(int(owed), number - 1) and tries < 50:
            tries += 1
            if rng.random() < BACKWARD_SHARE and number < entities:
                chosen.add(min(entities, number + rng.randrange(1, BACKWARD_WITHIN)))
            elif drawn and rng.random() < 0.5:
                chosen.add(drawn[rng.randrange(len(drawn))])
            else:
                chosen.add(rng.randrange(1, number))
        chosen.discard(number)
        owed -= len(chosen)
        drawn.extend(chosen)
        yield chosen


def lines(entities: int, edges: int) -> Iterator[str]:
    """Yield the dump's lines."""
    yield "["
    for number, chosen in enumerate(influencers(entities, edges), 1):
        birth = FIRST_YEAR + (LAST_YEAR - FIRST_YEAR) * number // entities
        claims = [
            f'"P31":[{_claim("P31", _item(5))}]',
            f'"P569":[{_claim("P569", _time(birth, 9), "time")}]',
            f'"P570":[{_claim("P570", _time(birth + 40 + number % 50, 9), "time")}]',
        ]
        if chosen:
            claims.append('"P737":[' + ",".join(_claim("P737", _item(one)) for one in sorted(chosen)) + "]")
        label = f'"en":{{"language":"en","value":"Person {number}"}}'
        description = f'"en":{{"language":"en","value":"thinker of the year {birth}"}}'
        end = "" if number == entities else ","
        yield (
            f'{{"type":"item","id":"Q{number}","labels":{{{label}}},"descriptions":{{{description}}},'
            f'"claims":{{{",".join(claims)}}}}}{end}'
        )
    yield "]"


def main() -> None:
    """Write the file named on the command line."""
    entities, edges, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with open(path, "w", encoding="utf-8", buffering=1 << 20) as file:  # noqa: PTH123
        for line in lines(entities, edges):
            file.write(line + "\n")


if __name__ == "__main__":
    main()
