SELECT external_id, title, value, created_at, attributes FROM record
WHERE source = 'items' AND external_id > $1 ORDER BY external_id LIMIT $2
