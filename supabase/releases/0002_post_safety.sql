drop function outbox_engine.delete_messages(bigint[]);
drop function outbox_engine.count_pruned(bigint[]);
-- No lookup takes messages out of a dispatch any more.
drop function outbox_engine.remove_members(uuid, text[]);
-- Processes of 0.1.0 claimed by it.
drop function public.outbox_claim(
  uuid, text, text, text, text, text, double precision, double precision, smallint, smallint, integer,
  double precision, integer, text[], boolean, boolean, integer);

alter table outbox_engine.plan_pauses validate constraint plan_pauses_kind_check;
alter table outbox_engine.report_codes validate constraint report_codes_effect_check;
-- Reads the whole table beside other work.
alter table public.outbox validate constraint outbox_has_a_text;
-- Functions of release 0.1.0 that nothing calls any more.

drop function outbox_engine.fail_shared(outbox_engine.dispatches[]);
drop function outbox_engine.decide_half(
  outbox_engine.dispatches, boolean, boolean, text, double precision);
drop function outbox_engine.make_slice(
  outbox_engine.dispatches, bigint[], boolean, text, text, text, double precision, double precision);
drop function outbox_engine.record_missed_lookup(uuid, interval);
-- Those of the claim that knew no MMS.
drop function outbox_engine.judge_rows(bigint[], text[], integer, timestamptz);
drop function outbox_engine.rendered_rows(bigint[]);
drop function outbox_engine.dispatch_json(
  uuid, bigint, text, text, timestamptz, double precision, text[], text[]);
drop function outbox_engine.pack(
  bigint[], text[], text[], text[], smallint[], timestamptz[], boolean[], integer, integer, boolean,
  timestamptz);

-- Inserts tell processes that sleep, from their own trigger.
drop trigger outbox_5_wake on public.outbox;
drop function outbox_engine.after_insert();

-- The campaign report of release 0.1.0, which read all occurrences in one statement.
drop function outbox_engine.campaign_outcomes(text);
drop function outbox_engine.deleted_messages(text);
drop function outbox_engine.report_timeline(timestamptz[], text[], boolean[], bigint[], interval);
drop function outbox_engine.campaign_report(text, text);

-- Its import, which looked for each line among all lines of the file.
drop function outbox_engine.import_line_problem(
  public.outbox_campaign_members, public.outbox_campaigns, public.outbox_templates, text, uuid, integer);
drop function outbox_engine.write_imported_members(outbox_engine.campaign_imports);

select outbox_engine.write_template_bounds(t) from public.outbox_templates t;
drop function outbox_engine.word_effect(text, text);

-- Those of the claim that knew no routes.
drop function outbox_engine.claim_ready(
  outbox_engine.claim_request, outbox_engine.admission, outbox_engine.queue_bounds, integer, integer,
  timestamptz);
drop function outbox_engine.claim_admitted(
  outbox_engine.claim_request, outbox_engine.plans, outbox_engine.admission, outbox_engine.queue_bounds,
  integer, timestamptz);
drop function outbox_engine.ordered_due_at(smallint, timestamptz);
drop function outbox_engine.first_ready(outbox_engine.queue_bounds, integer);
drop function outbox_engine.pick(outbox_engine.queue_bounds, integer, integer);
drop function outbox_engine.queue_heads();
drop function outbox_engine.forget_priorities(timestamptz, smallint[]);

-- Claims of 0.1.0 read the queue by them.
drop index public.outbox_ready;
drop index public.outbox_waiting;
-- `outbox_take_reports` replaces them.
drop function outbox_engine.apply_reports(outbox_engine.report[], text);
drop function outbox_engine.record_reports(outbox_engine.report[], text);
drop function outbox_engine.store_reports(outbox_engine.report[], text, timestamptz);
