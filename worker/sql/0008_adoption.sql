-- Meetings that were there before the worker was: a row that was processing then has no job, because nobody knows who
-- works on it. It can be cancelled like any other, and done again after that; either makes the job that it lacks.

-- As in 0002, and a missing job is made. Called with the meeting locked.
create or replace function pc_worker.cancel_job(p_meeting_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    job pc_worker.jobs;
begin
    select * into job from pc_worker.jobs where meeting_id = p_meeting_id for no key update;
    if not found then
        insert into pc_worker.jobs (meeting_id, state, priority, run_at)
        select m.id, 'cancelled', m.priority, pc_worker.now() from public.meetings m where m.id = p_meeting_id;
        return;
    end if;
    update pc_worker.job_attempts set outcome = 'cancelled', ended_at = pc_worker.now()
     where token = job.token and outcome is null;  -- a reaped attempt stays the crash that it was counted as
    update pc_worker.jobs
       set state = 'cancelled', token = null, lease_expires_at = null
     where meeting_id = p_meeting_id;
end $$;

create or replace function pc_worker.requeue_job(p_meeting_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    perform 1 from pc_worker.jobs where meeting_id = p_meeting_id for no key update;
    if not found then
        insert into pc_worker.jobs (meeting_id, priority, run_at)
        select m.id, m.priority, pc_worker.now() from public.meetings m where m.id = p_meeting_id;
        return;
    end if;
    update pc_worker.jobs
       set state = 'pending', token = null, lease_expires_at = null, run_at = pc_worker.now(),
           num_attempts = 0, num_failures = 0, num_crashes = 0, num_infrastructure = 0,
           infrastructure_since = null, waiting_since = null
     where meeting_id = p_meeting_id;
end $$;
