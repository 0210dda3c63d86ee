-- Functions of release 0.1.0 that nothing calls any more.

drop function outbox_engine.fail_shared(outbox_engine.dispatches[]);
drop function outbox_engine.decide_half(
  outbox_engine.dispatches, boolean, boolean, text, double precision);
drop function outbox_engine.make_slice(
  outbox_engine.dispatches, bigint[], boolean, text, text, text, double precision, double precision);
