-- A roadmap as one row, after roadmap_parts.sql.
SELECT entity.key, entity.name,
    (
        SELECT json_agg(json_build_object('depth', depth, 'concept', json_build_object('id', key, 'name', name))
            ORDER BY depth, id)
        FROM kept WHERE depth > 0
    ) AS nodes,
    (
        SELECT json_agg(json_build_object('source', json_build_object('id', source_key),
            'target', json_build_object('id', target_key), 'type', type, 'confidence', confidence)
            ORDER BY target_id, type, source_id)
        FROM edges
    ) AS edges,
    (SELECT count(*) FROM reached) > (SELECT count(*) FROM kept) OR (SELECT count(*) FROM edges) > 20000 AS is_truncated
FROM start JOIN entity USING (id)
