-- The table of the service before Berth may be there, with its ten columns and its rows. Everything here adds; nothing
-- takes away or renames, so that a Berth of the version before goes on working.

-- +goose Up
CREATE TABLE IF NOT EXISTS sessions (
    session_id     VARCHAR COLLATE "C" PRIMARY KEY,
    container_name VARCHAR,
    container_id   VARCHAR,
    host_dir       VARCHAR,
    port           INTEGER,
    auth_token     VARCHAR,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    last_accessed  TIMESTAMPTZ,
    status         VARCHAR NOT NULL DEFAULT 'stopped',
    metadata       JSONB
);

ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS owner              VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS image              VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS profile            VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS host               VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS token_expires_at   TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS token_rotated_at   TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS expires_at         TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS last_error         VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS operation          VARCHAR,
    ADD COLUMN IF NOT EXISTS operation_owner    VARCHAR,
    ADD COLUMN IF NOT EXISTS operation_deadline TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS restart_count      INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS revision           BIGINT NOT NULL DEFAULT 0;

-- IDs are ordered by their bytes, and times have a zone. Both change nothing on a table of our own.
-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
               WHERE a.attrelid = 'sessions'::regclass AND a.attname = 'session_id' AND c.collname <> 'C') THEN
        ALTER TABLE sessions ALTER COLUMN session_id TYPE VARCHAR COLLATE "C";
    END IF;
    IF EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = 'sessions'::regclass AND a.attname = 'created_at' AND a.atttypid = 'timestamp'::regtype) THEN
        ALTER TABLE sessions ALTER COLUMN created_at TYPE TIMESTAMPTZ USING created_at AT TIME ZONE 'UTC';
    END IF;
    IF EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = 'sessions'::regclass AND a.attname = 'last_accessed' AND a.atttypid = 'timestamp'::regtype) THEN
        ALTER TABLE sessions ALTER COLUMN last_accessed TYPE TIMESTAMPTZ USING last_accessed AT TIME ZONE 'UTC';
    END IF;
END $$;
-- +goose StatementEnd

-- Rows of the service before Berth hold tokens in clear text, and containers that are not ours.
UPDATE sessions SET
    revision   = 1,
    auth_token = NULL,
    created_at = coalesce(created_at, now()),
    last_error = CASE WHEN status IN ('creating', 'running')
        THEN 'moved from the service before Berth, which ran its container; rotate its token and start it' ELSE last_error END,
    status     = CASE WHEN status IN ('stopped', 'error') THEN status ELSE 'stopped' END
WHERE revision = 0;
ALTER TABLE sessions ALTER COLUMN created_at SET NOT NULL;

CREATE INDEX IF NOT EXISTS idx_sessions_status ON sessions (status);
CREATE INDEX IF NOT EXISTS idx_sessions_last_accessed ON sessions (last_accessed);
CREATE INDEX IF NOT EXISTS idx_sessions_created_at ON sessions (created_at);
CREATE INDEX IF NOT EXISTS idx_sessions_place ON sessions (created_at, session_id);
CREATE INDEX IF NOT EXISTS idx_sessions_owner ON sessions (owner, created_at, session_id);
CREATE INDEX IF NOT EXISTS idx_sessions_occupying ON sessions (session_id)
    WHERE status IN ('creating', 'running') OR operation IN ('create', 'start', 'restart');

-- Everyone hears of what anyone does to a session; activity is no news.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION berth_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.revision = NEW.revision THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('berth_sessions', left(coalesce(NEW.session_id, OLD.session_id), 1000));
    RETURN NULL;
END $$;
-- +goose StatementEnd
DROP TRIGGER IF EXISTS berth_tell ON sessions;
CREATE TRIGGER berth_tell AFTER INSERT OR UPDATE OR DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION berth_tell();

-- Who works on these sessions.
CREATE TABLE IF NOT EXISTS berth_instances (
    id         VARCHAR PRIMARY KEY,
    address    VARCHAR NOT NULL,
    hostname   VARCHAR NOT NULL,
    version    VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    seen_at    TIMESTAMPTZ NOT NULL
);

-- What all instances share.
CREATE TABLE IF NOT EXISTS berth_settings (
    name  VARCHAR PRIMARY KEY,
    value VARCHAR NOT NULL
);

-- Files that were moved here, by their digests.
CREATE TABLE IF NOT EXISTS berth_imports (
    source VARCHAR PRIMARY KEY,
    at     TIMESTAMPTZ NOT NULL DEFAULT now(),
    total  INTEGER NOT NULL,
    added  INTEGER NOT NULL,
    known  INTEGER NOT NULL
);

-- Changes made while the database was away that have arrived, so that none arrives twice.
CREATE TABLE IF NOT EXISTS berth_merges (
    key VARCHAR PRIMARY KEY,
    at  TIMESTAMPTZ NOT NULL DEFAULT now()
);
