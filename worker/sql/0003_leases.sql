-- Leases: who may work on what, and until when. Register, claim, heartbeat, and what ends a lease.
--
-- A job's `token` is the latest one issued, as long as it may still write. Claim, cancel, retry, fail, release and
-- complete supersede it; a lease that merely ran out does not (salvage): until somebody else claims the job, a late
-- heartbeat resurrects it and a late result is accepted.

-- --- the end of a lease ---------------------------------------------------------------------------------------------

-- The worker is taken for dead: the attempt counts as a crash, the token stays good. Called with meeting and job locked.
create function pc_worker.end_lease(p_meeting_id uuid, p_code text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    job pc_worker.jobs;
begin
    update pc_worker.jobs j
       set num_crashes = j.num_crashes + 1, lease_expires_at = null,
           num_infrastructure = 0, infrastructure_since = null,
           state = case when j.num_crashes + 1 >= s.max_crashes then 'failed' else 'pending' end
      from pc_worker.settings s
     where j.meeting_id = p_meeting_id
    returning j.* into job;
    update pc_worker.job_attempts a set outcome = 'reaped', code = p_code, ended_at = pc_worker.now(), stage = m.stage
      from public.meetings m where a.token = job.token and m.id = p_meeting_id;
    if job.state = 'failed' then
        perform pc_worker.fail_as_poison(p_meeting_id);
    else
        update public.meetings set status = 'pending', stage = null, progress = null, processed_by = null
         where id = p_meeting_id;
    end if;
end $$;

create function pc_worker.fail_as_poison(p_meeting_id uuid) returns void
language sql security definer set search_path = ''
as $$
    update public.meetings
       set status = 'failed', progress = null, error_code = 'poison',
           error_message = 'The work on this recording broke off again and again: the process or the whole PC died. '
               'If the PC was only switched off, retry the meeting; else check the recording, or convert it and upload it anew.'
     where id = p_meeting_id
$$;

-- The holder is alive after all: it was no crash, and its lease runs again. Called with meeting and job locked.
create function pc_worker.revive(p_meeting_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    job pc_worker.jobs;
begin
    update pc_worker.jobs j
       set state = 'processing', num_crashes = j.num_crashes - 1,
           lease_expires_at = pc_worker.now() + pc_worker.seconds(s.lease_s)
      from pc_worker.settings s
     where j.meeting_id = p_meeting_id
    returning j.* into job;
    update pc_worker.job_attempts set outcome = null, code = null, ended_at = null where token = job.token;
    update public.meetings
       set status = 'processing', error_code = null, error_message = null, processed_by = job.worker_id
     where id = p_meeting_id;
end $$;

-- Lock meeting and job, and decide whether this token may write: `ok`, or the answer to give instead.
-- p_done: the ends of an attempt that make this call a repeat.
create function pc_worker.hold(p_meeting_id uuid, p_token bigint, p_done text[]) returns text
language plpgsql security definer set search_path = ''
as $$
declare
    job pc_worker.jobs;
begin
    perform 1 from public.meetings where id = p_meeting_id for no key update;
    if not found then
        return 'gone';
    end if;
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id for no key update;
    if job.token = p_token then
        if job.state <> 'processing' then
            perform pc_worker.revive(p_meeting_id);
        end if;
        return 'ok';
    end if;
    return pc_worker.why_not(p_meeting_id, p_token, p_done);
end $$;

create function pc_worker.why_not(p_meeting_id uuid, p_token bigint, p_done text[]) returns text
language plpgsql security definer set search_path = ''
as $$
declare
    ended text;
    job_state text;
begin
    select state into job_state from pc_worker.jobs where meeting_id = p_meeting_id;
    if job_state is null then
        return 'gone';
    end if;
    select outcome into ended from pc_worker.job_attempts where token = p_token and meeting_id = p_meeting_id;
    if ended = any (p_done) then
        return 'already_done';
    elsif ended = 'cancelled' or job_state = 'cancelled' then
        return 'cancelled';
    end if;
    return 'lost';
end $$;

-- --- the fleet's pulse ----------------------------------------------------------------------------------------------

-- Note that the fleet calls; true when leases may be reaped. After a silence of more than two heartbeats nothing is
-- reaped for one lease: the database or the network was away, and the holders get time to come back.
create function pc_worker.take_pulse(p_now timestamptz) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
    s pc_worker.settings;
    pulse pc_worker.pulse;
    is_gap boolean;
begin
    select * into strict s from pc_worker.settings;
    select * into strict pulse from pc_worker.pulse;
    is_gap := p_now - pulse.last_call_at > pc_worker.seconds(2 * s.heartbeat_s);
    -- a tenth of a heartbeat is exact enough; so not every call of a large fleet queues for this row
    if p_now - pulse.last_call_at > pc_worker.seconds(s.heartbeat_s / 10) then
        update pc_worker.pulse
           set last_call_at = p_now,
               quiet_until = case when is_gap then p_now + pc_worker.seconds(s.lease_s) else quiet_until end
         where only_row in (select only_row from pc_worker.pulse for no key update skip locked);
    end if;
    return not is_gap and p_now >= pulse.quiet_until;
end $$;

create function pc_worker.reap(p_now timestamptz) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    expired uuid;
begin
    for expired in
        select m.id
          from pc_worker.jobs j
          join public.meetings m on m.id = j.meeting_id
         cross join pc_worker.settings s
         where j.state = 'processing' and j.lease_expires_at + pc_worker.seconds(s.grace_s) < p_now
         order by m.id
           for no key update of m, j skip locked
    loop
        perform pc_worker.end_lease(expired, 'lease_expired');
    end loop;
end $$;

-- --- workers --------------------------------------------------------------------------------------------------------

-- Which migrations the worker misses, or does not know; null when both have the same.
create function pc_worker.schema_difference(p_known jsonb) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
    missing text;
    unknown text;
begin
    select string_agg(k.name, ', ' order by k.name) into missing
      from jsonb_array_elements_text(p_known) as k (name)
     where not exists (select from pc_worker.migrations m where m.name = k.name);
    select string_agg(m.name, ', ' order by m.name) into unknown
      from pc_worker.migrations m where not p_known ? m.name;
    if missing is not null then
        return format('The database lacks the migration %s. Run `python -m worker migrate`.', missing);
    elsif unknown is not null then
        return format('The database is newer than this worker, which does not know %s. Update the worker.', unknown);
    end if;
    return null;
end $$;

-- p_worker: name, version, system (hostname, machine_id ...), schema (names of the migrations the worker knows).
create function public.worker_register_v1(p_worker_id text, p_instance_id uuid, p_worker jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    at timestamptz := pc_worker.now();
    s pc_worker.settings;
    w pc_worker.workers;
    host text := p_worker #>> '{system,hostname}';
    machine text := p_worker #>> '{system,machine_id}';
    difference text := pc_worker.schema_difference(coalesce(p_worker -> 'schema', '[]'));
    num_taken_over bigint := 0;
    theirs uuid;
begin
    select * into strict s from pc_worker.settings;
    if difference is not null then
        return jsonb_build_object('outcome', 'schema', 'message', difference);
    end if;
    perform pc_worker.take_pulse(at);
    insert into pc_worker.workers (worker_id, name, instance_id, hostname, machine_id, version, registered_at, last_seen_at)
    values (p_worker_id, p_worker ->> 'name', p_instance_id, host, machine, p_worker ->> 'version', at, at)
    on conflict (worker_id) do nothing;
    select * into strict w from pc_worker.workers where worker_id = p_worker_id for no key update;
    if (w.hostname, w.machine_id) is distinct from (host, machine)
       and at - w.last_seen_at < pc_worker.seconds(s.lease_s) then
        return jsonb_build_object('outcome', 'refused', 'message', format(
            'WORKER_ID %s is in use on the PC %s. Give each worker its own WORKER_ID.', p_worker_id, w.hostname));
    elsif p_instance_id = any (w.past_instances) then
        return jsonb_build_object('outcome', 'refused', 'message', format(
            'A newer worker with the WORKER_ID %s has started on this PC. Stop one of the two.', p_worker_id));
    end if;
    if w.instance_id <> p_instance_id and (w.hostname, w.machine_id) = (host, machine) then
        for theirs in
            select m.id from pc_worker.jobs j join public.meetings m on m.id = j.meeting_id
             where j.state = 'processing' and j.worker_id = p_worker_id
             order by m.id
               for no key update of m, j skip locked
        loop
            perform pc_worker.end_lease(theirs, 'worker_restarted');
            num_taken_over := num_taken_over + 1;
        end loop;
    end if;
    update pc_worker.workers
       set name = p_worker ->> 'name', version = p_worker ->> 'version', system = p_worker -> 'system',
           hostname = host, machine_id = machine, instance_id = p_instance_id, last_seen_at = at,
           registered_at = case when instance_id = p_instance_id then registered_at else at end,
           past_instances = case when instance_id = p_instance_id then past_instances
                                 else (array_prepend(instance_id, past_instances))[1:16] end
     where worker_id = p_worker_id;
    return jsonb_build_object('outcome', 'registered', 'num_taken_over', num_taken_over,
                              'lease_s', s.lease_s, 'heartbeat_s', s.heartbeat_s);
end $$;

-- The worker behind a call, locked and noted as seen; null when this instance is not the registered one.
create function pc_worker.see_worker(p_worker_id text, p_instance_id uuid, p_now timestamptz) returns pc_worker.workers
language plpgsql security definer set search_path = ''
as $$
declare
    w pc_worker.workers;
begin
    update pc_worker.workers set last_seen_at = p_now
     where worker_id = p_worker_id and instance_id = p_instance_id
    returning * into w;
    return w;
end $$;

create function public.worker_drain_v1(p_worker_id text, p_draining jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
    update pc_worker.workers set draining = p_draining::boolean where worker_id = p_worker_id;
    if not found then
        return jsonb_build_object('outcome', 'gone', 'message', format(
            'No worker with the WORKER_ID %s has ever registered.', p_worker_id));
    end if;
    return jsonb_build_object('outcome', case when p_draining::boolean then 'draining' else 'resumed' end);
end $$;

-- --- claim ----------------------------------------------------------------------------------------------------------

-- A signed-in user's recording lies under <user_id>/; any other path would be somebody else's.
create function pc_worker.is_path_refused(p_user_id uuid, p_audio_path text) returns boolean
language sql immutable set search_path = ''
as $$
    select p_user_id is not null and p_audio_path is not null
       and (not starts_with(p_audio_path, p_user_id::text || '/') or p_audio_path ~ '(^|/)\.\.(/|$)')
$$;

create function pc_worker.claim_answer(p_outcome text, p_meeting_id uuid, p_min_wait_s double precision, p_now timestamptz)
returns jsonb
language sql volatile security definer set search_path = ''
as $$
    select jsonb_build_object(
        'outcome', p_outcome,
        'num_pending', count(*),
        'next_run_in_s', case when count(*) > 0
                              then greatest(0, extract(epoch from min(w.run_at) - p_now) + p_min_wait_s) end,
        'claim', (select jsonb_build_object('meeting', to_jsonb(m) - 'result', 'token', j.token,
                                            'attempt', j.num_attempts, 'lease_s', s.lease_s)
                    from public.meetings m join pc_worker.jobs j on j.meeting_id = m.id cross join pc_worker.settings s
                   where m.id = p_meeting_id and j.state = 'processing'))
      from pc_worker.jobs w where w.state = 'pending'
$$;

-- The first claimable meeting, locked; meetings whose path is refused fail on the way.
create function pc_worker.next_claimable(p_latest_run_at timestamptz) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
    next_id uuid;
    refused boolean;
begin
    loop
        select m.id, pc_worker.is_path_refused(m.user_id, m.audio_path) into next_id, refused
          from pc_worker.jobs j join public.meetings m on m.id = j.meeting_id
         where j.state = 'pending' and j.run_at <= p_latest_run_at
         order by j.priority desc, j.run_at, j.id
         limit 1
           for no key update of m, j skip locked;
        if next_id is null or not refused then
            return next_id;
        end if;
        update pc_worker.jobs set state = 'failed', token = null where meeting_id = next_id;
        update public.meetings
           set status = 'failed', stage = null, error_code = 'audio_path_refused',
               error_message = 'The recording does not lie in its owner''s folder. Set audio_path to a path that begins '
                   'with the owner''s id, then retry the meeting.'
         where id = next_id;
    end loop;
end $$;

create function public.worker_claim_v1(
    p_worker_id text, p_instance_id uuid, p_claim_id uuid, p_min_wait_s double precision
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    at timestamptz := pc_worker.now();
    s pc_worker.settings;
    w pc_worker.workers := pc_worker.see_worker(p_worker_id, p_instance_id, at);
    job pc_worker.jobs;
    next_id uuid;
    answer jsonb;
begin
    select * into strict s from pc_worker.settings;
    if w.worker_id is null then
        return jsonb_build_object('outcome', 'unregistered');
    end if;
    if pc_worker.take_pulse(at) then
        perform pc_worker.reap(at);
    end if;
    -- the answer to this very claim was lost on its way
    select j.meeting_id into next_id from pc_worker.jobs j
     where j.state = 'processing' and j.claim_id = p_claim_id and j.instance_id = p_instance_id;
    if next_id is not null then
        answer := pc_worker.claim_answer('claimed', next_id, p_min_wait_s, at);
        if answer -> 'claim' <> 'null' then  -- else it was cancelled a moment ago
            return answer;
        end if;
    end if;
    if w.draining then
        return pc_worker.claim_answer('draining', null, p_min_wait_s, at);
    end if;
    next_id := pc_worker.next_claimable(at - pc_worker.seconds(p_min_wait_s));
    if next_id is null then
        return pc_worker.claim_answer('empty', null, p_min_wait_s, at);
    end if;
    update pc_worker.jobs
       set state = 'processing', token = nextval('pc_worker.lease_tokens'), claim_id = p_claim_id,
           worker_id = p_worker_id, instance_id = p_instance_id,
           lease_expires_at = at + pc_worker.seconds(s.lease_s), num_attempts = num_attempts + 1
     where meeting_id = next_id
    returning * into job;
    insert into pc_worker.job_attempts (token, meeting_id, attempt, worker_id, instance_id, started_at)
    values (job.token, next_id, job.num_attempts, p_worker_id, p_instance_id, at);
    update public.meetings
       set status = 'processing', stage = null, progress = null, processed_by = p_worker_id,
           error_code = null, error_message = null, started_at = coalesce(started_at, at)
     where id = next_id;
    return pc_worker.claim_answer('claimed', next_id, p_min_wait_s, at);
end $$;

-- --- heartbeat ------------------------------------------------------------------------------------------------------

-- One beat. Never waits for a lock: a row that somebody is changing at this moment is left for the next beat.
create function pc_worker.beat(p_meeting_id uuid, p_token bigint, p_stage text, p_progress double precision) returns text
language plpgsql security definer set search_path = ''
as $$
declare
    progress_ double precision := round(least(greatest(p_progress, 0), 1)::numeric, 2);
    is_changed boolean;
    job pc_worker.jobs;
begin
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id;
    if job.token is distinct from p_token then
        return pc_worker.why_not(p_meeting_id, p_token, '{}');
    end if;
    select (m.stage, m.progress) is distinct from (p_stage, progress_) into is_changed
      from public.meetings m where m.id = p_meeting_id;
    if is_changed or job.state <> 'processing' then
        perform 1 from public.meetings where id = p_meeting_id for no key update skip locked;
        if not found then
            return 'ok';
        end if;
    end if;
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id for no key update skip locked;
    if not found then
        return 'ok';
    elsif job.token is distinct from p_token then
        return pc_worker.why_not(p_meeting_id, p_token, '{}');
    end if;
    if job.state <> 'processing' then
        perform pc_worker.revive(p_meeting_id);
    end if;
    update pc_worker.jobs j set lease_expires_at = pc_worker.now() + pc_worker.seconds(s.lease_s)
      from pc_worker.settings s where j.meeting_id = p_meeting_id;
    if is_changed then
        update public.meetings set stage = p_stage, progress = progress_ where id = p_meeting_id;
    end if;
    return 'ok';
end $$;

-- p_beats: [{meeting_id, token, stage, progress}, ...]. An instance that is not (or no longer) the registered one
-- learns what became of its jobs, but extends nothing.
create function public.worker_heartbeat_v1(p_worker_id text, p_instance_id uuid, p_beats jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    at timestamptz := pc_worker.now();
    w pc_worker.workers := pc_worker.see_worker(p_worker_id, p_instance_id, at);
    b record;
    answer text;
    answers jsonb := '[]';
begin
    perform pc_worker.take_pulse(at);
    for b in select * from jsonb_to_recordset(p_beats)
                 as x (meeting_id uuid, token bigint, stage text, progress double precision)
    loop
        if w.worker_id is not null then
            answer := pc_worker.beat(b.meeting_id, b.token, b.stage, b.progress);
        elsif exists (select from pc_worker.jobs where meeting_id = b.meeting_id and token = b.token) then
            answer := 'ok';
        else
            answer := pc_worker.why_not(b.meeting_id, b.token, '{}');
        end if;
        answers := answers || jsonb_build_object('meeting_id', b.meeting_id, 'token', b.token, 'outcome', answer);
    end loop;
    return jsonb_build_object('outcome', case when w.worker_id is null then 'unregistered' else 'ok' end,
                              'draining', coalesce(w.draining, false), 'jobs', answers);
end $$;
