-- Links by which browsers sign in to a session, and the browsers that have: digests only.
-- +goose Up
ALTER TABLE sessions
    ADD COLUMN IF NOT EXISTS sign_in_links JSONB,
    ADD COLUMN IF NOT EXISTS sign_ins      JSONB;
