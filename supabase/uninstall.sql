-- Removes the outbox from a database: every object that a release created, the messages included, and
-- nothing else. It is one statement, so it removes all of them or none. `outbox schema drop` prints and runs
-- it; docs/upgrading.md describes the steps before and after. Run it as the role that applied the migrations
-- (postgres).
do $$
declare
    -- Tables and views in the schema public, of all releases.
    relations constant text[] := array[
        'outbox',
        'outbox_auth_settings',
        'outbox_campaign_members',
        'outbox_campaign_occurrences',
        'outbox_campaigns',
        'outbox_event_deliveries',
        'outbox_event_endpoints',
        'outbox_events',
        'outbox_figures',
        'outbox_inbound',
        'outbox_opt_out_words',
        'outbox_route_plans',
        'outbox_routes',
        'outbox_senders',
        'outbox_suppressions',
        'outbox_templates'
    ];
    -- Functions in the schema public, of all releases. A function of the user's may have the same name with
    -- other arguments.
    functions constant text[] := array[
        'outbox_accept(uuid[],text[],text,double precision,double precision)',
        'outbox_acknowledge_alarms(text[])',
        'outbox_add_event_endpoint(text,text,text[],boolean)',
        'outbox_claim_events(text,integer,double precision,boolean)',
        'outbox_event_endpoints_status()',
        'outbox_list_event_deliveries(text,text,text,bigint,integer)',
        'outbox_record_event_results(jsonb)',
        'outbox_remove_event_endpoint(text)',
        'outbox_replay_events(text,text[],timestamp with time zone,timestamp with time zone,boolean,boolean)',
        'outbox_rotate_event_secret(text,double precision)',
        'outbox_set_event_endpoint(text,text,text[],boolean,boolean)',
        'outbox_test_event(text)',
        'outbox_adopt_batches(text,text,text,text,text,boolean,bigint[],boolean,timestamp with time zone)',
        'outbox_begin_adoption(text,text)',
        'outbox_bind(text,boolean)',
        'outbox_campaign_costs(text,text,integer)',
        'outbox_campaign_report(text)',
        'outbox_cancel(bigint[],boolean)',
        'outbox_check_references(text,text,text,text[],timestamp with time zone[])',
        'outbox_claim(uuid,text,text,text,text,text,double precision,double precision,smallint,smallint,'
        'integer,double precision,integer,text[],boolean,boolean,integer)',
        'outbox_claim_due(uuid,text,text,text,text,text,double precision,double precision,smallint,smallint,'
        'integer,double precision,integer,text[],boolean,boolean,integer,text,text,uuid,'
        'timestamp with time zone,text,double precision,bigint,smallint,double precision)',
        'outbox_claim_inbound_window(text,text,double precision)',
        'outbox_claim_lookups(text,text,text,double precision,smallint)',
        'outbox_claim_reconciliation(text,text,smallint)',
        'outbox_commit_import(uuid,boolean)',
        'outbox_count_messages(jsonb,integer)',
        'outbox_latest_statuses(timestamp with time zone[],integer)',
        'outbox_erase_bulk_filters(text[])',
        'outbox_known_suppressions(text[])',
        'outbox_delivery_report(timestamp with time zone,timestamp with time zone,text,text)',
        'outbox_daily_figures(integer)',
        'outbox_conversation(text,text,integer,boolean)',
        'outbox_show_text(bigint)',
        'outbox_show_preview(text,integer)',
        'outbox_delivery_figures(timestamp with time zone,timestamp with time zone,text,text,text)',
        'outbox_list_audit(jsonb,bigint,integer)',
        'outbox_list_suppressions(jsonb,text,integer)',
        'outbox_preview_bulk(text,jsonb,jsonb,bigint,integer)',
        'outbox_start_bulk(text,jsonb,jsonb)',
        'outbox_continue_bulk(bigint,integer)',
        'outbox_stop_bulk(bigint)',
        'outbox_list_bulk(bigint,integer)',
        'outbox_tend_dashboard(text,integer)',
        'outbox_reschedule_messages(bigint[],timestamp with time zone,boolean)',
        'outbox_send_test_message(jsonb)',
        'outbox_find_reply(text)',
        'outbox_show_replies(boolean,timestamp with time zone,text,integer)',
        'outbox_lift_suppression(text)',
        'outbox_list_messages(jsonb,bigint,integer)',
        'outbox_decide_replies(text[],boolean,boolean)',
        'outbox_discard_import(uuid)',
        'outbox_doctor()',
        'outbox_draw_requests(text,text,text,smallint)',
        'outbox_end_process(text)',
        'outbox_note_waiting(text,text)',
        'outbox_expand_campaigns(integer)',
        'outbox_export_suppressions(text,integer)',
        'outbox_find(text,text)',
        'outbox_forget_plan(text,text)',
        'outbox_find_overlooked()',
        'outbox_has_ready(boolean)',
        'outbox_finish_adoption(text,text)',
        'outbox_finish_inbound_window(text,text,timestamp with time zone)',
        'outbox_finish_reconciliation(text,text,text[],boolean)',
        'outbox_import_suppressions(text[],text[],text[])',
        'outbox_keep_callbacks(text[],text[])',
        'outbox_list_campaigns()',
        'outbox_forget_adopted(text)',
        'outbox_list_held(bigint,integer)',
        'outbox_list_plans()',
        'outbox_list_routes()',
        'outbox_list_senders()',
        'outbox_match_again(bigint,integer)',
        'outbox_remove_route(text)',
        'outbox_remove_sender(text,text,text,text)',
        'outbox_set_route(text,jsonb,text,text[],smallint,smallint,text,boolean,smallint,boolean)',
        'outbox_set_sender(text,text,text,text,text,jsonb,boolean)',
        'outbox_list_replies(boolean,timestamp with time zone,text,integer)',
        'outbox_mark_ambiguous(uuid[],text[],text[],double precision)',
        'outbox_read_campaign_report(text,text,integer)',
        'outbox_write_members(uuid,integer)',
        'outbox_member_form(text)',
        'outbox_pause(text,text,timestamp with time zone,double precision,text)',
        'outbox_pause_plan(text,text,text,text,text,double precision)',
        'outbox_pin_plan(text,text,text,smallint,boolean,text)',
        'outbox_ping()',
        'outbox_postpone_lookup(uuid,text,double precision)',
        'outbox_preview_campaign(text,integer)',
        'outbox_reconcile_soon(text[])',
        'outbox_record_clocks(text[],text[],double precision[])',
        'outbox_record_failed_lookup(uuid,text,text,double precision)',
        'outbox_record_inbounds(text,text[],text[],text[],text[],text[],text[],text[],text[],text[])',
        'outbox_record_lookup(uuid,text,text[],text[],double precision,double precision)',
        'outbox_record_missed_lookup(uuid,text,double precision,timestamp with time zone,double precision,'
        'text[])',
        'outbox_record_rejected_callbacks(integer)',
        'outbox_record_reports(text,text[],text[],text[],text[],text[],text[],text[])',
        'outbox_take_reports(text,text[],text[],text[],text[],text[],text[],text[])',
        'outbox_refuse(uuid,text,text,text,smallint,double precision,text,double precision)',
        'outbox_release(uuid[],text[])',
        'outbox_renew(uuid[],text[],double precision)',
        'outbox_resume(text,text,boolean)',
        'outbox_resume_restored(text,text)',
        'outbox_events(outbox)',
        'outbox_reschedule(bigint,text,timestamp with time zone,timestamp with time zone,text,jsonb,text,'
        'smallint,jsonb,text)',
        'outbox_retry(bigint[],boolean,double precision,boolean)',
        'outbox_schema_version()',
        'outbox_select(text[],text,timestamp with time zone,bigint,integer,integer)',
        'outbox_send_held(bigint[],boolean)',
        'outbox_send_sms(jsonb)',
        'outbox_send_sms_over_http(text,text)',
        'outbox_stage_members(uuid,text,integer[],text[],text[],text[],text[],text[])',
        'outbox_metrics()', 'outbox_status()',
        'outbox_switch_campaign(text,text,integer)',
        'outbox_take_alarms(smallint)',
        'outbox_take_test_report(text)',
        'outbox_text(text)',
        'outbox_erase_members(text[],integer)',
        'outbox_erase_messages(bigint[],text[])',
        'outbox_erase_records(text[],text,text,integer)',
        'outbox_find_person(text[],bigint,integer)',
        'outbox_person_messages(bigint[],text[],boolean)',
        'outbox_person_numbers(text[])',
        'outbox_person_records(text[],text,text,integer,boolean)',
        'outbox_prepare_erasure(bigint[],text[])',
        'outbox_run_upkeep(text,integer)',
        'outbox_trace(bigint,boolean)',
        'outbox_try_auth_hook(text)',
        'outbox_upkeep(double precision,double precision,integer)',
        'outbox_verdict(text,double precision)'
    ];
    our_relations regclass[];
    our_functions regprocedure[];
    dependents text;
    one text;
