-- How an attempt ends by its holder's own word: complete, fail, release. And what a worker asks on the way: speakers.

-- --- complete -------------------------------------------------------------------------------------------------------

-- The result's speakers: a voice that was recognised keeps its speaker, any other gets an unnamed speaker of its own.
create function pc_worker.write_voices(p_meeting_id uuid, p_user_id uuid, p_speakers jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    voice record;
begin
    for voice in select * from jsonb_to_recordset(p_speakers)
        as v (label text, speech_s double precision, speaker_id uuid, score double precision, decision text, embeddings jsonb)
    loop
        if voice.speaker_id is null then
            insert into public.speakers (user_id) values (p_user_id) returning id into voice.speaker_id;
        end if;
        insert into public.meeting_speakers (meeting_id, label, speaker_id, speech_s, score, decision)
        values (p_meeting_id, voice.label, voice.speaker_id, voice.speech_s, voice.score, voice.decision);
        insert into public.speaker_embeddings (speaker_id, meeting_id, label, model, dim, embedding, speech_s)
        select voice.speaker_id, p_meeting_id, voice.label, e.model, e.dim, e.vector, e.speech_s
          from jsonb_to_recordset(coalesce(voice.embeddings, '[]'))
            as e (model text, dim integer, vector jsonb, speech_s double precision);
    end loop;
    perform pc_worker.derive_speaker(d.speaker_id)
       from (select distinct speaker_id from public.meeting_speakers where meeting_id = p_meeting_id) d;
end $$;

create function pc_worker.write_segments(p_meeting_id uuid, p_segments jsonb, p_num_segments bigint) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    num_written bigint;
begin
    delete from public.transcript_segments where meeting_id = p_meeting_id;
    insert into public.transcript_segments
        (meeting_id, segment_index, start_s, end_s, speaker_id, speaker_label, text, confidence, words)
    select p_meeting_id, s.index, s.start_s, s.end_s, ms.speaker_id, s.speaker_label, s.text,
           least(greatest(s.confidence, 0), 1), s.words
      from jsonb_to_recordset(p_segments) as s (index integer, start_s double precision, end_s double precision,
           speaker_label text, text text, confidence double precision, words jsonb)
      left join public.meeting_speakers ms on ms.meeting_id = p_meeting_id and ms.label = s.speaker_label;
    get diagnostics num_written = row_count;
    if num_written is distinct from p_num_segments then
        raise exception using errcode = '22023', message = format(
            'The result announced %s segments and brought %s; nothing was written.', p_num_segments, num_written);
    end if;
end $$;

create function pc_worker.write_summary(p_meeting_id uuid, p_summary jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    delete from public.meeting_summaries where meeting_id = p_meeting_id;
    if jsonb_typeof(p_summary) = 'object' then
        insert into public.meeting_summaries
            (meeting_id, overview, key_points, decisions, action_items, open_questions, topics, method, model)
        values (p_meeting_id, p_summary ->> 'overview', p_summary -> 'key_points', p_summary -> 'decisions',
                p_summary -> 'action_items', p_summary -> 'open_questions', p_summary -> 'topics',
                p_summary ->> 'method', p_summary ->> 'model');
    end if;
end $$;

-- Whether each recognised speaker is still there and the owner's; locks them, so that this stays so.
create function pc_worker.are_speakers_known(p_user_id uuid, p_speaker_ids uuid[]) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
    num_known bigint;
begin
    perform 1 from public.speakers where id = any (p_speaker_ids) order by id for no key update;
    select count(*) into num_known from public.speakers
     where id = any (p_speaker_ids) and user_id is not distinct from p_user_id;
    return num_known = cardinality(p_speaker_ids);
end $$;

-- p_result: num_segments, segments, speakers, summary, duration_s, warnings, result. All of it or nothing is written.
create function public.worker_complete_v1(p_meeting_id uuid, p_token bigint, p_result jsonb) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    at timestamptz := pc_worker.now();
    held text := pc_worker.hold(p_meeting_id, p_token, '{completed}');
    owner uuid;
    recognised uuid[];
begin
    if held <> 'ok' then
        return jsonb_build_object('outcome', held);
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    recognised := array(select distinct v.speaker_id
                          from jsonb_to_recordset(p_result -> 'speakers') as v (speaker_id uuid)
                         where v.speaker_id is not null);
    if not pc_worker.are_speakers_known(owner, recognised) then
        return jsonb_build_object('outcome', 'stale_speakers');
    end if;
    perform pc_worker.forget_voices(p_meeting_id, false, recognised);
    perform pc_worker.write_voices(p_meeting_id, owner, p_result -> 'speakers');
    perform pc_worker.write_segments(p_meeting_id, p_result -> 'segments', (p_result ->> 'num_segments')::bigint);
    perform pc_worker.write_summary(p_meeting_id, p_result -> 'summary');
    update pc_worker.job_attempts set outcome = 'completed', ended_at = at where token = p_token;
    update pc_worker.jobs set state = 'completed', token = null, lease_expires_at = null
     where meeting_id = p_meeting_id;
    update public.meetings
       set status = 'completed', stage = null, progress = null, error_code = null, error_message = null,
           completed_at = at, duration_s = (p_result ->> 'duration_s')::double precision,
           warnings = coalesce(p_result -> 'warnings', '[]'), result = p_result -> 'result'
     where id = p_meeting_id;
    return jsonb_build_object('outcome', 'completed');
end $$;

-- --- fail -----------------------------------------------------------------------------------------------------------

-- Count one ended attempt; true when the job is given up. A failure of infrastructure, or of patience, spends no attempt.
create function pc_worker.count_failure(p_meeting_id uuid, p_kind text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
    at timestamptz := pc_worker.now();
    s pc_worker.settings;
    job pc_worker.jobs;
    is_infrastructure boolean := p_kind = 'infrastructure';
    is_waiting boolean := p_kind = 'waiting';
begin
    select * into strict s from pc_worker.settings;
    update pc_worker.jobs
       set num_failures = num_failures + (p_kind in ('failure', 'permanent'))::integer,
           num_crashes = num_crashes + (p_kind = 'crash')::integer,
           num_attempts = num_attempts - (is_infrastructure or is_waiting)::integer,
           num_infrastructure = case when is_infrastructure then num_infrastructure + 1 else 0 end,
           infrastructure_since = case when is_infrastructure then coalesce(infrastructure_since, at) end,
           waiting_since = case when is_waiting then coalesce(waiting_since, at) else waiting_since end
     where meeting_id = p_meeting_id
    returning * into job;
    return case p_kind
        when 'permanent' then true
        when 'failure' then job.num_failures >= s.max_failures
        when 'crash' then job.num_crashes >= s.max_crashes
        -- the count keeps a weekend without any worker from being taken for a day of trying
        when 'infrastructure' then at - job.infrastructure_since >= pc_worker.seconds(s.infrastructure_give_up_s)
                                   and job.num_infrastructure >= s.max_failures
        when 'waiting' then at - job.waiting_since >= pc_worker.seconds(s.waiting_give_up_s)
    end;
end $$;

-- p_failure: kind (failure, crash, infrastructure, waiting, permanent), code, message, stage, retry_in_s.
create function public.worker_fail_v1(p_meeting_id uuid, p_token bigint, p_failure jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    at timestamptz := pc_worker.now();
    kind text := p_failure ->> 'kind';
    held text;
    is_given_up boolean;
    retry_in_s double precision := least(greatest((p_failure ->> 'retry_in_s')::double precision, 0), 86400);
begin
    if kind is null or kind not in ('failure', 'crash', 'infrastructure', 'waiting', 'permanent') then
        raise exception using errcode = '22023', message = format('%s is no kind of failure.', coalesce(kind, 'null'));
    end if;
    held := pc_worker.hold(p_meeting_id, p_token,
                           '{completed,failure,crash,infrastructure,waiting,permanent,released}');
    if held <> 'ok' then
        return jsonb_build_object('outcome', held);
    end if;
    is_given_up := pc_worker.count_failure(p_meeting_id, kind);
    update pc_worker.job_attempts
       set outcome = kind, code = p_failure ->> 'code', stage = p_failure ->> 'stage', ended_at = at
     where token = p_token;
    update pc_worker.jobs
       set state = case when is_given_up then 'failed' else 'pending' end, token = null, lease_expires_at = null,
           run_at = at + pc_worker.seconds(coalesce(retry_in_s, 0))
     where meeting_id = p_meeting_id;
    if is_given_up and kind = 'crash' then
        perform pc_worker.fail_as_poison(p_meeting_id);
    elsif is_given_up then
        update public.meetings
           set status = 'failed', stage = coalesce(p_failure ->> 'stage', stage), progress = null,
               error_code = coalesce(p_failure ->> 'code', 'internal_error'), error_message = p_failure ->> 'message'
         where id = p_meeting_id;
    else
        update public.meetings
           set status = 'pending', progress = null, processed_by = null,
               stage = case when kind = 'waiting' then 'waiting_for_audio' end,
               error_code = case when kind <> 'waiting' then p_failure ->> 'code' end,
               error_message = case when kind <> 'waiting' then p_failure ->> 'message' end
         where id = p_meeting_id;
    end if;
    return jsonb_build_object('outcome', case when is_given_up then 'failed' else 'retrying' end);
end $$;

-- --- release --------------------------------------------------------------------------------------------------------

-- The worker stops; its attempt is refunded and the meeting keeps its place in the queue.
create function public.worker_release_v1(p_meeting_id uuid, p_token bigint) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    held text := pc_worker.hold(p_meeting_id, p_token,
                                '{completed,failure,crash,infrastructure,waiting,permanent,released}');
begin
    if held <> 'ok' then
        return jsonb_build_object('outcome', held);
    end if;
    update pc_worker.job_attempts a set outcome = 'released', ended_at = pc_worker.now(), stage = m.stage
      from public.meetings m where a.token = p_token and m.id = p_meeting_id;
    update pc_worker.jobs
       set state = 'pending', token = null, lease_expires_at = null, num_attempts = num_attempts - 1
     where meeting_id = p_meeting_id;
    update public.meetings set status = 'pending', stage = null, progress = null, processed_by = null
     where id = p_meeting_id;
    return jsonb_build_object('outcome', 'released');
end $$;

-- --- speakers -------------------------------------------------------------------------------------------------------

-- The speakers of the meeting's owner with their embeddings, but for what this meeting itself left at an earlier time.
create function public.worker_speakers_v1(p_meeting_id uuid, p_token bigint) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
    owner uuid;
    known jsonb;
begin
    if not exists (select from pc_worker.jobs where meeting_id = p_meeting_id and token = p_token) then
        return jsonb_build_object('outcome', pc_worker.why_not(p_meeting_id, p_token, '{}'));
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    select coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'name', s.name, 'embeddings', v.embeddings) order by s.id), '[]')
      into known
      from public.speakers s
      join lateral (
          select jsonb_agg(jsonb_build_object('label', e.label, 'model', e.model, 'dim', e.dim, 'vector', e.embedding,
                                              'speech_s', e.speech_s) order by e.id) as embeddings
            from public.speaker_embeddings e
           where e.speaker_id = s.id and (s.name is not null or e.meeting_id <> p_meeting_id)) v
        on v.embeddings is not null
     where s.user_id is not distinct from owner;
    return jsonb_build_object('outcome', 'ok', 'speakers', known);
end $$;
