-- Packing: which rows share a request.

-- What these senders are called at a plan, for these recipients. A sender with an alias is followed by a line
-- break and a JSON object with `sender` and `options`, so that only messages which go out alike share a
-- request; `split_part` takes both apart. A plan without aliases costs one look.
create function outbox_engine.senders_with_aliases(
  p_senders text[], p_recipients text[], p_provider text, p_plan text
) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from public.outbox_senders s where s.provider = p_provider and s.plan = p_plan) then
    return p_senders;
  end if;
  return array(
    with messages as materialized (
      select u.place, u.sender, c.country
      from unnest(p_senders) with ordinality u (sender, place)
      join outbox_engine.countries_of(p_recipients) c on c.place = u.place
    ),
    kinds as materialized (
      select k.sender, k.country, a.sender as sent_as, a.options
      from (select distinct sender, country from messages) k
      cross join lateral outbox_engine.sender_at(k.sender, p_provider, p_plan, k.country) a
      where a.sender <> k.sender or a.options is not null
    )
    select case
      when k.sender is null then m.sender
      else m.sender || E'\n'
        || jsonb_build_object('sender', k.sent_as, 'options', k.options)
    end
    from messages m
    left join kinds k on k.sender = m.sender and k.country is not distinct from m.country
    order by m.place
  );
end
$$;

-- Makes at most `p_max_dispatches` requests of messages that are given in the order in which they should go,
-- of at most `p_max_recipients` numbers each and no number twice.
-- Messages share a request when sender, text and hour of expiry agree (minute, when under two hours ahead).
-- With `p_shares`, texts that differ share one as well where there are more of them than requests; but not a
-- text that fills a quarter of a request by itself, nor one that holds `${`, which the provider would take
-- for a parameter, nor messages that a refusal separated; and only texts of one priority and of about one
-- length. `texts` then holds one for each recipient, else nulls. An MMS shares a request only with MMS of the
-- same URL and caption. `parts` is null where texts differ. `p_senders` are those of `senders_with_aliases`.
create function outbox_engine.pack_messages(
  p_ids bigint[], p_recipients text[], p_senders text[], p_texts text[], p_priorities smallint[],
  p_expires_at timestamptz[], p_send_alone boolean[], p_media_urls jsonb, p_max_dispatches integer,
  p_max_recipients integer, p_shares boolean, p_now timestamptz
) returns table (
  dispatch_id uuid, sender text, text text, media_url text, texts_differ boolean,
  earliest_expiry timestamptz, latest_expiry timestamptz, ids bigint[], recipients text[], texts text[],
  parts smallint
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  v_latest constant timestamptz := outbox_engine.provider_expiry('infinity', p_now);
begin
  return query
  -- Texts are compared byte by byte: a collation would be slower, and some call different texts equal.
  with kinds as materialized (
    select r.*, case when p_media_urls is not null then p_media_urls ->> r.id::text end as media_url,
      rank() over (order by r.sender collate "C", h.hour) as family,
      dense_rank() over (order by r.sender collate "C", h.hour, r.text collate "C") as kind,
      count(*) over (partition by r.sender collate "C", h.hour, r.text collate "C") as alike
    from unnest(p_ids, p_recipients, p_senders, p_texts, p_priorities, p_expires_at, p_send_alone)
      with ordinality r (id, recipient, sender, text, priority, expires_at, sends_alone, place)
    cross join lateral (
      select date_bin(
        case
          when r.expires_at < p_now + interval '2 hours' then interval '1 minute'
          else interval '1 hour'
        end,
        least(r.expires_at, v_latest), timestamptz 'epoch') as hour
    ) h
  ),
  -- A pool is what may share requests: one text, or all texts of one sender, hour, priority and length. URLs
  -- are no part of `kind`, which would cost each SMS: a digest separates MMS here, and the URL itself below.
  pools as (
    select k.*,
      case when k.shares then -k.family else k.kind end as pool,
      case when k.shares then k.priority end as level,
      case
        when k.shares then (octet_length(k.text) + 159) / 160
        when k.media_url is not null then hashtextextended(k.media_url, 0)
      end as size
    from (
      select x.*,
        p_shares and x.alike * 4 < p_max_recipients and x.sends_alone is not true and strpos(x.text, '${') = 0
          and x.media_url is null and (select max(y.kind) from kinds y) > p_max_dispatches as shares
      from kinds x
    ) k
  ),
  -- The second message to one number goes into another request.
  copies as (
    select p.*, row_number() over (partition by p.pool, p.level, p.size, p.recipient order by p.place) as copy
    from pools p
  ),
  slices as (
    select c.*,
      (row_number() over (partition by c.pool, c.level, c.size, c.copy order by c.place) - 1)
        / p_max_recipients as slice
    from copies c
  )
  select outbox_engine.new_dispatch_id(), d.*,
    case
      when d.media_url is not null then 1::smallint
      when not d.texts_differ then outbox_engine.parts_of(d.text)
    end
  from (
    select min(s.sender) as sender, min(s.text collate "C") as text, s.media_url,
      min(s.text collate "C") <> max(s.text collate "C") as texts_differ,
      min(s.expires_at), max(s.expires_at), array_agg(s.id), array_agg(s.recipient),
      array_agg(case when s.shares then s.text end)
    from slices s
    group by s.pool, s.level, s.size, s.copy, s.slice, s.media_url
    order by min(s.place)
    limit p_max_dispatches
  ) d;
end
$$;
