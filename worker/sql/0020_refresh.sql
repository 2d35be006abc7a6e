-- Voices are described anew, from recordings that are still there: what one model says of a voice is never compared with
-- what another one says, so that a new model would know nobody. For administrators.

-- Completed meetings, newest first, with a voice that was described, but by none of these models. Not those of which
-- nothing was kept: whoever wanted that wants it still.
create function public.speaker_stale_v1(p_models jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
    select jsonb_build_object('outcome', 'ok', 'meetings', coalesce(jsonb_agg(m.id order by m.created_at desc, m.id), '[]'))
      from public.meetings m
     where m.status = 'completed'
       and exists (select from pc_worker.voices v join public.speakers s on s.id = v.speaker_id and s.keeps_voice
                    where v.meeting_id = m.id and v.is_current and not v.is_erased
                      and exists (select from public.speaker_embeddings e where e.voice_id = v.id)
                      and not exists (select from public.speaker_embeddings e
                                       where e.voice_id = v.id and p_models ? e.model))
$$;

-- Keep these descriptions of the voices of a meeting's present result, which is the one of p_completed_at: labels mean
-- others in another one. Left out are voices that were erased, that have no speaker or one who opted out, and
-- descriptions by a model that has said something about that voice already.
create function public.speaker_refresh_v1(p_meeting_id uuid, p_completed_at text, p_embeddings jsonb) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    meeting public.meetings;
    owner uuid;
    described bigint[];
    is_done boolean := false;
begin
    select * into meeting from public.meetings where id = p_meeting_id for share;
    if meeting.id is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such meeting.');
    elsif meeting.status <> 'completed' or meeting.completed_at is distinct from p_completed_at::timestamptz then
        return pc_worker.refused('The meeting is being done anew, or was meanwhile. Try again when it is completed.');
    end if;
    for owner in select distinct v.user_id from pc_worker.voices v where v.meeting_id = p_meeting_id order by 1 loop
        perform pc_worker.lock_people(owner);
        with written as (
            insert into public.speaker_embeddings
                (speaker_id, meeting_id, label, model, dim, embedding, speech_s, voice_id)
            select v.speaker_id, p_meeting_id, v.label, e.model, e.dim, e.vector, e.speech_s, v.id
              from jsonb_to_recordset(p_embeddings)
                as e (label text, model text, dim integer, vector jsonb, speech_s double precision)
              join pc_worker.voices v on v.meeting_id = p_meeting_id and v.label = e.label and v.is_current
              join public.speakers s on s.id = v.speaker_id and s.keeps_voice
             where not v.is_erased and v.user_id is not distinct from owner
               and not exists (select from public.speaker_embeddings known
                                where known.voice_id = v.id and known.model = e.model)
            returning voice_id)
        select array_agg(distinct voice_id) into described from written;
        if described is not null then
            perform pc_worker.settle(owner, described, '{}');
            is_done := true;
        end if;
    end loop;
    return jsonb_build_object('outcome', case when is_done then 'done' else 'already_done' end);
end $$;

do $$
declare
    ours constant text := 'function public.speaker_stale_v1(jsonb), public.speaker_refresh_v1(uuid, text, jsonb)';
begin
    perform pc_worker.close_to_all(ours);
    perform pc_worker.open_to('service_role', 'execute on ' || ours);
end $$;

notify pgrst, 'reload schema';
