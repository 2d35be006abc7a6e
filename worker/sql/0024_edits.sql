-- Edits by hand: a cancelled meeting says no more that something is being done with it, and a meeting keeps its id.

set local lock_timeout = '30s';

-- The stage that was under way stands in the history, as with every other end of an attempt. Before
-- meetings_before_update, which ends the attempt.
create function pc_worker.meetings_before_cancel() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    update pc_worker.job_attempts a set stage = old.stage
      from pc_worker.jobs j
     where j.meeting_id = old.id and a.token = j.token and a.outcome is null;
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
