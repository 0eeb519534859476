"""Bearer tokens (RFC 6750): a JWT becomes the caller it was issued to, or is refused with a reason."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError, MissingClaimError
from joserfc.jwk import Key, KeySet, OctKey

from db.errors import ConfigurationError
from db.session import one_line
from db.settings import Settings
from graph.access import ANONYMOUS, ANYONE, Caller, Role

LEEWAY_SECONDS = 30
MAX_TOKEN_LENGTH = 8192
MAX_SUBJECT_LENGTH = 200
MAX_KEYS_BYTES = 1024 * 1024
KEYS_FETCH_SECONDS = 2
KEYS_TTL_SECONDS = 600
KEYS_RETRY_SECONDS = 30
"""The shortest time between two fetches for unknown keys: made-up tokens must not have us hammer the issuer."""
KEYS_ABSENT_SECONDS = 5
"""The same as long as no keys were received at all."""

_DIGEST_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}

logger = logging.getLogger(__name__)


class TokenError(Exception):
    """A token is refused; the message is written for the client and holds nothing of the token."""


class KeysUnavailableError(Exception):
    """No token can be checked, since the issuer's keys were never received."""


class Keys(Protocol):
    """Where the key of a token is found."""

    async def find(self, kid: str | None) -> Key:
        """Return the key of an id; raises TokenError or KeysUnavailableError."""


class SharedSecret:
    """The one key that is known here and to the issuer."""

    def __init__(self, secret: str, algorithm: str) -> None:
        needed = _DIGEST_BYTES[algorithm]
        if len(secret.encode()) < needed:
            # RFC 7518, section 3.2.
            raise ConfigurationError(f"ATLAS_JWT_SECRET is too short for {algorithm}: give at least {needed} bytes")
        self._key = OctKey.import_key(secret)

    async def find(self, kid: str | None) -> Key:  # noqa: ARG002
        """Return the key."""
        return self._key


class PublishedKeys:
    """The issuer's public keys, from a URL or a file, read again as they age and when a token names an unknown one."""

    def __init__(self, location: str, algorithm: str) -> None:
        self._location = location
        self._algorithm = algorithm
        self._keys: KeySet | None = None
        self._tried_at = float("-inf")
        self._turn = asyncio.Lock()
        if not _is_url(location):
            try:
                self._keys = _read_keys(Path(location).read_bytes())
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"ATLAS_JWKS {location} cannot be read as JWKS: {error}") from error
            self._tried_at = time.monotonic()

    async def find(self, kid: str | None) -> Key:
        """Return the key of an id, or the only one there is when the token names none."""
        if self._keys is None:
            await self._refresh(KEYS_ABSENT_SECONDS)
        elif not self._turn.locked():
            # While another request fetches, the old keys do.
            await self._refresh(KEYS_TTL_SECONDS)
        try:
            return self._get(kid)
        except InvalidKeyIdError:
            await self._refresh(KEYS_RETRY_SECONDS)
        try:
            return self._get(kid)
        except InvalidKeyIdError:
            raise TokenError("the token's key is not one of its issuer's") from None

    def _get(self, kid: str | None) -> Key:
        if self._keys is None:
            raise KeysUnavailableError
        return self._keys.get_by_kid(kid, {"alg": self._algorithm, "use": "sig"})

    async def _refresh(self, max_age_seconds: float) -> None:
        async with self._turn:
            if time.monotonic() - self._tried_at < max_age_seconds:
                return
            try:
                self._keys = _read_keys(await self._fetch())
            except aiohttp.ClientResponseError as error:
                logger.warning("the keys of tokens cannot be read from ATLAS_JWKS: HTTP %s", error.status)
            except (OSError, ValueError, aiohttp.ClientError) as error:
                logger.warning("the keys of tokens cannot be read from ATLAS_JWKS: %s", one_line(error))
            finally:
                # Those who waited meanwhile must not each try an issuer that does not answer.
                self._tried_at = time.monotonic()

    async def _fetch(self) -> bytes:
        if not _is_url(self._location):
            return await asyncio.to_thread(Path(self._location).read_bytes)
        timeout = aiohttp.ClientTimeout(total=KEYS_FETCH_SECONDS)
        body = bytearray()
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.get(self._location, allow_redirects=False) as response,
        ):
            async for part in response.content.iter_any():
                body += part
                if len(body) > MAX_KEYS_BYTES:
                    raise ValueError(f"it has more than {MAX_KEYS_BYTES} bytes")
        return bytes(body)


