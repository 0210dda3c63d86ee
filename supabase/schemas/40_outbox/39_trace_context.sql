-- Traces: which request of the app inserted a message. docs/traces.md says what it is for.

-- The trace context of a new row, as W3C writes it: `p_given` by the app, or else that of the request that
-- inserts it. PostgREST gives a request's headers as `request.headers`. A header in another form counts as
-- none, because an insert must not fail for a trace. A column in another form is refused.
create function outbox_engine.trace_context_of(p_given text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  v_form constant text := '^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$';
  v_sent text;
begin
  if p_given is null then
    v_sent := current_setting('request.headers', true)::json ->> 'traceparent';
    return case when v_sent ~ v_form then v_sent end;
  elsif p_given !~ v_form then
    perform outbox_engine.refuse(
      format('trace_context %L is not a trace context', left(p_given, 60)),
      'Give the value of the header traceparent (W3C, version 00), or leave it out.');
  end if;
  return p_given;
end
$$;
