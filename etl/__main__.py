"""`python -m etl`: load sources, and look after what was loaded."""

if __name__ == "__main__":
    # Worker processes import this module too, and need none of what the commands import.
    from etl.cli import app

    app(prog_name="python -m etl")
