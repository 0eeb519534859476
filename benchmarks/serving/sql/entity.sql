SELECT id, key, kind, name, description, is_stub, start_year FROM entity WHERE key = $1