begin
    -- Without the engine's schema, a table with one of these names is the user's.
    if to_regnamespace('outbox_engine') is null then
        return;
    end if;
    perform set_config('lock_timeout', '10s', true);
    -- Each drop raises a notice for the objects that it cascades to.
    perform set_config('client_min_messages', 'warning', true);

    select coalesce(array_agg(c.oid::regclass), '{}') into our_relations
    from pg_catalog.pg_class c
    where c.relnamespace = 'public'::regnamespace
        and c.relname = any (relations)
        and c.relkind in ('r', 'p', 'v', 'm');
    select coalesce(array_agg(to_regprocedure('public.' || f)), '{}') into our_functions
    from unnest(functions) f
    where to_regprocedure('public.' || f) is not null;

    -- A cascade would also drop the user's objects that depend on ours, so the error names them instead.
    with recursive ours (classid, objid) as (
        select * from (
            select 'pg_namespace'::regclass::oid, n.oid
            from pg_catalog.pg_namespace n
            where n.nspname = 'outbox_engine'
            union all
            select 'pg_class'::regclass::oid, r::oid from unnest(our_relations) r
            union all
            select 'pg_proc'::regclass::oid, f::oid from unnest(our_functions) f
        ) roots
        union
        -- Objects in our schema, and parts of ours: defaults, constraints, indexes, triggers, policies.
        select d.classid, d.objid
        from ours o
        join pg_catalog.pg_depend d on d.refclassid = o.classid and d.refobjid = o.objid
        where d.deptype in ('a', 'i', 'P', 'S') or o.classid = 'pg_namespace'::regclass
    )
    select string_agg(distinct pg_describe_object(d.classid, d.objid, 0), ', ') into dependents
    from ours o
    join pg_catalog.pg_depend d on d.refclassid = o.classid and d.refobjid = o.objid
    where d.deptype = 'n'
        and not exists (select from ours p where p.classid = d.classid and p.objid = d.objid);
    if dependents is not null then
        raise exception 'other objects use the outbox: %', dependents
            using errcode = 'dependent_objects_still_exist',
                hint = 'Nothing was removed. Drop or change these first.';
    end if;

    foreach one in array our_functions::text[] loop
        execute 'drop routine ' || one || ' cascade';
    end loop;
    for one in
        select format(
            'drop %s %s cascade', case when c.relkind = 'v' then 'view' else 'table' end, c.oid::regclass
        )
        from pg_catalog.pg_class c
        where c.oid = any (our_relations::oid[])
        order by c.relkind desc
    loop
        execute one;
    end loop;
    drop schema if exists outbox_engine cascade;
end
$$;

notify pgrst, 'reload schema';
