-- The rules that hold whoever writes: what an inserted row starts, what a hand edit of `status` means, what a deleted
-- meeting takes with it.
--
-- Lock order, everywhere: workers, meetings, jobs, speakers. Whoever takes several meetings takes them `skip locked`.

-- The only clock of the queue.
create function pc_worker.now() returns timestamptz
language sql volatile set search_path = ''
as $$ select pg_catalog.clock_timestamp() $$;

create function pc_worker.seconds(p_seconds double precision) returns interval
language sql immutable set search_path = ''
as $$ select pg_catalog.make_interval(secs => p_seconds) $$;

-- --- what happens to a job ------------------------------------------------------------------------------------------

-- Cancel: whoever holds the job may not write any more. Called with the meeting locked.
create function pc_worker.cancel_job(p_meeting_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    job pc_worker.jobs;
begin
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id for no key update;
    update pc_worker.job_attempts set outcome = 'cancelled', ended_at = pc_worker.now()
     where token = job.token and outcome is null;  -- a reaped attempt stays the crash that it was counted as
    update pc_worker.jobs
       set state = 'cancelled', token = null, lease_expires_at = null
     where meeting_id = p_meeting_id;
end $$;

-- Retry: from the beginning, with all counts at zero. Called with the meeting locked.
create function pc_worker.requeue_job(p_meeting_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    perform 1 from pc_worker.jobs where meeting_id = p_meeting_id for no key update;
    update pc_worker.jobs
       set state = 'pending', token = null, lease_expires_at = null, run_at = pc_worker.now(),
           num_attempts = 0, num_failures = 0, num_crashes = 0, num_infrastructure = 0,
           infrastructure_since = null, waiting_since = null
     where meeting_id = p_meeting_id;
end $$;

create function pc_worker.num_edited(p_meeting_id uuid) returns bigint
language sql stable security definer set search_path = ''
as $$
    select count(*) from public.transcript_segments where meeting_id = p_meeting_id and edited_at is not null
$$;

create function pc_worker.edited_sentence(p_num_edited bigint) returns text
language sql immutable set search_path = ''
as $$
    select format('%s passages of this transcript were corrected by hand and would be lost. '
                  'To transcribe again all the same, use the retry command with --replace-edits.', p_num_edited)
$$;

-- --- meetings -------------------------------------------------------------------------------------------------------

create function pc_worker.meetings_before_insert() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    if new.status <> 'pending' then
        raise exception using errcode = 'P0001',
            message = 'A new meeting starts with status pending; the worker sets every other status.';
    end if;
    new.stage := null;
    new.progress := null;
    new.error_code := null;
    new.error_message := null;
    new.warnings := '[]';
    new.processed_by := null;
    new.duration_s := null;
    new.result := null;
    new.started_at := null;
    new.completed_at := null;
    new.updated_at := pc_worker.now();
    return new;
end $$;

create function pc_worker.meetings_after_insert() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    insert into pc_worker.jobs (meeting_id, priority, run_at) values (new.id, new.priority, pc_worker.now());
    return null;
end $$;

-- A worker's function changes the job first, so that job and meeting agree here; otherwise a person changed `status`.
-- That cannot be forged from outside: only these functions can write pc_worker.jobs.
create function pc_worker.meetings_before_update() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    num_edited bigint;
begin
    new.updated_at := pc_worker.now();
    if new.priority is distinct from old.priority then
        update pc_worker.jobs set priority = new.priority where meeting_id = old.id;
    end if;
    if new.status = old.status
       or exists (select from pc_worker.jobs where meeting_id = old.id and state = new.status) then
        return new;
    end if;
    if new.status = 'cancelled' and old.status in ('pending', 'processing') then
        perform pc_worker.cancel_job(old.id);
        return new;
    end if;
    if new.status = 'pending' and old.status in ('failed', 'cancelled', 'completed') then
        num_edited := pc_worker.num_edited(old.id);
        if num_edited > 0 then
            raise exception using errcode = 'P0001', message = pc_worker.edited_sentence(num_edited);
        end if;
        perform pc_worker.requeue_job(old.id);
        new.stage := null;
        new.progress := null;
        new.error_code := null;
        new.error_message := null;
        new.processed_by := null;
        new.started_at := null;
        new.completed_at := null;
        return new;
    end if;
    raise exception using errcode = 'P0001',
        message = format('The status of a meeting cannot be changed from %s to %s by hand.', old.status, new.status),
        hint = 'Set it to cancelled to stop a meeting, or to pending to do one again.';
end $$;

create trigger meetings_before_insert before insert on public.meetings
    for each row execute function pc_worker.meetings_before_insert();
create trigger meetings_after_insert after insert on public.meetings
    for each row execute function pc_worker.meetings_after_insert();
create trigger meetings_before_update before update on public.meetings
    for each row execute function pc_worker.meetings_before_update();

-- --- transcript segments --------------------------------------------------------------------------------------------

-- Functions only insert and delete segments: every change of words or speaker is somebody's correction.
create function pc_worker.segments_before_update() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    if new.text is not distinct from old.text and new.speaker_label is not distinct from old.speaker_label then
        return new;
    end if;
    if exists (select from public.meetings where id = old.meeting_id and status in ('pending', 'processing')) then
        raise exception using errcode = 'P0001',
            message = 'This meeting is being transcribed again, so a correction made now would be lost.',
            hint = 'Wait until it is completed, or cancel it first.';
    end if;
    new.edited_at := pc_worker.now();
    return new;
end $$;

create trigger segments_before_update before update on public.transcript_segments
    for each row execute function pc_worker.segments_before_update();

-- --- speakers and their voices --------------------------------------------------------------------------------------

-- `embedding` and `meeting_ids` of one speaker, from the rows they summarise.
create function pc_worker.derive_speaker(p_speaker_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    best text;
    centroid jsonb;
begin
    select e.model into best from public.speaker_embeddings e
     where e.speaker_id = p_speaker_id group by e.model order by sum(e.speech_s) desc, e.model limit 1;
    with sums as (
        select v.position, sum((v.value #>> '{}')::double precision * greatest(e.speech_s, 0.001)) as value
          from public.speaker_embeddings e, jsonb_array_elements(e.embedding) with ordinality as v (value, position)
         where e.speaker_id = p_speaker_id and e.model = best
         group by v.position
    ), norm as (select nullif(sqrt(sum(sums.value ^ 2)), 0) as length from sums)
    select jsonb_agg(round((sums.value / norm.length)::numeric, 6) order by sums.position) into centroid from sums, norm;
    update public.speakers s
       set embedding = centroid, updated_at = pc_worker.now(),
           meeting_ids = array(select distinct ms.meeting_id from public.meeting_speakers ms
                                where ms.speaker_id = p_speaker_id order by 1)
     where s.id = p_speaker_id;
end $$;

-- Take a meeting's voices back: before it is completed anew (`p_gone` false), or because it is deleted (true).
-- A named speaker keeps its embeddings from a meeting that is done anew, and is never deleted; an unnamed one goes
-- when nothing refers to it any more, except those in `p_keep`.
create function pc_worker.forget_voices(p_meeting_id uuid, p_gone boolean, p_keep uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    touched uuid[];
begin
    touched := array(select speaker_id from public.meeting_speakers
                      where meeting_id = p_meeting_id and speaker_id is not null
                     union select speaker_id from public.speaker_embeddings where meeting_id = p_meeting_id
                     union select unnest(p_keep));
    perform 1 from public.speakers where id = any (touched) order by id for update;
    delete from public.meeting_speakers where meeting_id = p_meeting_id;
    delete from public.speaker_embeddings e using public.speakers s
     where e.meeting_id = p_meeting_id and s.id = e.speaker_id
       and (p_gone or s.name is null or s.id = any (p_keep));
    delete from public.speakers s
     where s.id = any (touched) and s.name is null and s.id <> all (p_keep)
       and not exists (select from public.meeting_speakers where speaker_id = s.id)
       and not exists (select from public.speaker_embeddings where speaker_id = s.id);
    perform pc_worker.derive_speaker(s.id) from public.speakers s
      where s.id = any (touched) and s.id <> all (p_keep);
end $$;

create function pc_worker.meetings_before_delete() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    perform pc_worker.forget_voices(old.id, true, '{}');
    return old;
end $$;

create trigger meetings_before_delete before delete on public.meetings
    for each row execute function pc_worker.meetings_before_delete();
