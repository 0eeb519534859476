"""How Redis is reached: in time or not at all."""

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from db.errors import ConfigurationError

FAILURES = (RedisError, OSError, RuntimeError)
"""What a Redis that cannot be used raises: of a connection that was reset, uvloop tells as a RuntimeError."""


def redis_pool(url: str, timeout_seconds: float) -> ConnectionPool:
    """Make a pool of connections that wait so long and try once; raises ConfigurationError for a bad URL."""
    try:
        return ConnectionPool.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise ConfigurationError("REDIS_URL cannot be read: expected redis://host:6379/0") from error
