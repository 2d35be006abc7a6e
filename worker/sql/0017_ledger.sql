-- How the ledger (0013) is kept true: by results, by what people do with the tables, and for workers, who ask whom the
-- owner knows. What people decide is in 0019.

-- --- a result's voices ----------------------------------------------------------------------------------------------

-- The voices of a meeting that is done anew: a named speaker who is not recognised this time keeps what was heard of him
-- or her; all else goes. Answers with the speakers at whom they were.
create function pc_worker.retire_voices(p_meeting_id uuid, p_recognised uuid[]) returns uuid[]
language plpgsql security definer set search_path = ''
as $$
declare
    touched uuid[] := array(select distinct speaker_id from pc_worker.voices
                             where meeting_id = p_meeting_id and speaker_id is not null);
begin
    delete from public.meeting_speakers where meeting_id = p_meeting_id;
    delete from pc_worker.voices v
     where v.meeting_id = p_meeting_id
       and (v.speaker_id is null or v.speaker_id = any (p_recognised)
            or not exists (select from public.speakers s where s.id = v.speaker_id and s.name is not null)
            or not exists (select from public.speaker_embeddings e where e.voice_id = v.id));
    update pc_worker.voices set is_current = false where meeting_id = p_meeting_id and is_current;
    return touched;
end $$;

