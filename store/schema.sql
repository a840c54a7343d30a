-- The tables of weft, schema 5. Times are Unix milliseconds in UTC, unless a
-- name ends in _us (microseconds). Every row belongs to a namespace (ns).

-- What is deployed.

create table blob (                       -- uploaded modules, by what they are
  digest  text primary key,               -- sha256 of data, lower-case hex
  data    blob not null,
  created integer not null
) strict;

create table module (
  ns       text not null,
  name     text not null,
  version  text not null,                 -- semver
  digest   text not null references blob(digest),
  size     integer not null,              -- bytes of the upload
  manifest blob not null,                 -- JSON, weft.Manifest, complete
  report   blob not null,                 -- JSON, what the check found
  grants   blob not null,                 -- JSON, weft.Grants: what the operator allowed
  config   blob not null,                 -- JSON object, key to value
  created  integer not null,
  descriptors blob,                       -- FileDescriptorSet of its services; null for none
  promoted integer not null default 0,    -- 1: it is called where no version is named
  signature blob,                         -- JSON, catalog.Signature: whose it was at the upload; null for none
  primary key (ns, name, version)
) strict, without rowid;

create table workflow (
  ns      text not null,                  -- the tenant's namespace
  space   text not null,                  -- document.namespace
  name    text not null,
  version text not null,
  source  blob not null,                  -- YAML, every handler pinned
  digest  text not null,                  -- sha256 of source as it was sent
  created integer not null,
  resources blob,                         -- JSON: the texts that source names, by URI; null for none
  primary key (ns, space, name, version)
) strict, without rowid;

create table schedule (                   -- when time starts a workflow: its newest version
  ns      text not null,
  space   text not null,
  name    text not null,
  kind    text not null,                  -- workflows.ScheduleKind
  version text not null,
  next    integer,                        -- when the next run is due; null while run goes on
  run     text,                           -- after whose end the next is due
  primary key (ns, space, name, kind)
) strict, without rowid;
create index schedule_next on schedule (next) where next is not null;

-- What is running.

create table run (
  id       text primary key,              -- ULID: sorts by time of start
  ns       text not null,
  part     integer not null,              -- 0 to 255, from id: the share of a host, once there are several
  space    text not null,
  workflow text not null,
  version  text not null,
  status   integer not null,              -- runtime/engine.Status
  key      text,                          -- idempotency key of the start
  reason   text,                          -- why it waits, for people
  wake     integer,                       -- when the earliest of its timers is due
  peer     text,                          -- the peer it is parked on
  entries  integer not null,              -- length of its journal
  output   blob,                          -- JSON, once it has completed
  fault    blob,                          -- JSON (RFC 7807), once it has failed
  started  integer not null,
  updated  integer not null,
  ended    integer,
  parent   text,                          -- the run that runs it
  step     integer not null,              -- of parent
  depth    integer not null,              -- runs around it
  tie      integer not null,              -- runtime/engine: what it and its parent owe each other
  origin   text,                          -- the run and the step that it is a rerun of
  quiet    integer not null               -- 1: it emits no lifecycle events
) strict, without rowid;
create unique index run_key on run (ns, space, workflow, key) where key is not null;
create index run_status on run (status, ns, id);
create index run_workflow on run (ns, workflow, status, id);
create index run_parent on run (parent) where parent is not null;
create index run_tie on run (tie, status, id) where tie <> 0;
create index run_wake on run (wake) where wake is not null;
create index run_peer on run (ns, peer, id) where peer is not null;

create table journal (                    -- one row: the entries of one commit of one run
  run  text not null,
  seq  integer not null,                  -- number of the first entry, from 0
  data blob not null,                     -- format: docs/JOURNAL.md
  primary key (run, seq)
) strict, without rowid;

create table snapshot (                   -- where the fold of a long journal may begin
  run  text primary key,
  seq  integer not null,                  -- number of the first entry after it
  data blob not null                      -- format: docs/JOURNAL.md
) strict, without rowid;

