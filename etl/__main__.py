"""`python -m etl`: load sources, and look after what was loaded."""

from etl.cli import app

if __name__ == "__main__":
    app(prog_name="python -m etl")
