-- The roadmap as a function that PostGraphile turns into a query: the walk of db/traversal.py and the edges among what
-- it found, done once, as one row of two lists.
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;

CREATE TYPE bench.step AS (depth integer, key text, name text);
CREATE TYPE bench.link AS (source text, target text, type relationship_type, confidence real);
CREATE TYPE bench.roadmap AS (
    key text, name text, nodes bench.step[], edges bench.link[], is_truncated boolean
);

CREATE FUNCTION bench.roadmap(concept_key text, max_depth integer, first integer) RETURNS bench.roadmap
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE start AS MATERIALIZED (SELECT id, key, name FROM entity WHERE key = concept_key AND kind = 'CONCEPT'),
    walk (depth, frontier, seen) AS (
        SELECT 0, ARRAY[id], ARRAY[id] FROM start
        UNION ALL
        SELECT walk.depth + 1, fresh.ids, walk.seen || fresh.ids
        FROM walk CROSS JOIN LATERAL (
            SELECT array_agg(id) AS ids FROM (
                SELECT source_id AS id FROM influence
                WHERE target_id = ANY (walk.frontier) AND type = 'PREREQUISITE_FOR'
                EXCEPT SELECT unnest(walk.seen)
                ORDER BY id LIMIT CASE WHEN walk.depth < max_depth THEN first + 1 ELSE 1 END
            ) AS level
        ) AS fresh
        WHERE walk.depth <= max_depth AND cardinality(walk.seen) <= first + 1 AND fresh.ids IS NOT NULL
    ),
    reached AS MATERIALIZED (
        SELECT walk.depth, node.id FROM walk CROSS JOIN LATERAL unnest(walk.frontier) AS node (id)
        ORDER BY walk.depth, node.id LIMIT first + 2
    ),
    kept AS MATERIALIZED (
        SELECT reached.depth, entity.id, entity.key, entity.name
        FROM (SELECT * FROM reached WHERE depth <= max_depth ORDER BY depth, id LIMIT first + 1) AS reached
        JOIN entity USING (id) WHERE entity.kind = 'CONCEPT'
    ),
    ids AS MATERIALIZED (SELECT array_agg(id) AS ids FROM kept),
    edges AS MATERIALIZED (
        SELECT source_id, target_id, type, confidence FROM influence
        WHERE target_id = ANY ((SELECT ids FROM ids)::bigint[]) AND source_id = ANY ((SELECT ids FROM ids)::bigint[])
            AND type = 'PREREQUISITE_FOR'
        ORDER BY target_id, type, source_id LIMIT 20001
    )
    SELECT start.key, start.name,
        ARRAY(SELECT ROW(depth, key, name)::bench.step FROM kept WHERE depth > 0 ORDER BY depth, id),
        ARRAY(
            SELECT ROW(source.key, target.key, edges.type, edges.confidence)::bench.link
            FROM edges JOIN kept AS source ON source.id = source_id JOIN kept AS target ON target.id = target_id
            ORDER BY target_id, edges.type, source_id LIMIT 20000
        ),
        (SELECT count(*) FROM reached) > (SELECT count(*) FROM kept) OR (SELECT count(*) FROM edges) > 20000
    FROM start
$$;
