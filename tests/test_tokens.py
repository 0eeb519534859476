import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from joserfc.util import json_b64encode

from db.errors import ConfigurationError
from db.settings import Settings
from graph import tokens
from graph.access import ANONYMOUS, ANYONE, Role
from graph.tokens import KeysUnavailableError, TokenError, Tokens
from tests.tokens import AUDIENCE, ISSUER, SECRET, SETTINGS, token

PUBLISHED = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
RSA = RSAKey.generate_key(2048, {"kid": "one"})


def checker(**settings: Any) -> Tokens:
    return Tokens(Settings(database_url=None, **settings))


async def refusal(checked: Tokens, text: str) -> str:
    with pytest.raises(TokenError) as caught:
        await checked.caller(f"Bearer {text}")
    return str(caught.value)


async def test_without_keys_anyone_may_read_all() -> None:
    assert await checker().caller(None) == ANYONE
    assert await checker().caller("Bearer nonsense") == ANYONE


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([], Role.READER),
        (["reader"], Role.READER),
        (["operator", "analyst"], Role.OPERATOR),
        ("analyst offline_access", Role.ANALYST),
        (["admin"], Role.ADMIN),
        (["ADMIN", "root", 7, None], Role.READER),
        ({"admin": True}, Role.READER),
        (None, Role.READER),
    ],
)
async def test_token_gives_the_highest_of_its_roles(roles: object, expected: Role) -> None:
    caller = await checker(**SETTINGS).caller(f"Bearer {token(roles=roles)}")
    assert (caller.subject, caller.role) == ("ada", expected)


async def test_no_token_is_anonymous() -> None:
    assert await checker(**SETTINGS).caller(None) == ANONYMOUS


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"exp": None}, "lacks a claim: exp"),
        ({"exp": "tomorrow"}, "claim exp"),
        ({"nbf": int(time.time()) + 86_400}, "claim nbf"),
        ({"iss": "https://other.example"}, "claim iss"),
        ({"iss": None}, "lacks a claim: iss"),
        ({"aud": "other"}, "claim aud"),
        ({"aud": ["other", "another"]}, "claim aud"),
        ({"aud": None}, "lacks a claim: aud"),
        ({"key": OctKey.import_key("another secret, as long as the right one")}, "signed by"),
        ({"header": {"alg": "HS512"}}, "signed by"),
        ({"key": RSA, "header": {"alg": "RS256"}}, "signed by"),
    ],
)
async def test_token_that_does_not_hold_is_refused(changes: dict[str, Any], part: str) -> None:
    assert part in await refusal(checker(**SETTINGS), token("admin", **changes))


async def test_token_for_several_audiences_holds() -> None:
    caller = await checker(**SETTINGS).caller(f"Bearer {token('admin', aud=['other', AUDIENCE])}")
    assert caller.role is Role.ADMIN


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer é", f"Bearer {'a' * 9000}"])
async def test_malformed_header_is_refused(authorization: str) -> None:
    with pytest.raises(TokenError):
        await checker(**SETTINGS).caller(authorization)


async def test_unsigned_token_is_refused() -> None:
    head, body, _ = token("admin").split(".")
    unsigned = "eyJhbGciOiJub25lIn0"
    for forged in (f"{unsigned}.{body}.", f"{head}.{body}.", f"{unsigned}.{body}.AAAA"):
        assert "signed by" in await refusal(checker(**SETTINGS), forged)