class Tokens:
    """Tells who calls; with no key configured, anyone who calls may read everything."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigurationError when the settings about tokens do not fit together."""
        self._may_introspect = settings.introspection
        self._keys, algorithm = _keys_of(settings)
        without_token = ANYONE if self._keys is None else ANONYMOUS
        self.without_token = replace(without_token, may_introspect=settings.introspection)
        self._registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": settings.jwt_issuer or ""},
            aud={"essential": True, "value": settings.jwt_audience or ""},
            exp={"essential": True},
        )

    @property
    def is_configured(self) -> bool:
        """Tell whether callers are told apart."""
        return self._keys is not None

    async def caller(self, authorization: str | None) -> Caller:
        """Return who sent an Authorization header; raises TokenError or KeysUnavailableError."""
        if self._keys is None or authorization is None:
            return self.without_token
        claims = await self._check(self._keys, _token_of(authorization))
        role = _role_of(claims)
        subject = str(claims.get("sub") or "unnamed")[:MAX_SUBJECT_LENGTH]
        may_introspect = self._may_introspect or role >= Role.ADMIN
        return Caller(subject, role, may_introspect, claims["exp"] + LEEWAY_SECONDS)

    async def _check(self, keys: Keys, token: str) -> Mapping[str, Any]:
        try:
            header = jws.extract_compact(token.encode("ascii"), registry=self._registry).headers()
            kid = header.get("kid")
            key = await keys.find(kid if isinstance(kid, str) else None)
            claims = jwt.decode(token, key, registry=self._registry).claims
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise TokenError("the token has expired: get a new one") from None
        except MissingClaimError as error:
            raise TokenError(f"the token lacks a claim: {error.claim}") from None
        except InvalidClaimError as error:
            raise TokenError(
                f"the token is not for this API, or not yet: its claim {error.claim} does not fit"
            ) from None
        # What is no JWT at all fails in many ways.
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise TokenError("the token is not a JWT signed by this API's issuer with its algorithm") from None
        return claims


def _keys_of(settings: Settings) -> tuple[Keys | None, str]:
    secret, jwks = settings.jwt_secret, settings.jwks
    details = {name: getattr(settings, f"jwt_{name}") for name in ("issuer", "audience", "algorithm")}
    if secret is None and jwks is None:
        if given := [f"ATLAS_JWT_{name.upper()}" for name, value in details.items() if value]:
            raise ConfigurationError(f"{given[0]} is set without a key: set ATLAS_JWT_SECRET or ATLAS_JWKS too")
        return None, "HS256"
    if secret is not None and jwks is not None:
        raise ConfigurationError("ATLAS_JWT_SECRET and ATLAS_JWKS are both set: tokens have one kind of key")
    if not (settings.jwt_issuer and settings.jwt_audience):
        raise ConfigurationError(
            "tokens are checked for who issued them and for whom: set ATLAS_JWT_ISSUER and ATLAS_JWT_AUDIENCE"
        )
    algorithm = settings.jwt_algorithm or ("HS256" if secret else "RS256")
    if (algorithm in _DIGEST_BYTES) is (secret is None):
        # A public key must never serve as the secret of an HMAC.
        kind = "JWKS" if secret is None else "a secret"
        raise ConfigurationError(f"ATLAS_JWT_ALGORITHM is {algorithm}, which does not go with {kind}")
    if secret is not None:
        return SharedSecret(secret.get_secret_value(), algorithm), algorithm
    assert jwks is not None
    return PublishedKeys(jwks, algorithm), algorithm


def _token_of(authorization: str) -> str:
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or not token.isascii():
        raise TokenError("the Authorization header is not of the form: Bearer <token>")
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenError(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    return token


def _role_of(claims: Mapping[str, Any]) -> Role:
    """Return the highest role of the claim `roles`, a list or words in one string; others' names mean nothing here."""
    claim = claims.get("roles")
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return max((Role[name.upper()] for name in names if isinstance(name, str) and name in _ROLES), default=Role.READER)


_ROLES = {role.name.lower() for role in Role}


def _is_url(location: str) -> bool:
    return location.startswith(("https://", "http://"))


def _read_keys(content: bytes) -> KeySet:
    try:
        return KeySet.import_key_set(json.loads(content))
    except (JoseError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is not a set of keys ({error})") from error
