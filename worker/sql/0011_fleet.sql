-- The fleet as people see it: what keeps each worker from its work, and the GPU it works on.
--
-- The functions that end in _v1 stay as they are, for workers that are not updated yet.

-- [{code, sentence}, ...], the oldest first. No index, so that a heartbeat that changes it stays HOT.
alter table pc_worker.workers add column troubles jsonb not null default '[]'
    constraint workers_troubles_are_a_list check (jsonb_typeof(troubles) = 'array');

-- As v1; p_troubles: what keeps the worker from its work now. The answer also says how long the queue is.
create function public.worker_heartbeat_v2(p_worker_id text, p_instance_id uuid, p_beats jsonb, p_troubles jsonb)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    answer jsonb := public.worker_heartbeat_v1(p_worker_id, p_instance_id, p_beats);
    at timestamptz := pc_worker.now();
begin
    update pc_worker.workers set troubles = p_troubles
     where worker_id = p_worker_id and instance_id = p_instance_id and troubles is distinct from p_troubles;
    return answer || (
        select jsonb_build_object('num_pending', count(*),
                                  'oldest_pending_s', extract(epoch from at - min(j.run_at) filter (where j.run_at <= at)))
          from pc_worker.jobs j where j.state = 'pending');
end $$;

-- As v1, and of each worker its GPU, the GPU's driver and its troubles.
create function public.worker_status_v2() returns jsonb
language sql volatile security definer set search_path = ''
as $$
    with v1 as materialized (select public.worker_status_v1() as answer)
    select v1.answer || jsonb_build_object('workers', (
               select coalesce(jsonb_agg(seen.worker || jsonb_build_object(
                          'gpu', w.system ->> 'gpu', 'driver', w.system ->> 'driver', 'troubles', w.troubles)
                          order by seen.number), '[]')
                 from jsonb_array_elements(v1.answer -> 'workers') with ordinality as seen (worker, number)
                 join pc_worker.workers w on w.worker_id = seen.worker ->> 'worker_id'))
      from v1
$$;

do $$
declare
    ours constant text := 'function public.worker_heartbeat_v2(text, uuid, jsonb, jsonb), public.worker_status_v2()';
begin
    perform pc_worker.close_to_all(ours);
    perform pc_worker.open_to('meeting_worker', 'execute on ' || ours);
    perform pc_worker.open_to('service_role', 'execute on ' || ours);
end $$;

notify pgrst, 'reload schema';
