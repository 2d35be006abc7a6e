-- public.meeting_dashboard: a meeting in the words of somebody who waits for it.
--
-- The view reads `meetings` with its reader's own rights, so that it shows what that reader may see anyway. What only
-- the machinery knows (the queue, the fleet) comes from functions that run with their owner's rights: they are told the
-- ids of the meetings that the reader may see, and answer about these only. Of anybody else's meetings they give away
-- how many are ahead.

-- --- words ----------------------------------------------------------------------------------------------------------

create or replace function pc_worker.span_in_words(p_seconds double precision) returns text
language sql immutable set search_path = ''
as $$
    select case when p_seconds < 90 then 'a minute'
                when p_seconds < 5400 then format('%s minutes', round(p_seconds / 60))
                when p_seconds < 129600 then format('%s hours', round(p_seconds / 3600))
                else format('%s days', round(p_seconds / 86400)) end
$$;

-- When a pending meeting starts. p_obstacle: why no worker can take it, or null; p_starts_in_s: null when unknown.
create or replace function pc_worker.start_in_words(
    p_obstacle text, p_is_waiting_for_audio boolean, p_is_history_thin boolean, p_starts_in_s double precision
) returns text
language sql immutable set search_path = ''
as $$
    select case when p_obstacle is not null then p_obstacle
                when p_is_waiting_for_audio then 'Starts when its recording has been uploaded.'
                when p_starts_in_s <= 60 then 'Starts within a minute.'
                when p_starts_in_s is null and p_is_history_thin then 'Not enough finished meetings to tell.'
                when p_starts_in_s is null then 'Starts when a worker is free; those at work take longer than usual.'
                else format('Starts in about %s.', pc_worker.span_in_words(p_starts_in_s)) end
$$;

-- When a meeting in work is done. p_unseen_s: how long its worker has been silent, if that is long enough to worry.
create or replace function pc_worker.finish_in_words(
    p_unseen_s double precision, p_is_history_thin boolean, p_finishes_in_s double precision
) returns text
language sql immutable set search_path = ''
as $$
    select case when p_unseen_s is not null
                then format('Its worker was last seen %s ago. Another one takes over if it does not come back.',
                            pc_worker.span_in_words(p_unseen_s))
                when p_is_history_thin then 'Not enough finished meetings to tell.'
                when p_finishes_in_s is null then 'Takes longer than the meetings before it.'
                else format('Done in about %s.', pc_worker.span_in_words(p_finishes_in_s)) end
$$;

-- --- how long meetings take -----------------------------------------------------------------------------------------

-- Seconds from claim to result of the last 50 meetings; empty when they are fewer than 5, too few to go by.
-- Tokens grow with time, so that the primary key finds the last ones.
create or replace function pc_worker.seconds_taken() returns double precision[]
language sql stable security definer set search_path = ''
as $$
    select case when count(*) >= 5
                then array_agg(greatest(extract(epoch from a.ended_at - a.started_at), 1)::double precision)
                else '{}' end
      from (select started_at, ended_at from pc_worker.job_attempts
             where outcome = 'completed' order by token desc limit 50) a
$$;

-- What a meeting still needs after p_elapsed_s: by the mean of those that took longer than that, null if none did.
-- A mean, not a median, because along a queue it is added up.
create or replace function pc_worker.seconds_left(p_taken_s double precision[], p_elapsed_s double precision)
returns double precision
language sql immutable set search_path = ''
as $$
    select avg(taken_s) - p_elapsed_s from unnest(p_taken_s) as taken_s where taken_s > p_elapsed_s
$$;

-- --- the queue and the fleet ----------------------------------------------------------------------------------------

-- Pending meetings in the order in which they are claimed; those that wait for their recording stand beside it.
create or replace function pc_worker.queue_positions(p_now timestamptz)
returns table (meeting_id uuid, run_at timestamptz, queue_position bigint)
language sql stable security definer set search_path = ''
as $$
    select j.meeting_id, j.run_at,
           row_number() over (order by greatest(j.run_at, p_now), j.priority desc, j.run_at, j.id)
      from pc_worker.jobs j
      join public.meetings m on m.id = j.meeting_id
     where j.state = 'pending' and m.stage is distinct from 'waiting_for_audio'
