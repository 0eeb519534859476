import json
import re
from pathlib import Path

from tests.client import serving

README = Path(__file__).parent.parent / "README.md"


async def test_readme_query_gives_the_readme_answer(sample_url: str) -> None:
    text = README.read_text(encoding="utf-8")
    (query,) = re.findall(r"```graphql\n(.*?)```", text, re.DOTALL)
    (answer,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    async with serving(sample_url) as client:
        assert await client.answer(query) == json.loads(answer)
