"""What follows a published run, in transactions of its own: the graph is measured, then the run is reported on."""

from rustworkx import FailedToConverge
from sqlalchemy.ext.asyncio import AsyncEngine

from db.errors import AtlasError
from db.session import DATABASE_ERRORS, fault_of_server, one_line
from etl.measurement import EarlyMeasures, measure_graph
from etl.reports import make_missing_report, make_report


async def follow_up(engine: AsyncEngine, run_id: int, early: EarlyMeasures | None) -> None:
    """Measure what the run changed and report on it; raises AtlasError, which takes nothing of the run back."""
    try:
        await measure_graph(engine, early=early)
        await make_report(engine, run_id)
    except (AtlasError, OSError, *DATABASE_ERRORS, FailedToConverge, MemoryError) as error:
        why = fault_of_server(error) or one_line(error)
        raise AtlasError(
            f"run {run_id} is published and stands, but what follows it failed: {why};"
            " `python -m etl measure` tries that again"
        ) from error


async def catch_up(engine: AsyncEngine, *, anew: bool = False) -> bool:
    """Do what a killed process left undone; returns whether the measures were not up to date."""
    is_measured = await measure_graph(engine, anew=anew)
    await make_missing_report(engine)
    return is_measured
