-- Applied reports without knowing other plans.
drop function outbox_engine.advance_status(
  bigint[], uuid[], text[], text[], integer[], timestamptz[], timestamptz);
