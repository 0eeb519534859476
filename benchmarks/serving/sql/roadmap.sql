-- A roadmap as one row: the walk of db/traversal.py, the concepts it met, and the edges among them.
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
ids AS MATERIALIZED (SELECT array_agg(id) AS ids FROM kept),
edges AS MATERIALIZED (
    SELECT source_id, target_id, type, confidence FROM influence
    WHERE target_id = ANY ((SELECT ids FROM ids)::bigint[]) AND source_id = ANY ((SELECT ids FROM ids)::bigint[])
        AND type = 'PREREQUISITE_FOR'
    ORDER BY target_id, type, source_id LIMIT 20001
)
SELECT entity.key, entity.name,
    (
        SELECT json_agg(json_build_object('depth', depth, 'concept', json_build_object('id', key, 'name', name))
            ORDER BY depth, id)
        FROM kept WHERE depth > 0
    ) AS nodes,
    (
        SELECT json_agg(json_build_object('source', json_build_object('id', source.key),
            'target', json_build_object('id', target.key), 'type', edges.type, 'confidence', edges.confidence)
            ORDER BY target_id, edges.type, source_id)
        FROM edges JOIN kept AS source ON source.id = source_id JOIN kept AS target ON target.id = target_id
    ) AS edges,
    (SELECT count(*) FROM reached) > (SELECT count(*) FROM kept) OR (SELECT count(*) FROM edges) > 20000 AS is_truncated
FROM start JOIN entity USING (id)
