-- What people ask for: cancel, retry, and how the fleet is doing.

-- The rules are those of a hand edit (0002); these functions answer instead of raising.

create function public.meeting_cancel_v1(p_meeting_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    was text;
begin
    select status into was from public.meetings where id = p_meeting_id for no key update;
    if was is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such meeting.');
    elsif was = 'cancelled' then
        return jsonb_build_object('outcome', 'already_done');
    elsif was in ('completed', 'failed') then
        return jsonb_build_object('outcome', 'refused', 'message', format('The meeting is %s already.', was));
    end if;
    update public.meetings set status = 'cancelled' where id = p_meeting_id;
    return jsonb_build_object('outcome', 'cancelled');
end $$;

-- p_replace_edits: true to transcribe again although somebody corrected the transcript; the corrections are lost.
create function public.meeting_retry_v1(p_meeting_id uuid, p_replace_edits jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    was text;
    num_edited bigint;
begin
    select status into was from public.meetings where id = p_meeting_id for no key update;
    if was is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such meeting.');
    elsif was = 'pending' then
        return jsonb_build_object('outcome', 'already_done');
    elsif was = 'processing' then
        return jsonb_build_object('outcome', 'refused', 'message',
                                  'A worker is processing the meeting. Cancel it first to start it anew.');
    end if;
    num_edited := pc_worker.num_edited(p_meeting_id);
    if num_edited > 0 and not p_replace_edits::boolean then
        return jsonb_build_object('outcome', 'refused', 'message', pc_worker.edited_sentence(num_edited));
    end if;
    update public.transcript_segments set edited_at = null where meeting_id = p_meeting_id and edited_at is not null;
    update public.meetings set status = 'pending' where id = p_meeting_id;
    return jsonb_build_object('outcome', 'pending');
end $$;

create function public.worker_status_v1() returns jsonb
language sql volatile security definer set search_path = ''
as $$
    with clock as (select pc_worker.now() as at),
    work as (
        select j.worker_id, jsonb_agg(jsonb_build_object(
                   'meeting_id', m.id, 'title', m.title, 'stage', m.stage, 'progress', m.progress,
                   'running_s', extract(epoch from clock.at - a.started_at)) order by a.started_at, a.token) as meetings
          from pc_worker.jobs j
          join public.meetings m on m.id = j.meeting_id
          join pc_worker.job_attempts a on a.token = j.token
         cross join clock
         where j.state = 'processing'
         group by j.worker_id)
    select jsonb_build_object(
        'outcome', 'ok',
        'counts', (select coalesce(jsonb_object_agg(c.status, c.num), '{}')
                     from (select m.status, count(*) as num from public.meetings m group by m.status) c),
        'oldest_pending_s', (select extract(epoch from clock.at - min(j.run_at))
                               from pc_worker.jobs j where j.state = 'pending' and j.run_at <= clock.at),
        'workers', (select coalesce(jsonb_agg(jsonb_build_object(
                        'worker_id', w.worker_id, 'name', w.name, 'hostname', w.hostname, 'version', w.version,
                        'alive', clock.at - w.last_seen_at < pc_worker.seconds(s.lease_s), 'draining', w.draining,
                        'last_seen_s', greatest(0, extract(epoch from clock.at - w.last_seen_at)),
                        'meetings', coalesce(work.meetings, '[]')) order by w.name, w.worker_id), '[]')
                      from pc_worker.workers w
                     cross join pc_worker.settings s
                      left join work on work.worker_id = w.worker_id))
      from clock
$$;