create table listen (                     -- live runs that may take an event
  ns   text not null,
  type text not null,                     -- event type, empty for any
  run  text not null,
  primary key (ns, type, run)
) strict, without rowid;
create index listen_run on listen (run);

create table state (                      -- what handlers keep
  ns      text not null,
  module  text not null,                  -- its name: state outlives versions
  key     text not null,
  version integer not null,               -- grows with every write
  value   blob not null,
  primary key (ns, module, key)
) strict, without rowid;

-- Events.

create table event (                      -- the log
  offset  integer primary key autoincrement,
  topic   text not null,                  -- for weft's own events: the namespace
  id      text not null,
  meta    blob not null,                  -- JSON: attributes, or a message's metadata
  data    blob not null,
  due     integer,                        -- not delivered before
  created integer not null
) strict;
create index event_topic on event (topic, offset);

create table consumer (                   -- one row a group and topic: how far it is
  topic   text not null,
  name    text not null,
  cursor  integer not null,               -- all up to here is done, or put off below
  updated integer not null,
  primary key (topic, name)
) strict, without rowid;

create table redelivery (                 -- what failed or waits for its time
  topic    text not null,
  name     text not null,                 -- the group
  offset   integer not null,
  key      text not null default '',      -- it holds back what comes after it with this key; empty: nothing
  due      integer not null,
  attempts integer not null,
  error    text not null,
  primary key (topic, name, offset)
) strict, without rowid;
create index redelivery_due on redelivery (topic, name, due) where key = '';
create index redelivery_key on redelivery (topic, name, key, offset) where key <> '';
create index redelivery_offset on redelivery (topic, offset);

create table dead_letter (
  topic    text not null,
  name     text not null,
  offset   integer not null,
  attempts integer not null,
  error    text not null,
  created  integer not null,
  primary key (topic, name, offset)
) strict, without rowid;
create index dead_letter_offset on dead_letter (topic, offset, name);

create table trimmed (                    -- how far the log of a topic may have holes
  topic   text not null primary key,
  offset  integer not null                -- the newest message that retention removed
) strict, without rowid;

create table inbox (                      -- events that a consumer has had: each takes effect once
  name    text not null,
  source  text not null,
  id      text not null,
  created integer not null,
  primary key (name, source, id)
) strict;
create index inbox_created on inbox (created);

create table hook (                       -- signed calls of others that become events
  ns   text not null,
  name text not null,
  hook blob not null,                     -- JSON, host/hooks.Hook
  primary key (ns, name)
) strict, without rowid;

-- Peers.

create table instance (
  ns       text not null,
  service  text not null,
  instance text not null,
  epoch    integer not null,              -- revision at registration, never used again
  url      text not null,
  zone     text not null,
  weight   integer not null,
  status   integer not null,              -- host/peers.Status
  health   text not null,                 -- path of an active check, empty for none
  ttl      integer not null,              -- milliseconds
  meta     blob not null,                 -- JSON object
  modified integer not null,              -- revision
  primary key (ns, service, instance)
) strict, without rowid;

create table instance_event (
  rev      integer primary key autoincrement,
  ns       text not null,
  service  text not null,
  instance text not null,
  epoch    integer not null,
  kind     integer not null,
  at       integer not null
) strict;
create index instance_event_service on instance_event (ns, service, rev);

create table breaker (                    -- state that survives a restart
  ns       text not null,
  service  text not null,                 -- peer, or scheme://host:port
  instance text not null,
  state    integer not null,
  forced   integer not null,              -- by hand
  reason   text not null,
  until    integer,
  changed  integer not null,
  primary key (ns, service, instance)
) strict, without rowid;

create table breaker_policy (             -- settings of one peer
  ns      text not null,
  service text not null,
  policy  blob not null,                  -- JSON, host/breaker.Policy
  primary key (ns, service)
) strict, without rowid;
