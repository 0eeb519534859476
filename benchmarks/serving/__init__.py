"""How fast the API answers, beside other ways of serving the same graph from the same PostgreSQL."""
