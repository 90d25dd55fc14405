-- +goose Up
ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS previous_auth_token       VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS previous_token_expires_at TIMESTAMPTZ;
