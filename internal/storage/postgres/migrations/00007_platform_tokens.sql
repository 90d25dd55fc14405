-- Tokens for programs. The version before does not know them, and refuses them.

-- +goose Up
CREATE TABLE IF NOT EXISTS berth_platform_tokens (
    id           VARCHAR COLLATE "C" PRIMARY KEY,
    name         VARCHAR NOT NULL UNIQUE,
    scopes       VARCHAR NOT NULL,
    owner        VARCHAR NOT NULL DEFAULT '',
    digest       VARCHAR NOT NULL UNIQUE,
    created_at   TIMESTAMPTZ NOT NULL,
    created_by   VARCHAR NOT NULL,
    expires_at   TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ
);

-- Every instance is notified of a token that was created or revoked; its use is no change.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION berth_tell_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('berth_platform_tokens', '');
    RETURN NULL;
END $$;
-- +goose StatementEnd
DROP TRIGGER IF EXISTS berth_tell_tokens ON berth_platform_tokens;
CREATE TRIGGER berth_tell_tokens AFTER INSERT OR DELETE ON berth_platform_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION berth_tell_tokens();
