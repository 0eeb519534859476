-- The first edges that end at each of some entities, with the entities on their far sides.
SELECT parent.id AS parent_id, edge.type, edge.confidence, far.id, far.key, far.name
FROM unnest($1::bigint[]) AS parent (id)
CROSS JOIN LATERAL (
    SELECT source_id, type, confidence FROM influence WHERE target_id = parent.id ORDER BY type, source_id LIMIT $2
) AS edge
JOIN entity AS far ON far.id = edge.source_id
ORDER BY parent.id, edge.type, edge.source_id
