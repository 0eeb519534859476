"""The database that graph and etl share: models, sessions, keys, dates, traversals."""
