-- A meeting and everything that was written about it, as one object: PostgREST cuts a list of rows at 1000 without a
-- word, and a meeting of ten hours has more segments.

-- Null for a meeting that is not there. `security invoker`: who calls it sees what the policies let that role see.
create or replace function public.meeting_detail_v1(p_meeting_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
    select jsonb_build_object(
        'meeting', to_jsonb(m),
        'segments', (select coalesce(jsonb_agg(to_jsonb(s) order by s.segment_index), '[]')
                       from public.transcript_segments s where s.meeting_id = m.id),
        'speakers', (select coalesce(jsonb_agg(to_jsonb(ms) || jsonb_build_object('name', p.name) order by ms.label), '[]')
                       from public.meeting_speakers ms left join public.speakers p on p.id = ms.speaker_id
                      where ms.meeting_id = m.id),
        'summary', (select to_jsonb(y) from public.meeting_summaries y where y.meeting_id = m.id))
      from public.meetings m where m.id = p_meeting_id
$$;

do $$
begin
    perform pc_worker.close_to_all('function public.meeting_detail_v1(uuid)');
    perform pc_worker.open_to('authenticated', 'execute on function public.meeting_detail_v1(uuid)');
    perform pc_worker.open_to('service_role', 'execute on function public.meeting_detail_v1(uuid)');
end $$;

notify pgrst, 'reload schema';
