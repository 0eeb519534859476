FROM node:22-bookworm AS graphiql
WORKDIR /build
COPY graph/graphiql_files.py graph/
RUN python3 graph/graphiql_files.py

FROM python:3.13-slim-bookworm AS packages
COPY requirements.lock .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.13-slim-bookworm
RUN useradd --create-home --uid 10001 atlas
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ATLAS_HOST=0.0.0.0 ATLAS_DATA_DIR=/home/atlas/data
WORKDIR /app
COPY --from=packages /venv /venv
COPY LICENSE NOTICE ./
COPY alembic alembic
COPY db db
COPY etl etl
COPY graph graph
COPY --from=graphiql /build/graph/static/graphiql graph/static/graphiql
USER atlas
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
CMD ["python", "-m", "graph"]
