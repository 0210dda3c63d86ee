-- Preflight: names all conflicting objects in one error, before anything is created.

set lock_timeout = '5s';

do $$
begin
  if exists (select from pg_catalog.pg_namespace where nspname = 'outbox_engine') then
    raise exception using errcode = '42710',
      message = 'the outbox is installed already: this database has a schema outbox_engine',
      detail = 'Nothing was changed.',
      hint = 'Run `outbox schema status` to see which version it has.';
  end if;
end
$$;

-- All objects that the outbox creates in `public`. `outbox schema drop` has the same names; a test compares
-- them with the catalogue. A later release repeats this statement for the names that it adds.
do $$
declare
  v_relations constant text[] := array[
    'outbox', 'outbox_auth_settings', 'outbox_auth_settings_pkey',
    'outbox_campaign_members', 'outbox_campaign_members_due', 'outbox_campaign_members_pkey',
    'outbox_campaign_members_recipient', 'outbox_campaign_occurrences',
    'outbox_campaign_occurrences_message', 'outbox_campaign_occurrences_pkey', 'outbox_campaigns',
    'outbox_campaigns_due', 'outbox_campaigns_pkey', 'outbox_campaigns_template', 'outbox_day',
    'outbox_event_deliveries', 'outbox_event_deliveries_due', 'outbox_event_deliveries_endpoint',
    'outbox_event_deliveries_failed', 'outbox_event_deliveries_id_seq', 'outbox_event_deliveries_message',
    'outbox_event_deliveries_notice', 'outbox_event_deliveries_pkey', 'outbox_event_endpoints',
    'outbox_event_endpoints_id_seq', 'outbox_event_endpoints_name_key', 'outbox_event_endpoints_pkey',
    'outbox_events', 'outbox_events_id_seq', 'outbox_events_message', 'outbox_events_pkey',
    'outbox_events_report', 'outbox_expiring', 'outbox_figures', 'outbox_id_seq',
    'outbox_idempotency_key_key', 'outbox_inbound', 'outbox_inbound_pkey', 'outbox_inbound_recorded',
    'outbox_inbound_sender', 'outbox_inbound_unclear', 'outbox_opt_out_words',
    'outbox_opt_out_words_pkey', 'outbox_owner',
    'outbox_metadata', 'outbox_pkey', 'outbox_recipient',
    'outbox_ready_on_route', 'outbox_route_plans', 'outbox_route_plans_pkey', 'outbox_routes',
    'outbox_routes_name_key', 'outbox_routes_pkey', 'outbox_senders', 'outbox_senders_pkey',
    'outbox_suppressions', 'outbox_suppressions_pkey', 'outbox_templates',
    'outbox_templates_pkey', 'outbox_waiting_campaign', 'outbox_waiting_recipient',
    'outbox_waiting_template', 'outbox_waiting_on_route'
  ];
  v_functions constant text[] := array[
    'outbox_add_event_endpoint', 'outbox_claim_events', 'outbox_event_endpoints_status',
    'outbox_list_event_deliveries', 'outbox_record_event_results', 'outbox_remove_event_endpoint',
    'outbox_replay_events', 'outbox_rotate_event_secret', 'outbox_set_event_endpoint', 'outbox_test_event',
    'outbox_latest_statuses', 'outbox_erase_bulk_filters', 'outbox_known_suppressions',
    'outbox_delivery_report', 'outbox_count_messages', 'outbox_list_messages',
    'outbox_conversation', 'outbox_show_text', 'outbox_show_preview',
    'outbox_delivery_figures', 'outbox_list_audit', 'outbox_list_suppressions', 'outbox_preview_bulk',
    'outbox_start_bulk', 'outbox_continue_bulk', 'outbox_stop_bulk', 'outbox_list_bulk',
    'outbox_tend_dashboard', 'outbox_reschedule_messages', 'outbox_send_test_message',
    'outbox_find_reply', 'outbox_show_replies', 'outbox_lift_suppression',
    'outbox_accept', 'outbox_acknowledge_alarms', 'outbox_bind', 'outbox_reconcile_soon',
    'outbox_campaign_costs',
    'outbox_campaign_report', 'outbox_cancel', 'outbox_claim_due', 'outbox_claim_reconciliation',
    'outbox_claim_inbound_window', 'outbox_claim_lookups', 'outbox_commit_import', 'outbox_daily_figures',
    'outbox_discard_import', 'outbox_mark_ambiguous', 'outbox_draw_requests', 'outbox_end_process',
    'outbox_note_waiting', 'outbox_read_campaign_report', 'outbox_write_members',
    'outbox_expand_campaigns', 'outbox_has_ready',
    'outbox_export_suppressions', 'outbox_find', 'outbox_find_overlooked', 'outbox_finish_reconciliation',
    'outbox_finish_inbound_window', 'outbox_import_suppressions', 'outbox_keep_callbacks',
    'outbox_list_campaigns', 'outbox_member_form', 'outbox_record_rejected_callbacks', 'outbox_pause',
    'outbox_doctor', 'outbox_try_auth_hook', 'outbox_take_test_report',
    'outbox_list_plans', 'outbox_metrics', 'outbox_pin_plan', 'outbox_forget_plan', 'outbox_verdict',
    'outbox_pause_plan', 'outbox_ping', 'outbox_postpone_lookup', 'outbox_preview_campaign',
    'outbox_adopt_batches', 'outbox_begin_adoption', 'outbox_check_references', 'outbox_finish_adoption',
    'outbox_decide_replies', 'outbox_list_replies',
    'outbox_list_held', 'outbox_forget_adopted', 'outbox_record_failed_lookup', 'outbox_record_inbounds',
    'outbox_record_lookup', 'outbox_take_reports',
    'outbox_record_reports', 'outbox_refuse', 'outbox_release', 'outbox_renew', 'outbox_resume',
    'outbox_events', 'outbox_reschedule',
    'outbox_resume_restored', 'outbox_retry', 'outbox_schema_version', 'outbox_select',
    'outbox_send_held', 'outbox_send_sms', 'outbox_send_sms_over_http',
    'outbox_stage_members', 'outbox_status', 'outbox_switch_campaign',
    'outbox_record_clocks', 'outbox_record_missed_lookup',
    'outbox_find_person', 'outbox_person_messages', 'outbox_person_numbers', 'outbox_person_records',
    'outbox_erase_members', 'outbox_prepare_erasure', 'outbox_erase_messages', 'outbox_erase_records',
    'outbox_list_routes', 'outbox_list_senders', 'outbox_match_again', 'outbox_remove_route',
    'outbox_remove_sender', 'outbox_run_upkeep', 'outbox_set_route', 'outbox_set_sender',
    'outbox_take_alarms', 'outbox_text', 'outbox_trace', 'outbox_upkeep'
  ];
  v_conflicts text[];
begin
  select array_agg(c.name order by c.name) into v_conflicts
  from (
    select format('%s public.%I', case k.relkind
      when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
      when 'i' then 'index' when 'I' then 'index' when 'c' then 'type' else 'table' end, k.relname) as name
    from pg_catalog.pg_class k
    where k.relnamespace = 'public'::regnamespace and k.relname = any (v_relations)
    union
    select format('type public.%I', t.typname)
    from pg_catalog.pg_type t
    where t.typnamespace = 'public'::regnamespace and t.typname = any (v_relations) and t.typtype <> 'c'
    union
    select format('function public.%I(%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid))
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname = any (v_functions)
  ) c;
  if v_conflicts is not null then
    raise exception using errcode = '42710',
      message = format('the outbox needs names that are taken: %s', array_to_string(v_conflicts, ', ')),
      detail = 'Nothing was changed. The names of the outbox cannot be configured.',
      hint = 'Rename your objects, for example: alter table public.outbox rename to my_outbox;';
  end if;
end
$$;
