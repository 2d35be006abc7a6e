-- A meeting may be done again from one of its later stages on: what was kept of the stages before it is used, what was
-- kept of that stage and those after it is not. Which comes after which only the worker knows.

set local lock_timeout = '30s';

-- {stage: number}: from this stage on, a value counts only if it was made for this number. Numbers come from the tokens'
-- sequence, so that one is greater than the token of every attempt before it. They stay: a later retry without a stage
-- uses what an earlier one with a stage has made.
alter table pc_worker.jobs add column anew_from jsonb not null default '{}';

-- As in 0003, and with `anew_from`.
create or replace function pc_worker.claim_answer(p_outcome text, p_meeting_id uuid, p_min_wait_s double precision, p_now timestamptz)
returns jsonb
language sql volatile security definer set search_path = ''
as $$
    select jsonb_build_object(
        'outcome', p_outcome,
        'num_pending', count(*),
        'next_run_in_s', case when count(*) > 0
                              then greatest(0, extract(epoch from min(w.run_at) - p_now) + p_min_wait_s) end,
        'claim', (select jsonb_build_object('meeting', to_jsonb(m) - 'result', 'token', j.token,
                                            'attempt', j.num_attempts, 'lease_s', s.lease_s, 'anew_from', j.anew_from)
                    from public.meetings m join pc_worker.jobs j on j.meeting_id = m.id cross join pc_worker.settings s
                   where m.id = p_meeting_id and j.state = 'processing'))
      from pc_worker.jobs w where w.state = 'pending'
$$;

-- Whether nobody has worked on the meeting since it was asked for from this stage on.
create function pc_worker.is_anew_from(p_meeting_id uuid, p_from text) returns boolean
language sql stable security definer set search_path = ''
as $$
    select coalesce((select (j.anew_from ->> p_from)::bigint from pc_worker.jobs j where j.meeting_id = p_meeting_id)
                    > coalesce((select max(a.token) from pc_worker.job_attempts a where a.meeting_id = p_meeting_id), 0),
                    false)
$$;

-- As meeting_retry_v1. p_from: diarize, identify or summarize; null: whatever was kept is used. A meeting that is
-- pending already begins again, too: who held it before may not bring a result of the old stages any more.
create function public.meeting_retry_v2(p_meeting_id uuid, p_replace_edits jsonb default 'false', p_from text default null)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    answer jsonb;
begin
    if p_from not in ('diarize', 'identify', 'summarize') then
        return pc_worker.refused('A meeting can be done again from diarize, from identify or from summarize on.');
    end if;
    answer := public.meeting_retry_v1(p_meeting_id, p_replace_edits);  -- which holds the meeting from now on
    if p_from is null or answer ->> 'outcome' not in ('pending', 'already_done') then
        return answer;
    end if;
    if answer ->> 'outcome' = 'already_done' then
        if pc_worker.is_anew_from(p_meeting_id, p_from) then
            return answer;
        end if;
        perform pc_worker.requeue_job(p_meeting_id);
        update public.meetings
           set stage = null, progress = null, error_code = null, error_message = null, processed_by = null,
               started_at = null, completed_at = null
         where id = p_meeting_id;
    end if;
    update pc_worker.jobs
       set anew_from = anew_from || jsonb_build_object(p_from, nextval('pc_worker.lease_tokens'))
     where meeting_id = p_meeting_id;
    return jsonb_build_object('outcome', 'pending');
end $$;

do $$
declare
    for_people constant text := 'function public.meeting_retry_v2(uuid, jsonb, text)';
begin
    perform pc_worker.close_to_all('function pc_worker.is_anew_from(uuid, text)');
    perform pc_worker.close_to_all(for_people);
    perform pc_worker.open_to('service_role', 'execute on ' || for_people);
    perform pc_worker.open_to('authenticated', 'execute on ' || for_people);
end $$;

notify pgrst, 'reload schema';
