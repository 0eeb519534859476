-- The roadmap as a function that PostGraphile turns into a query: everything in one row, so that it walks once.
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;

CREATE TYPE bench.step AS (depth integer, key text, name text);
CREATE TYPE bench.link AS (source text, target text, type relationship_type, confidence real);
CREATE TYPE bench.roadmap AS (
    key text, name text, nodes bench.step[], edges bench.link[], is_truncated boolean
);

CREATE FUNCTION bench.roadmap(concept_key text, max_depth integer, first integer) RETURNS bench.roadmap
LANGUAGE sql STABLE AS $$
    /* roadmap_parts.sql */
    SELECT entity.key, entity.name,
        ARRAY(SELECT ROW(depth, key, name)::bench.step FROM kept WHERE depth > 0 ORDER BY depth, id),
        ARRAY(
            SELECT ROW(source_key, target_key, type, confidence)::bench.link FROM edges
            ORDER BY target_id, type, source_id LIMIT 20000
        ),
        (SELECT count(*) FROM reached) > (SELECT count(*) FROM kept) OR (SELECT count(*) FROM edges) > 20000
    FROM start JOIN entity USING (id)
$$;
