from tests import fuzz


async def test_nothing_that_can_be_asked_fails() -> None:
    assert (await fuzz.run(300, 20_261_120)).total() == 300
