"""Whatever is sent is answered, as the client's mistake if it is one, in bounded work, and tells nothing of us."""

import re

import httpx
import pytest

from graph.limits import MAX_ANSWER_BYTES
from tests.attacks import ATTACKS, Attack
from tests.client import Client
from tests.legitimate import LEGITIMATE

MOST_STATEMENTS = 40
INTERNALS = re.compile(
    r"Traceback|File \"|line \d+, in |0x[0-9a-f]{6,}|\w\.py\b|asyncpg|sqlalchemy|psycopg|strawberry|starlette|orjson"
    r"|codec can|surrogates not|Errno|SELECT |FROM entity|WHERE |syntax error at|invalid input for query argument",
)


async def send(client: Client, attack: Attack) -> httpx.Response:
    request = client.http.build_request(attack.method, attack.url, content=attack.content, headers=attack.headers)
    return await client.http.send(request)


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    names = [attack.name for attack in (*ATTACKS, *LEGITIMATE)]
    assert len(ATTACKS) > 200
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_attack_is_answered_in_bounds(atlas: Client, attack: Attack) -> None:
    with atlas.statements() as statements:
        response = await send(atlas, attack)
    # What is well formed may have an answer; what fails is the client's mistake, and is told as one.
    assert 200 <= response.status_code < 500
    assert "INTERNAL" not in response.text
    assert len(response.content) <= MAX_ANSWER_BYTES
    assert len(statements) <= MOST_STATEMENTS
    assert not INTERNALS.search(response.text)


@pytest.mark.parametrize("attack", LEGITIMATE, ids=lambda attack: attack.name)
async def test_legitimate_request_works(atlas: Client, attack: Attack) -> None:
    response = await send(atlas, attack)
    assert response.status_code == 200
    assert "errors" not in response.json(), response.json()["errors"]
    assert response.json()["data"]
