SELECT external_id, title, value, created_at, attributes FROM record
WHERE (source, external_id) > ('items', $1) ORDER BY source, external_id LIMIT $2