$$;

-- When the fleet takes its next p_num_starts meetings, if each takes as long as the mean of p_taken_s. A worker has as
-- many places as it has meetings in work, and at least one; a place whose meeting takes longer than any is left out.
create or replace function pc_worker.next_starts(p_now timestamptz, p_taken_s double precision[], p_num_starts bigint)
returns table (queue_position bigint, starts_at timestamptz)
language sql stable security definer set search_path = ''
as $$
    with places as (
        select case when a.token is null then 0
                    else pc_worker.seconds_left(p_taken_s, extract(epoch from p_now - a.started_at)) end as free_in_s
          from pc_worker.workers w
         cross join pc_worker.settings s
          left join pc_worker.jobs j on j.worker_id = w.worker_id and j.state = 'processing'
          left join pc_worker.job_attempts a on a.token = j.token
         where not w.draining and p_now - w.last_seen_at < pc_worker.seconds(s.lease_s)
    ), usual as (select avg(taken_s) as taken_s from unnest(p_taken_s) as taken_s),
    -- by this time the places together have taken enough: far fewer than p_num_starts for each place
    span as (
        select avg(places.free_in_s) + usual.taken_s * (p_num_starts::double precision / count(*) + 1) as length_s
          from places cross join usual where places.free_in_s is not null group by usual.taken_s
    )
    select row_number() over (order by n.starts_in_s), p_now + pc_worker.seconds(n.starts_in_s)
      from places cross join usual cross join span
     cross join lateral (
           -- without a history there is only what can start now
           select places.free_in_s + k * coalesce(usual.taken_s, 0) as starts_in_s
             from generate_series(
                  0, coalesce(floor((span.length_s - places.free_in_s) / usual.taken_s), 0)::bigint) as k) n
     where places.free_in_s is not null
$$;

-- What can be said about the pending and processing meetings among p_meeting_ids. All of it is worked out once, not
-- once per meeting.
create or replace function pc_worker.outlook(p_meeting_ids uuid[])
returns table (meeting_id uuid, queue_position bigint, starts_at timestamptz, finishes_at timestamptz,
               no_worker_since timestamptz, estimate text)
language sql stable security definer set search_path = ''
as $$
    with clock as materialized (select pc_worker.now() as at),
    history as materialized (
        select h.taken_s, cardinality(h.taken_s) = 0 as is_thin, (select avg(t) from unnest(h.taken_s) t) as mean_s
          from pc_worker.seconds_taken() as h (taken_s)),
    workers as materialized (
        select w.*, clock.at - w.last_seen_at < pc_worker.seconds(s.lease_s) as is_alive
          from pc_worker.workers w cross join pc_worker.settings s cross join clock),
    fleet as materialized (
        select case when count(*) = 0 then 'No worker has ever been started.'
                    when not bool_or(is_alive) then 'No worker is running.'
                    when not bool_or(is_alive and not draining) then 'No worker takes new meetings at the moment.'
               end as obstacle,
               case when not bool_or(is_alive) then max(last_seen_at) end as no_worker_since
          from workers),
    queue as materialized (select q.* from clock cross join pc_worker.queue_positions(clock.at) q),
    starts as materialized (
        select n.* from clock cross join history
         cross join pc_worker.next_starts(clock.at, history.taken_s, (select count(*) from queue)) n),
    waiting as (
        select j.meeting_id, q.queue_position,
               case when n.starts_at is not null then greatest(n.starts_at, q.run_at) end as starts_at
          from pc_worker.jobs j
          left join queue q on q.meeting_id = j.meeting_id
          left join starts n on n.queue_position = q.queue_position
         where j.meeting_id = any (p_meeting_ids) and j.state = 'pending'),
    working as (
        select j.meeting_id, extract(epoch from clock.at - w.last_seen_at) as unseen_s, w.is_alive,
               case when w.is_alive then pc_worker.seconds_left(
                    history.taken_s, extract(epoch from clock.at - a.started_at)) end as left_s
          from pc_worker.jobs j
          join pc_worker.job_attempts a on a.token = j.token
          join workers w on w.worker_id = j.worker_id
         cross join clock cross join history
         where j.meeting_id = any (p_meeting_ids) and j.state = 'processing')
    select waiting.meeting_id, waiting.queue_position, waiting.starts_at,
           waiting.starts_at + pc_worker.seconds(history.mean_s), fleet.no_worker_since,
           pc_worker.start_in_words(fleet.obstacle, waiting.queue_position is null, history.is_thin,
                                    extract(epoch from waiting.starts_at - clock.at))
      from waiting cross join fleet cross join history cross join clock
    union all
    select working.meeting_id, null, null, clock.at + pc_worker.seconds(working.left_s), fleet.no_worker_since,
           pc_worker.finish_in_words(case when not working.is_alive then working.unseen_s end, history.is_thin,
                                     working.left_s)
      from working cross join fleet cross join history cross join clock
