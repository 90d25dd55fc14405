-- What sessions use of models. The names are compared by their bytes, as everywhere.

-- +goose Up
CREATE TABLE IF NOT EXISTS berth_usage (
    day        DATE NOT NULL,
    session_id VARCHAR COLLATE "C" NOT NULL,
    owner      VARCHAR COLLATE "C" NOT NULL,
    provider   VARCHAR COLLATE "C" NOT NULL,
    model      VARCHAR COLLATE "C" NOT NULL,
    calls      BIGINT NOT NULL,
    input      BIGINT NOT NULL,
    cached     BIGINT NOT NULL,
    output     BIGINT NOT NULL,
    estimated  BIGINT NOT NULL,
    micros     BIGINT NOT NULL,
    PRIMARY KEY (day, session_id, owner, provider, model)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS idx_berth_usage_owner ON berth_usage (owner, day);
CREATE INDEX IF NOT EXISTS idx_berth_usage_session ON berth_usage (session_id, day);

-- The sums that limits are compared with, and what calls in progress hold of them. No index has the columns that change, so that
-- updates stay in their page.
CREATE TABLE IF NOT EXISTS berth_usage_counters (
    holder_kind VARCHAR COLLATE "C" NOT NULL,
    holder      VARCHAR COLLATE "C" NOT NULL,
    kind        VARCHAR COLLATE "C" NOT NULL,
    start       TIMESTAMPTZ NOT NULL,
    used        BIGINT NOT NULL,
    held        BIGINT NOT NULL,
    PRIMARY KEY (holder_kind, holder, kind, start)
) WITH (fillfactor = 50);

-- Calls in progress. One that has expired was counted by its estimate; its row stays for a while, to correct that.
CREATE TABLE IF NOT EXISTS berth_usage_holds (
    id         VARCHAR COLLATE "C" PRIMARY KEY,
    at         TIMESTAMPTZ NOT NULL,
    session_id VARCHAR NOT NULL,
    owner      VARCHAR NOT NULL,
    provider   VARCHAR NOT NULL,
    model      VARCHAR NOT NULL,
    input      BIGINT NOT NULL,
    cached     BIGINT NOT NULL,
    output     BIGINT NOT NULL,
    micros     BIGINT NOT NULL,
    until      TIMESTAMPTZ NOT NULL,
    expired    BOOLEAN NOT NULL DEFAULT false
) WITH (fillfactor = 50);
