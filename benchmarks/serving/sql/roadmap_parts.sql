-- What a roadmap is made of: the walk of db/traversal.py, the concepts it met, and the edges among them.
-- $1 is the key of the concept to learn, $2 the greatest depth, $3 the most concepts.
WITH RECURSIVE start AS MATERIALIZED (SELECT id FROM entity WHERE key = $1 AND kind = 'CONCEPT'),
walk (depth, frontier, seen) AS (
    SELECT 0, ARRAY[id], ARRAY[id] FROM start
    UNION ALL
    SELECT walk.depth + 1, fresh.ids, walk.seen || fresh.ids
    FROM walk CROSS JOIN LATERAL (
        SELECT array_agg(id) AS ids FROM (
            SELECT source_id AS id FROM influence
            WHERE target_id = ANY (walk.frontier) AND type = 'PREREQUISITE_FOR'
            EXCEPT SELECT unnest(walk.seen)
            ORDER BY id LIMIT CASE WHEN walk.depth < $2 THEN $3 + 1 ELSE 1 END
        ) AS level
    ) AS fresh
    WHERE walk.depth <= $2 AND cardinality(walk.seen) <= $3 + 1 AND fresh.ids IS NOT NULL
),
reached AS MATERIALIZED (
    SELECT walk.depth, node.id FROM walk CROSS JOIN LATERAL unnest(walk.frontier) AS node (id)
    ORDER BY walk.depth, node.id LIMIT $3 + 2
),
kept AS MATERIALIZED (
    SELECT reached.depth, entity.id, entity.key, entity.name
    FROM (SELECT * FROM reached WHERE depth <= $2 ORDER BY depth, id LIMIT $3 + 1) AS reached
    JOIN entity USING (id) WHERE entity.kind = 'CONCEPT'
),
keys AS MATERIALIZED (SELECT jsonb_object_agg(id, key) AS by_id FROM kept),
-- A join of the two CTEs would compare every edge with every concept, since the planner takes both to be tiny.
edges AS MATERIALIZED (
    SELECT target.id AS target_id, target.key AS target_key, source_id, keys.by_id ->> source_id::text AS source_key,
        edge.type, edge.confidence
    FROM kept AS target JOIN influence AS edge ON edge.target_id = target.id AND edge.type = 'PREREQUISITE_FOR'
    CROSS JOIN keys WHERE keys.by_id ? edge.source_id::text
    ORDER BY target_id, type, source_id LIMIT 20001
)
