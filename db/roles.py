"""The role that the API reads as, which may do nothing else."""

READER = "atlas_reader"

# From PostgreSQL 16 on a member need not be allowed to take on a role.
_MAY_BECOME = """pg_has_role(
    current_user, {}, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END
)"""

# A database's owner need not be allowed to make roles: then somebody who is makes this one, see docs/access.md. Grants
# are given where they are missing alone, since each makes all connections plan their statements anew.
ALLOW_READING = f"""
DO $$
BEGIN
    BEGIN
        IF to_regrole('{READER}') IS NULL THEN
            CREATE ROLE {READER} NOLOGIN;
        END IF;
        IF NOT {_MAY_BECOME.format("to_regrole('" + READER + "')")} THEN
            GRANT {READER} TO CURRENT_USER;
        END IF;
    EXCEPTION
        -- Processes that migrate other databases of the server may make it at the same time.
        WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
    END;
    IF to_regrole('{READER}') IS NOT NULL AND NOT (
        SELECT coalesce(bool_and(has_table_privilege('{READER}', oid, 'SELECT')), true)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    ) THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER};
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {READER};
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN NULL;
END $$
"""
"""Makes the role if that is allowed, lets the current one take it on, and lets it read every table, later ones too."""

READ_ONLY = f"""
SELECT set_config('role', rolname, false) FROM pg_roles
WHERE rolname = '{READER}' AND has_table_privilege(oid, to_regclass('public.alembic_version'), 'SELECT')
AND {_MAY_BECOME.format("oid")}
"""
"""Has a connection go on as that role, where there is one that it may take on and that may read."""
