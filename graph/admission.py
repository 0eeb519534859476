"""What an operation is charged before it is answered, and what its caller is told of that."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson
from starlette.types import Scope

from graph.budget import Budget, Charge, network_of
from graph.cost import fields_in
from graph.errors import RequestError
from graph.limits import REFUSED_COST, limit_error
from graph.parsed import ParsedDocuments

DRY_RUN_COST = 1


class CostAsked(Enum):
    """What a request wants to know of its cost, as `extensions: {"cost": …}`."""

    NOTHING = ""
    REPORT = "report"
    DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Account:
    """What an operation may cost, None for one that is refused, and what became of its charge."""

    requested: int | None
    due: int
    charge: Charge | None

    @property
    def refusal(self) -> RequestError | None:
        """Why the operation must not run, if too little of the budget is left."""
        charge = self.charge
        if charge is None or charge.is_allowed:
            return None
        if self.due > charge.per_minute:
            given = f"the operation costs {self.due}, and the budget is {charge.per_minute} a minute"
            return limit_error(f"{given}: ask for less")
        given = f"the operation costs {self.due}, and {charge.remaining} of the minute's {charge.per_minute} are left"
        return limit_error(f"{given}: wait {charge.reset_seconds} s, or ask for less")

    def told(self) -> Mapping[str, str]:
        """Return the response's headers; none where there are no budgets."""
        if self.charge is None:
            return {}
        # Nobody is told to wait for what will never be let in.
        is_hopeless = self.due > self.charge.per_minute
        return {
            name: value for name, value in self.charge.headers().items() if not (is_hopeless and name == "retry-after")
        }

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the response's headers, encoded."""
        return [(name.encode(), value.encode()) for name, value in self.told().items()]

    def report(self, body: bytes | None) -> dict[str, Any]:
        """Return `extensions.cost` of a response, or of none."""
        data = None if body is None else orjson.loads(body).get("data")
        told: dict[str, Any] = {"requested": self.requested, "actual": None if data is None else fields_in(data)}
        if self.charge:
            told |= {"remaining": self.charge.remaining, "resetAt": self.charge.resets_on}
        return told


def payer(scope: Scope) -> str:
    """Return whose budget pays for a request: that of the token's subject, of the address without one."""
    subject = scope["state"]["caller"].subject
    address = (scope.get("client") or ("",))[0]
    return f"address/{network_of(address)}" if subject is None else f"subject/{subject}"


async def charge(
    parsed: ParsedDocuments,
    budget: Budget | None,
    caller: str,
    query: str,
    variables: Mapping[str, Any] | None,
    operation_name: str | None,
    asked: CostAsked,
) -> Account:
    """Charge a caller for an operation, less for one that will be refused anyway or is not to be run."""
    try:
        requested = parsed.cost(query, variables, operation_name)
        if asked is not CostAsked.DRY_RUN and requested is not None:
            parsed.check_cost(requested)
    except RequestError:
        requested = None
    due = REFUSED_COST if requested is None else DRY_RUN_COST if asked is CostAsked.DRY_RUN else requested
    return Account(requested, due, await budget.charge(caller, due) if budget else None)
