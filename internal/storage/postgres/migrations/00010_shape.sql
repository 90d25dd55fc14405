-- What was asked of a session beside its profile: limits, environment, repository, egress.
-- +goose Up
ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS shape JSONB;