@given(st.text(max_size=200) | st.lists(st.text(alphabet="eyJhbGciOi.-_0Q", max_size=60), max_size=5).map(".".join))
def test_any_text_is_refused_and_never_raises_otherwise(text: str) -> None:
    with pytest.raises(TokenError):
        asyncio.run(checker(**SETTINGS).caller(text))


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_any_json_in_the_header_is_refused(content: object) -> None:
    for header in (content, {"alg": content}, {"alg": "HS256", "kid": content}, {"alg": "HS256", "crit": content}):
        text = f"Bearer {json_b64encode(header).decode()}.e30.AAAA"  # type: ignore[arg-type]
        with pytest.raises(TokenError):
            asyncio.run(checker(**SETTINGS).caller(text))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"jwt_issuer": ISSUER}, "ATLAS_JWT_ISSUER is set without a key"),
        ({"jwt_secret": SECRET}, "set ATLAS_JWT_ISSUER and ATLAS_JWT_AUDIENCE"),
        ({"jwks": "https://issuer.example/keys", "jwt_issuer": ISSUER}, "ATLAS_JWT_AUDIENCE"),
        (SETTINGS | {"jwks": "https://issuer.example/keys"}, "both set"),
        (SETTINGS | {"jwt_secret": "short"}, "at least 32 bytes"),
        (SETTINGS | {"jwt_algorithm": "HS512"}, "at least 64 bytes"),
        (SETTINGS | {"jwt_algorithm": "RS256"}, "RS256, which does not go with a secret"),
        (PUBLISHED | {"jwks": "https://issuer.example/keys", "jwt_algorithm": "HS256"}, "does not go with JWKS"),
        (PUBLISHED | {"jwks": "/nowhere/keys.json"}, "/nowhere/keys.json"),
    ],
)
def test_settings_that_do_not_fit_are_told_without_the_secret(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        checker(**settings)
    assert part in str(caught.value)
    assert "short" not in str(caught.value).replace("too short", "")


class Issuer:
    """A server of public keys that counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: list[RSAKey | ECKey] = [RSA]
        self.asked = 0
        self.status = 200
        self.body: str | None = None

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        published = json.dumps(KeySet(list(self.keys)).as_dict()) if self.keys else "{}"
        return web.Response(text=self.body or published, status=self.status, headers={"location": "/other"})


@asynccontextmanager
async def publishing(issuer: Issuer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/keys", issuer.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    finally:
        await runner.cleanup()


def signed(key: RSAKey | ECKey, algorithm: str = "RS256", **header: Any) -> str:
    return f"Bearer {token('admin', key=key, header={'alg': algorithm, 'kid': key.kid} | header)}"


async def test_published_keys_are_fetched_once_and_again_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, new = Issuer(), RSAKey.generate_key(2048, {"kid": "two"})
    async with publishing(issuer) as url:
        checked = checker(jwks=url, **PUBLISHED)
        found = await asyncio.gather(*(checked.caller(signed(RSA)) for _ in range(5)))
        assert ({caller.role for caller in found}, issuer.asked) == ({Role.ADMIN}, 1)
        issuer.keys = [new]
        for _ in range(3):
            assert "not one of its issuer's" in await refusal(checked, signed(new).removeprefix("Bearer "))
        assert issuer.asked == 1
        monkeypatch.setattr(tokens, "KEYS_RETRY_SECONDS", 0)
        assert (await checked.caller(signed(new))).role is Role.ADMIN
        assert issuer.asked == 2
        assert "not one of its issuer's" in await refusal(checked, signed(RSA).removeprefix("Bearer "))


@pytest.mark.parametrize(
    ("status", "body"), [(500, None), (302, None), (200, "<html>"), (200, "{}"), (200, '{"keys": [{"kty": "RSA"}]}')]
)
async def test_keys_once_received_outlive_a_failing_issuer(
    status: int, body: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer()
    async with publishing(issuer) as url:
        checked = checker(jwks=url, **PUBLISHED)
        issuer.status, issuer.body = status, body or "x"
        with pytest.raises(KeysUnavailableError):
            await checked.caller(signed(RSA))
        issuer.status, issuer.body = 200, None
        monkeypatch.setattr(tokens, "KEYS_ABSENT_SECONDS", 0)
        assert (await checked.caller(signed(RSA))).role is Role.ADMIN
        issuer.status, issuer.body = status, body or "x"
        monkeypatch.setattr(tokens, "KEYS_TTL_SECONDS", 0)
        assert (await checked.caller(signed(RSA))).role is Role.ADMIN
        assert issuer.asked == 3


async def test_keys_that_never_came_are_not_asked_for_at_each_request() -> None:
    issuer = Issuer()
    issuer.status = 503
    async with publishing(issuer) as url:
        checked = checker(jwks=url, **PUBLISHED)
        for _ in range(3):
            with pytest.raises(KeysUnavailableError):
                await checked.caller(signed(RSA))
    assert issuer.asked == 1


async def test_silent_issuer_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "KEYS_FETCH_SECONDS", 0.1)
    monkeypatch.setattr(tokens, "KEYS_ABSENT_SECONDS", 0.1)
    asked = 0

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(1)
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as issuer:
        port = issuer.sockets[0].getsockname()[1]
        checked = checker(jwks=f"http://user:hidden@127.0.0.1:{port}/keys", **PUBLISHED)
        found = await asyncio.gather(*(checked.caller(signed(RSA)) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in found] == [KeysUnavailableError] * 5
    assert asked == 1
    assert "cannot be read" in caplog.text
    assert "hidden" not in caplog.text


async def test_too_large_a_set_of_keys_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_KEYS_BYTES", 100)
    async with publishing(Issuer()) as url:
        with pytest.raises(KeysUnavailableError):
            await checker(jwks=url, **PUBLISHED).caller(signed(RSA))


async def test_keys_of_a_file_with_the_pinned_algorithm_only(tmp_path: Path) -> None:
    key = ECKey.generate_key("P-256", {"kid": "ec"})
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(KeySet([key, RSA]).as_dict()))
    checked = checker(jwks=str(file), jwt_algorithm="ES256", **PUBLISHED)
    assert (await checked.caller(signed(key, "ES256"))).role is Role.ADMIN
    assert "signed by" in await refusal(checked, signed(RSA).removeprefix("Bearer "))
    # A public key is no secret: it must not verify an HMAC.
    public = OctKey.import_key(json.dumps(RSA.as_dict(private=False)))
    forged = token("admin", key=public, header={"kid": "one"})
    assert "signed by" in await refusal(checker(jwks=str(file), **PUBLISHED), forged)


def test_secrets_come_from_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("ATLAS_JWT_SECRET_FILE", str(file))
    found = Settings(database_url=None)
    assert found.jwt_secret is not None
    assert found.jwt_secret.get_secret_value() == SECRET
    monkeypatch.setenv("ATLAS_JWT_SECRET", "in the environment")
    assert Settings(database_url=None).jwt_secret != found.jwt_secret
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL_FILE names .*missing, which cannot be read"):
        Settings()


def test_settings_do_not_show_secrets() -> None:
    shown = repr(Settings(database_url="postgresql://a:hidden@b/c", redis_url="redis://:hidden@d", **SETTINGS))
    assert SECRET not in shown
    assert "hidden" not in shown


async def test_tokens_and_secrets_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        checked = checker(**SETTINGS)
        text = token("admin", exp=1)
        await refusal(checked, text)
    assert SECRET not in caplog.text
    assert text[:20] not in caplog.text
