"""The standalone ETL: sources of dated, linked facts, loaded into PostgreSQL."""
