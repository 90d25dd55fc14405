-- +goose Up
ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS image_source VARCHAR NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS upgrade      JSONB;
