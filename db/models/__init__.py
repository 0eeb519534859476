"""The tables, one module a dataset; importing this package completes `Base.metadata`."""

from db.models import atlas, operations, records
from db.models.base import Base

__all__ = ["Base", "atlas", "operations", "records"]
