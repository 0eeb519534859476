import asyncio
import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import uvicorn

from db.settings import Settings
from graph.app import create_app

AUDIT = Path(__file__).parent / "http_audit"
AUDITS = 61
LIMIT_SECONDS = 300


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that runs the audits of GraphQL over HTTP, with what it needs beside it."""
    directory = tmp_path_factory.mktemp("audit")
    for name in ("package.json", "audit.mjs"):
        shutil.copy(AUDIT / name, directory)
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return directory / "audit.mjs"


@pytest.mark.skipif(shutil.which("npm") is None, reason="the audits need Node.js and npm")
async def test_every_audit_of_graphql_over_http_passes(sample_url: str, audit: Path) -> None:
    server = uvicorn.Server(uvicorn.Config(create_app(Settings(database_url=None), sample_url), log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/graphql"
        try:
            program = await asyncio.create_subprocess_exec("node", str(audit), url, stdout=asyncio.subprocess.PIPE)
            output, _ = await asyncio.wait_for(program.communicate(), LIMIT_SECONDS)
        finally:
            server.should_exit = True
            await serving
    results = json.loads(output)
    assert [one for one in results if one["status"] != "ok"] == []
    assert len(results) == AUDITS
