-- Who holds a lock for long, or many locks at once: a person with an open transaction, or one who deletes many meetings in
-- one statement. Neither costs a lease, or is told of a deadlock by a result that arrives.

set local lock_timeout = '30s';

-- --- heartbeat ------------------------------------------------------------------------------------------------------

-- As in 0003, but a meeting that somebody has locked costs its progress only, not its lease. One that must be revived
-- waits for the next beat: nobody can have claimed it meanwhile.
create or replace function pc_worker.beat(p_meeting_id uuid, p_token bigint, p_stage text, p_progress double precision) returns text
language plpgsql security definer set search_path = ''
as $$
declare
    progress_ double precision := round(least(greatest(p_progress, 0), 1)::numeric, 2);
    is_changed boolean;
    is_held boolean := false;
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
        is_held := found;
    end if;
    -- who deletes the meeting wants its job next, and a job that is updated twice in one call has its foreign key checked
    perform 1 from public.meetings where id = p_meeting_id for key share skip locked;
    if not found then
        return 'ok';
    end if;
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id for no key update skip locked;
    if not found then
        return 'ok';
    elsif job.token is distinct from p_token then
        return pc_worker.why_not(p_meeting_id, p_token, '{}');
    end if;
    if job.state <> 'processing' then
        if not is_held then
            return 'ok';
        end if;
        perform pc_worker.revive(p_meeting_id);
    end if;
    update pc_worker.jobs j set lease_expires_at = pc_worker.now() + pc_worker.seconds(s.lease_s)
      from pc_worker.settings s where j.meeting_id = p_meeting_id;
    if is_changed and is_held then
        update public.meetings set stage = p_stage, progress = progress_ where id = p_meeting_id;
    end if;
    return 'ok';
end $$;

-- --- complete -------------------------------------------------------------------------------------------------------

create function pc_worker.hold_briefly(p_meeting_id uuid, p_token bigint, p_done text[]) returns text
language sql volatile security definer set search_path = '' set lock_timeout = '500ms'
as $$ select pc_worker.hold(p_meeting_id, p_token, p_done) $$;

-- As `hold`, and the owner's people are locked too. Who deletes many meetings has those people from the first on, and
-- wants one meeting after the other: so nobody waits here for either with the other in hand, but for a moment that is
-- shorter than Postgres's deadlock_timeout (1 s). A block that ends in lock_not_available gives back what it had locked.
create function pc_worker.hold_with_people(p_meeting_id uuid, p_token bigint, p_done text[]) returns text
language plpgsql security definer set search_path = ''
as $$
declare
    held text;
    owner uuid;
begin
    loop
        begin
            held := pc_worker.hold(p_meeting_id, p_token, p_done);
            if held = 'ok' then
                select user_id into owner from public.meetings where id = p_meeting_id;
                perform pc_worker.lock_people_briefly(owner);
            end if;
            return held;
        exception when lock_not_available then
            null;
        end;
        begin
            perform pc_worker.lock_people(owner);
            return pc_worker.hold_briefly(p_meeting_id, p_token, p_done);
        exception when lock_not_available then
            null;
        end;
    end loop;
end $$;

-- As in 0017, with `hold_with_people`.
create or replace function public.worker_complete_v2(p_meeting_id uuid, p_token bigint, p_result jsonb) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    held text := pc_worker.hold_with_people(p_meeting_id, p_token, '{completed}');
    owner uuid;
    version bigint;
    answer jsonb;
begin
    if held <> 'ok' then
        return jsonb_build_object('outcome', held);
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    version := pc_worker.lock_people(owner);
    if (p_result ->> 'speakers_version')::bigint <> version then
        answer := jsonb_build_object('outcome', 'stale_speakers');
    else
        answer := public.worker_complete_v1(p_meeting_id, p_token, p_result);
    end if;
    if answer ->> 'outcome' = 'stale_speakers' then
        answer := answer || jsonb_build_object('known', pc_worker.known_people(owner, p_meeting_id, array(
            select distinct e.model from jsonb_to_recordset(p_result -> 'speakers') as v (embeddings jsonb)
             cross join jsonb_to_recordset(coalesce(v.embeddings, '[]')) as e (model text))));
    end if;
    return answer;
end $$;

-- --- register -------------------------------------------------------------------------------------------------------

-- As in 0003, and who is refused learns how long a lease is, and how often to ask again.
create or replace function public.worker_register_v1(p_worker_id text, p_instance_id uuid, p_worker jsonb) returns jsonb
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
    refusal text;
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
        refusal := format(
            'WORKER_ID %s is in use on the PC %s. Give each worker its own WORKER_ID.', p_worker_id, w.hostname);
    elsif p_instance_id = any (w.past_instances) then
        refusal := format(
            'A newer worker with the WORKER_ID %s has started on this PC. Stop one of the two.', p_worker_id);
    end if;
    if refusal is not null then
        return jsonb_build_object('outcome', 'refused', 'message', refusal,
                                  'lease_s', s.lease_s, 'heartbeat_s', s.heartbeat_s);
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

do $$
begin
    perform pc_worker.close_to_all('function pc_worker.hold_briefly(uuid, bigint, text[]),
                                    pc_worker.hold_with_people(uuid, bigint, text[])');
end $$;