$$;

-- The names that people gave to the PCs.
create or replace function pc_worker.worker_names() returns table (worker_id text, name text)
language sql stable security definer set search_path = ''
as $$ select w.worker_id, w.name from pc_worker.workers w $$;

-- --- the view -------------------------------------------------------------------------------------------------------

create or replace view public.meeting_dashboard with (security_invoker = true) as
select m.title,
       m.status,
       m.stage,
       round(m.progress * 100)::integer as progress_percent,
       coalesce(w.name, m.processed_by) as worker,
       o.queue_position,
       -- a meeting in work that the queue does not know was so before the worker was installed
       case when m.status <> 'processing' or o.meeting_id is not null then o.estimate
            else 'No worker knows of it. Cancel it and retry it, to start it anew.' end as estimate,
       o.starts_at as estimated_start_at,
       o.finishes_at as estimated_finish_at,
       o.no_worker_since,
       m.started_at,
       m.completed_at as finished_at,
       to_char(make_interval(secs => round(m.duration_s)), 'FMHH24:MI:SS') as duration,
       (select string_agg(coalesce(listed.one ->> 'message', listed.one ->> 'code'), ' ' order by listed.number)
          from jsonb_array_elements(m.warnings) with ordinality as listed (one, number)) as warnings,
       case m.status when 'cancelled' then 'It was cancelled.'
                     when 'failed' then coalesce(m.error_message, m.error_code)
                     else 'It is tried again. The last attempt ended so: ' || coalesce(m.error_message, m.error_code)
       end as error,
       m.created_at,
       m.id,
       m.user_id
  from public.meetings m
  left join pc_worker.outlook(array(select open.id from public.meetings open where open.status in ('pending', 'processing'))) o
    on o.meeting_id = m.id
  left join pc_worker.worker_names() w on w.worker_id = m.processed_by;

comment on view public.meeting_dashboard is 'One line for each meeting, for people to read. Sort it by created_at.';

-- The functions are called with the reader's rights; without usage on pc_worker nobody can call them by name.
do $$
declare
    ours record;
    reader text;
begin
    perform pc_worker.close_to_all('table public.meeting_dashboard');
    for ours in select p.oid::regprocedure as name from pg_catalog.pg_proc p
                 where p.pronamespace = 'pc_worker'::regnamespace
                   and p.proname in ('span_in_words', 'start_in_words', 'finish_in_words', 'seconds_taken',
                                     'seconds_left', 'queue_positions', 'next_starts', 'outlook', 'worker_names')
    loop
        perform pc_worker.close_to_all('function ' || ours.name);
    end loop;
    foreach reader in array '{authenticated, service_role}'::text[] loop
        perform pc_worker.open_to(reader, 'select on public.meeting_dashboard');
        perform pc_worker.open_to(reader, 'execute on function pc_worker.outlook(uuid[]), pc_worker.worker_names()');
    end loop;
end $$;

notify pgrst, 'reload schema';
