"""An issuer of bearer tokens for the tests."""

import time
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

SECRET = "s3cret-that-must-not-be-told-anyone"
ISSUER, AUDIENCE = "https://issuer.example", "atlas"
SETTINGS: dict[str, Any] = {"jwt_secret": SECRET, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}

Key = OctKey | RSAKey | ECKey


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token; what is changed to None is left out."""
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 60} | changes
    return {name: value for name, value in found.items() if value is not None}


def token(*roles: str, key: Key | None = None, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """Sign a token with the shared secret, or as the header and key say."""
    header = {"alg": "HS256"} | (header or {})
    given = {"roles": list(roles)} | changes
    return jwt.encode(header, claims(**given), key or OctKey.import_key(SECRET), [header["alg"]])


def bearer(*roles: str, **changes: Any) -> dict[str, str]:
    """Return the headers of a request with a token."""
    return {"authorization": f"Bearer {token(*roles, **changes)}"}
