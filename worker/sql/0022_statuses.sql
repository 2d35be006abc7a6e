-- What became of meetings of which a PC still keeps working files: a user may have deleted one long ago.

-- p_meeting_ids: a list. A meeting that is not in the answer is not there.
create function public.worker_statuses_v1(p_meeting_ids jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
    select jsonb_build_object('outcome', 'ok', 'statuses', coalesce(jsonb_object_agg(m.id, m.status), '{}'))
      from public.meetings m
     where m.id in (select asked.id::uuid from jsonb_array_elements_text(p_meeting_ids) as asked (id))
$$;

do $$
declare
    ours constant text := 'function public.worker_statuses_v1(jsonb)';
begin
    perform pc_worker.close_to_all(ours);
    perform pc_worker.open_to('meeting_worker', 'execute on ' || ours);
    perform pc_worker.open_to('service_role', 'execute on ' || ours);
end $$;

notify pgrst, 'reload schema';
