SELECT id, key, kind, name, description, is_stub, start_year FROM entity WHERE id > $1 ORDER BY id LIMIT $2
