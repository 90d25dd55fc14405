-- The index idx_sessions_occupying has no upgrades in it. It stays for the version before.

-- +goose Up
CREATE INDEX IF NOT EXISTS idx_sessions_occupied ON sessions (session_id)
    WHERE status IN ('creating', 'running') OR operation IN ('create', 'start', 'restart', 'upgrade');
