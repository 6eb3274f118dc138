-- The first schema. Ids and JSON are bytea, because texts of an API may hold what a text of PostgreSQL cannot: U+0000.

-- A duty, and the process that may work on it. `owner` is null when the duty was given up.
CREATE TABLE callwatch.duties (
    duty  text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    owner text,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Has a row while a store is carried into this database: until then nobody may work on what is half a store.
CREATE TABLE callwatch.filling (since timestamptz NOT NULL DEFAULT clock_timestamp());

-- A process that takes part, as it last said itself. `config` tells configs apart, `work` says how its duties go.
CREATE TABLE callwatch.nodes (
    id      text COLLATE "C" PRIMARY KEY,
    name    text NOT NULL,
    version text NOT NULL,
    serves  text[] NOT NULL,
    leaving boolean NOT NULL,
    config  text NOT NULL,
    work    bytea,
    since   timestamptz NOT NULL,
    seen    timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One row per destination. Whoever changes deliveries of a destination locks its row first, so numbers within a feed
-- become visible in their order, and the counts are true.
CREATE TABLE callwatch.destinations (
    name      text COLLATE "C" PRIMARY KEY,
    changed   bigint NOT NULL DEFAULT 0,
    pending   bigint NOT NULL DEFAULT 0,
    held      bigint NOT NULL DEFAULT 0,
    merged    bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    dead      bigint NOT NULL DEFAULT 0,
    pause     bytea
) WITH (fillfactor = 20);

-- Tokens of deliveries and positions in feeds.
CREATE SEQUENCE callwatch.numbers;

CREATE TABLE callwatch.events (
    id   bytea PRIMARY KEY,
    body bytea NOT NULL
);

-- Nothing that is indexed changes when a delivery is attempted, so its row can be updated in place.
-- States: 0 pending, 1 held, 2 delivered, 3 merged, 4 dead.
CREATE TABLE callwatch.deliveries (
    token       bigint PRIMARY KEY,
    event       bytea NOT NULL REFERENCES callwatch.events,
    destination text COLLATE "C" NOT NULL,
    source      text COLLATE "C",
    call        bytea,
    rules       text[] NOT NULL,
    state       smallint NOT NULL,
    created     bigint NOT NULL,
    finished    bigint,
    record      bytea NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX deliveries_event ON callwatch.deliveries (event);
CREATE INDEX deliveries_destination ON callwatch.deliveries (destination, token);
CREATE INDEX deliveries_call ON callwatch.deliveries (call, token) WHERE call IS NOT NULL;
-- A delivery is finished after it was made, so those old enough to be purged are found by when they were made.
CREATE INDEX deliveries_created ON callwatch.deliveries USING brin (created) WITH (pages_per_range = 32, autosummarize = on);

-- The deliveries that did not arrive, by now or for good. Those that are unfinished have a position in the feed.
CREATE TABLE callwatch.open (
    token       bigint PRIMARY KEY,
    destination text COLLATE "C" NOT NULL,
    state       smallint NOT NULL,
    position    bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX open_feed ON callwatch.open (destination, position) WHERE position IS NOT NULL;
CREATE INDEX open_dead ON callwatch.open (token) WHERE state = 4;

-- Deliveries that people dropped, until every owner has heard of it.
CREATE TABLE callwatch.gone (
    destination text COLLATE "C" NOT NULL,
    position    bigint NOT NULL,
    token       bigint NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (destination, position)
);

-- `known` is what every start reads of every call. `settles` is since when a call that is still whole has been settled.
CREATE TABLE callwatch.snapshots (
    source   text COLLATE "C" NOT NULL,
    call     bytea NOT NULL,
    known    bytea NOT NULL,
    snapshot bytea NOT NULL,
    settles  bigint,
    PRIMARY KEY (source, call)
) WITH (fillfactor = 80);

CREATE TABLE callwatch.checkpoints (
    duty       text COLLATE "C" PRIMARY KEY,
    checkpoint bytea NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE callwatch.memos (
    destination text COLLATE "C" NOT NULL,
    lane        bytea NOT NULL,
    written     bigint NOT NULL,
    memo        bytea NOT NULL,
    PRIMARY KEY (destination, lane)
);

CREATE TABLE callwatch.ledgers (
    destination text COLLATE "C" NOT NULL,
    batch       text COLLATE "C" NOT NULL,
    ledger      bytea NOT NULL,
    PRIMARY KEY (destination, batch)
);

-- Calls that people had forgotten. What was prepared before must not bring them back.
CREATE TABLE callwatch.forgotten (
    source text COLLATE "C" NOT NULL,
    call   bytea NOT NULL,
    PRIMARY KEY (source, call)
);

-- Fails when one of these calls was forgotten.
CREATE FUNCTION callwatch.guard(sources text[], calls bytea[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM unnest(sources, calls) AS u(source, call) JOIN callwatch.forgotten USING (source, call) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'a call was forgotten' USING ERRCODE = 'CW002';
    END IF;
END
$$;

-- Keeps a claim until the end of the transaction, so that nobody takes the duty over before; fails when it is lost.
CREATE FUNCTION callwatch.hold(of_duty text, of_owner text, of_epoch bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM callwatch.duties WHERE duty = of_duty AND owner = of_owner AND epoch = of_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the claim is lost' USING ERRCODE = 'CW001';
    END IF;
END
$$;
