-- Edits by hand: a cancelled meeting says no more that something is being done with it, and a meeting keeps its id.

set local lock_timeout = '30s';

-- As in 0002, and the history keeps the stage that was under way.
create or replace function pc_worker.cancel_job(p_meeting_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    job pc_worker.jobs;
begin
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id for no key update;
    update pc_worker.job_attempts a set outcome = 'cancelled', ended_at = pc_worker.now(), stage = m.stage
      from public.meetings m
     where m.id = p_meeting_id
       and a.token = job.token and a.outcome is null;  -- a reaped attempt stays the crash that it was counted as
    update pc_worker.jobs
       set state = 'cancelled', token = null, lease_expires_at = null
     where meeting_id = p_meeting_id;
end $$;

-- Before meetings_before_update decides whether the change of status is allowed at all.
create function pc_worker.meetings_before_cancel() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    new.stage := null;
    new.progress := null;
    return new;
end $$;

create trigger meetings_before_cancel before update on public.meetings for each row
    when (new.status = 'cancelled' and old.status in ('pending', 'processing'))
    execute function pc_worker.meetings_before_cancel();

-- Job, history and result are found by it.
create function pc_worker.meetings_before_new_id() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    raise exception using errcode = 'P0001', message = 'The id of a meeting cannot be changed.',
        hint = 'Insert a new meeting, and delete this one.';
end $$;

create trigger meetings_before_new_id before update of id on public.meetings for each row
    when (new.id is distinct from old.id)
    execute function pc_worker.meetings_before_new_id();

do $$
begin
    perform pc_worker.close_to_all('function pc_worker.meetings_before_cancel(), pc_worker.meetings_before_new_id()');
end $$;