-- What the worker says of one voice, as a row of the ledger; nothing where it says nothing.
create function pc_worker.note_match(p_voice pc_worker.voices, p_speaker_id uuid, p_match jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    said jsonb := case when jsonb_typeof(p_match) = 'object' then p_match else '{}' end;
    what text := case when p_speaker_id is not null then 'identified'
                      when said ->> 'outcome' = 'suggested' then 'suggested'
                      when said ->> 'outcome' is not null then 'unknown' end;
begin
    if what is null then
        return;
    end if;
    insert into public.speaker_decisions
        (user_id, kind, speaker_id, other_speaker_id, meeting_id, voice_id, label, places, score, runner_up_score, model,
         thresholds, decided_by, decided_at)
    select p_voice.user_id, what, coalesce(p_speaker_id, (said ->> 'speaker_id')::uuid), (said ->> 'runner_up_id')::uuid,
           p_voice.meeting_id, p_voice.id, p_voice.label, p_speaker_id is not null, (said ->> 'score')::double precision,
           (said ->> 'runner_up_score')::double precision, said ->> 'model',
           nullif(jsonb_strip_nulls(jsonb_build_object('confirm_from', said -> 'confirm_from',
                                                       'suggest_from', said -> 'suggest_from',
                                                       'margin', said -> 'margin')), '{}'),
           'worker:' || coalesce(j.worker_id, ''), pc_worker.now()
      from pc_worker.jobs j where j.meeting_id = p_voice.meeting_id;
end $$;

-- A voice that was recognised is at its speaker, any other at one of its own. Called with the owner's people locked.
create or replace function pc_worker.write_voices(p_meeting_id uuid, p_user_id uuid, p_speakers jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    heard record;
    voice pc_worker.voices;
    written bigint[] := '{}';
    before uuid[];
begin
    before := pc_worker.retire_voices(p_meeting_id, array(
        select v.speaker_id from jsonb_to_recordset(p_speakers) as v (speaker_id uuid) where v.speaker_id is not null));
    delete from public.transcript_segments where meeting_id = p_meeting_id;  -- or they would be given to new voices
    for heard in select * from jsonb_to_recordset(p_speakers)
        as v (label text, speech_s double precision, speaker_id uuid, score double precision, match jsonb, embeddings jsonb)
    loop
        insert into pc_worker.voices (user_id, meeting_id, label) values (p_user_id, p_meeting_id, heard.label)
        returning * into voice;
        update pc_worker.voices set speaker_id = coalesce(heard.speaker_id, home) where id = voice.id
        returning * into voice;
        written := written || voice.id;
        if heard.speaker_id is null then
            insert into public.speakers (id, user_id, created_at) values (voice.home, p_user_id, pc_worker.now());
        end if;
        perform pc_worker.note_match(voice, heard.speaker_id, heard.match);
        insert into public.meeting_speakers (meeting_id, label, speaker_id, speech_s, score)
        values (p_meeting_id, heard.label, voice.speaker_id, heard.speech_s,
                coalesce(heard.score, (heard.match ->> 'score')::double precision));
        insert into public.speaker_embeddings (speaker_id, meeting_id, label, model, dim, embedding, speech_s, voice_id)
        select voice.speaker_id, p_meeting_id, heard.label, e.model, e.dim, e.vector, e.speech_s, voice.id
          from jsonb_to_recordset(coalesce(heard.embeddings, '[]'))
            as e (model text, dim integer, vector jsonb, speech_s double precision);
    end loop;
    perform pc_worker.settle(p_user_id, written, before);
end $$;

-- As in 0004, and until the end of the transaction nobody else changes the owner's people.
create or replace function pc_worker.are_speakers_known(p_user_id uuid, p_speaker_ids uuid[]) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
    num_known bigint;
begin
    perform pc_worker.lock_people(p_user_id);
    select count(*) into num_known from public.speakers
     where id = any (p_speaker_ids) and user_id is not distinct from p_user_id;
    return num_known = cardinality(p_speaker_ids);
end $$;

-- A deleted meeting takes its voices along. Not while its owner is being deleted, with whom everything goes.
-- worker_complete_v1 asks for the rest (p_gone false) before write_voices, which does it now.
create or replace function pc_worker.forget_voices(p_meeting_id uuid, p_gone boolean, p_keep uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    owners uuid[];
    owner uuid;
    touched uuid[];
begin
    if not p_gone then
        return;
    end if;
    owners := array(select m.user_id from public.meetings m where m.id = p_meeting_id
                    union select v.user_id from pc_worker.voices v where v.meeting_id = p_meeting_id order by 1);
    foreach owner in array owners loop
        if pc_worker.is_leaving(owner) then
            delete from pc_worker.speaker_versions where user_id in (
                select user_id from pc_worker.speaker_versions where user_id = owner for update skip locked);
            continue;
        end if;
        perform pc_worker.lock_people(owner);
        touched := array(select distinct speaker_id from pc_worker.voices
                          where meeting_id = p_meeting_id and user_id is not distinct from owner and speaker_id is not null);
        delete from public.meeting_speakers where meeting_id = p_meeting_id;
        delete from public.speaker_decisions where meeting_id = p_meeting_id and user_id is not distinct from owner;
        delete from pc_worker.voices where meeting_id = p_meeting_id and user_id is not distinct from owner;
        perform pc_worker.settle(owner, '{}', touched);
    end loop;
end $$;

-- Whether this is the deletion of a user, which reaches the user's meetings and speakers one by one.
create function pc_worker.is_leaving(p_user_id uuid) returns boolean
language plpgsql volatile security definer set search_path = ''
as $$
declare
    is_there boolean := true;
begin
    if p_user_id is not null and pg_catalog.pg_trigger_depth() > 1 and to_regclass('auth.users') is not null then
        execute 'select exists (select from auth.users where id = $1)' into is_there using p_user_id;
    end if;
    return not is_there;
end $$;

-- --- what people do with the tables ---------------------------------------------------------------------------------

-- A name as it is kept: null when there is nothing in it.
create function pc_worker.tidy_name(p_name text) returns text
language plpgsql immutable security definer set search_path = ''
as $$
declare
    tidy text := nullif(btrim(p_name, E' \t\n\r'), '');
begin
    if octet_length(tidy) > 1024 then
        raise exception using errcode = 'P0001', message = 'A name has at most 1024 bytes. Shorten it.';
    end if;
    return tidy;
end $$;

-- A name that does not follow from the ledger is somebody's edit, and becomes a decision.
create function pc_worker.speakers_before_write() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    known text := pc_worker.name_of(new.id);
begin
    if new.name is not distinct from known then
        return new;
    end if;
    new.name := pc_worker.tidy_name(new.name);
    if new.name is not distinct from known then
        return new;
    end if;
    perform pc_worker.lock_people_briefly(new.user_id);
    insert into public.speaker_decisions (user_id, kind, speaker_id, name, decided_by, decided_at)
    values (new.user_id, 'named', new.id, new.name, pc_worker.who('table'), pc_worker.now());
    perform pc_worker.new_people_version(new.user_id);
    new.updated_at := pc_worker.now();
    return new;
end $$;

create trigger speakers_before_write before insert or update of name on public.speakers
    for each row execute function pc_worker.speakers_before_write();

-- Who has lost the name by hand and has no voice either is nobody any more.
create function pc_worker.speakers_after_unname() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    delete from public.speakers where id = new.id and not pc_worker.is_person(id);
    return null;
end $$;

create trigger speakers_after_unname after update of name on public.speakers
    for each row when (old.name is not null and new.name is null)
    execute function pc_worker.speakers_after_unname();

-- A speaker whom somebody deletes: the voices stay labels, for good. Rows that have nothing to say any more are deleted
-- by settle.
create function pc_worker.speakers_before_delete() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    theirs bigint[];
begin
    if not pc_worker.is_person(old.id) or pc_worker.is_leaving(old.user_id) then
        return old;
    end if;
    perform pc_worker.lock_people_briefly(old.user_id);
    theirs := array(select id from pc_worker.voices where speaker_id = old.id order by id);
    insert into public.speaker_decisions
        (user_id, kind, other_speaker_id, meeting_id, voice_id, label, places, decided_by, decided_at)
    select old.user_id, 'deleted', old.id, v.meeting_id, v.id, v.label, true, pc_worker.who('table'), pc_worker.now()
      from pc_worker.voices v where v.id = any (theirs) order by v.id;
    insert into public.speaker_decisions (user_id, kind, speaker_id, decided_by, decided_at)
    values (old.user_id, 'deleted', old.id, pc_worker.who('table'), pc_worker.now());
    update pc_worker.voices set speaker_id = null where id = any (theirs);
    perform pc_worker.erase(theirs);
    perform pc_worker.show_voices(theirs);
    perform pc_worker.new_people_version(old.user_id);
    return old;
end $$;

create trigger speakers_before_delete before delete on public.speakers
    for each row execute function pc_worker.speakers_before_delete();

-- As in 0002, and a passage that is given to another label is given to that voice's speaker.
create or replace function pc_worker.segments_before_update() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    voice pc_worker.voices;
begin
    if new.text is not distinct from old.text and new.speaker_label is not distinct from old.speaker_label then
        return new;
    end if;
    if exists (select from public.meetings where id = old.meeting_id and status in ('pending', 'processing')) then
        raise exception using errcode = 'P0001',
            message = 'This meeting is being transcribed again, so a correction made now would be lost.',
            hint = 'Wait until it is completed, or cancel it first.';
    end if;
    if new.speaker_label is distinct from old.speaker_label then
        select * into voice from pc_worker.voices
         where meeting_id = old.meeting_id and label = new.speaker_label and is_current;
        if found then  -- its speaker may be changing at this moment
            perform pc_worker.lock_people_briefly(voice.user_id);
            select * into voice from pc_worker.voices where id = voice.id;
        end if;
        new.speaker_id := voice.speaker_id;
    end if;
    new.edited_at := pc_worker.now();
    return new;
end $$;

-- --- for workers ----------------------------------------------------------------------------------------------------

-- {version, speakers}: whom the owner knows, with the voices described by one of the models. Of each speaker and model
-- ten: those that somebody had to confirm first, because they sound unlike the others, then those of most speech, then
-- the newest. Of those without a name the 500 that changed last: years of strangers would be megabytes for every meeting.
-- What the meeting itself left at an earlier time counts where somebody has named it.
-- Put together as text: nesting a million numbers as jsonb takes many times as long.
create function pc_worker.known_people(p_user_id uuid, p_meeting_id uuid, p_models text[]) returns json
language sql stable security definer set search_path = ''
as $$
    with people as materialized (
        select s.id, s.name from public.speakers s
         where s.user_id is not distinct from p_user_id and s.name is not null and s.keeps_voice
        union all
        (select s.id, null from public.speakers s
          where s.user_id is not distinct from p_user_id and s.name is null and s.keeps_voice
          order by s.updated_at desc, s.id limit 500)
    ), ranked as materialized (
        select e.id, e.speaker_id,
               row_number() over (partition by e.speaker_id, e.model order by exists (
                   select from public.speaker_decisions d
                    where d.voice_id = e.voice_id and d.kind = 'confirmed' and d.undone_at is null) desc,
                   e.speech_s desc, e.id desc) as place
          from public.speaker_embeddings e
          join people p on p.id = e.speaker_id
         where e.model = any (p_models) and (p.name is not null or e.meeting_id <> p_meeting_id)
    ), kept as (
        select r.speaker_id, json_agg(json_build_object(
                   'label', e.label, 'model', e.model, 'dim', e.dim, 'vector', e.embedding::text::json,
                   'speech_s', e.speech_s) order by e.id) as embeddings
          from ranked r join public.speaker_embeddings e on e.id = r.id
         where r.place <= 10
         group by r.speaker_id
    )
    select json_build_object(
        'version', coalesce((select version from pc_worker.speaker_versions
                              where user_id is not distinct from p_user_id), 0),
        'speakers', coalesce((select json_agg(json_build_object('id', p.id, 'name', p.name, 'embeddings', k.embeddings)
                                              order by p.id)
                                from kept k join people p on p.id = k.speaker_id), '[]'))
$$;

-- `stable`: version and speakers are of one moment.
create function public.worker_speakers_v2(p_meeting_id uuid, p_token bigint, p_models jsonb) returns jsonb
language plpgsql stable security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    owner uuid;
begin
    if not exists (select from pc_worker.jobs where meeting_id = p_meeting_id and token = p_token) then
        return jsonb_build_object('outcome', pc_worker.why_not(p_meeting_id, p_token, '{}'));
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    return jsonb_build_object('outcome', 'ok') || pc_worker.known_people(
        owner, p_meeting_id, array(select m.model from jsonb_array_elements_text(p_models) as m (model)))::jsonb;
end $$;

-- As v1, and what was matched against people who have changed since (p_result: speakers_version) is not written: the
-- answer brings those of now. Two PCs that hear the same new voice at once make one person of it so.
create function public.worker_complete_v2(p_meeting_id uuid, p_token bigint, p_result jsonb) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    held text := pc_worker.hold(p_meeting_id, p_token, '{completed}');
    owner uuid;
    version bigint;
    answer jsonb;
begin
    if held <> 'ok' then
        return jsonb_build_object('outcome', held);
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    version := pc_worker.lock_people(owner);
    if (p_result ->> 'speakers_version')::bigint <> version then
        answer := jsonb_build_object('outcome', 'stale_speakers');
    else
        answer := public.worker_complete_v1(p_meeting_id, p_token, p_result);
    end if;
    if answer ->> 'outcome' = 'stale_speakers' then
        answer := answer || jsonb_build_object('known', pc_worker.known_people(owner, p_meeting_id, array(
            select distinct e.model from jsonb_to_recordset(p_result -> 'speakers') as v (embeddings jsonb)
             cross join jsonb_to_recordset(coalesce(v.embeddings, '[]')) as e (model text))));
    end if;
    return answer;
end $$;

-- --- closed, then opened --------------------------------------------------------------------------------------------

do $$
declare
    for_workers constant text := 'function public.worker_speakers_v2(uuid, bigint, jsonb),
                                  public.worker_complete_v2(uuid, bigint, jsonb)';
    ours record;
begin
    for ours in select p.oid::regprocedure as name from pg_catalog.pg_proc p
                 where p.pronamespace = 'pc_worker'::regnamespace
                   and p.proname in ('retire_voices', 'note_match', 'is_leaving', 'tidy_name', 'known_people',
                                     'speakers_before_write', 'speakers_after_unname', 'speakers_before_delete')
    loop
        perform pc_worker.close_to_all('function ' || ours.name);
    end loop;
    perform pc_worker.close_to_all(for_workers);
    perform pc_worker.open_to('meeting_worker', 'execute on ' || for_workers);
    perform pc_worker.open_to('service_role', 'execute on ' || for_workers);
end $$;

notify pgrst, 'reload schema';
