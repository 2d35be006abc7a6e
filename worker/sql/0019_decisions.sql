-- What people decide about voices and speakers, from a dashboard or the command line. Each function locks the owner's
-- people, answers `gone` for what is not there or not the caller's, writes a row of the ledger, and settles what follows
-- (0013).

-- --- tools ----------------------------------------------------------------------------------------------------------

create function pc_worker.refused(p_sentence text) returns jsonb
language sql immutable security definer set search_path = ''
as $$ select jsonb_build_object('outcome', 'refused', 'message', p_sentence) $$;

create function pc_worker.nobody_there() returns jsonb
language sql immutable security definer set search_path = ''
as $$ select jsonb_build_object('outcome', 'gone', 'message', 'There is no such speaker.') $$;

create function pc_worker.no_voice_there() returns jsonb
language sql immutable security definer set search_path = ''
as $$ select jsonb_build_object('outcome', 'gone', 'message', 'There is no such voice in that meeting.') $$;

-- The row of the speaker, or of whom it was merged into, with the owner's people locked; nulls when the caller has no such.
create function pc_worker.take_person(p_speaker_id uuid) returns public.speakers
language plpgsql security definer set search_path = ''
as $$
declare
    person public.speakers;
begin
    select * into person from public.speakers s
     where s.id = pc_worker.root_of(p_speaker_id) and pc_worker.may_change(s.user_id);
    if person.id is not null then
        perform pc_worker.lock_people(person.user_id);
        select * into person from public.speakers s where s.id = pc_worker.root_of(p_speaker_id);
    end if;
    return person;
end $$;

-- A voice of the meeting's present result, likewise. The meeting is locked first: decisions refer to it.
create function pc_worker.take_voice(p_meeting_id uuid, p_label text) returns pc_worker.voices
language plpgsql security definer set search_path = ''
as $$
declare
    voice pc_worker.voices;
begin
    select * into voice from pc_worker.voices v
     where v.meeting_id = p_meeting_id and v.label = p_label and v.is_current and pc_worker.may_change(v.user_id);
    if voice.id is not null then
        perform 1 from public.meetings where id = p_meeting_id for key share;
        perform pc_worker.lock_people(voice.user_id);
        select * into voice from pc_worker.voices v
         where v.meeting_id = p_meeting_id and v.label = p_label and v.is_current;
    end if;
    return voice;
end $$;

create function pc_worker.decide_about_speaker(
    p_user_id uuid, p_kind text, p_speaker_id uuid, p_other_id uuid, p_name text
) returns bigint
language sql volatile security definer set search_path = ''
as $$
    insert into public.speaker_decisions (user_id, kind, speaker_id, other_speaker_id, name, decided_by, decided_at)
    values (p_user_id, p_kind, p_speaker_id, p_other_id, p_name, pc_worker.who('lab'), pc_worker.now())
    returning id
$$;

-- Write the decision, settle, and answer. p_places: the voice is at p_speaker_id from now on.
create function pc_worker.decide_about_voice(
    p_voice pc_worker.voices, p_kind text, p_speaker_id uuid, p_other_id uuid, p_places boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    decision bigint;
begin
    insert into public.speaker_decisions
        (user_id, kind, speaker_id, other_speaker_id, meeting_id, voice_id, label, places, decided_by, decided_at)
    values (p_voice.user_id, p_kind, p_speaker_id, p_other_id, p_voice.meeting_id, p_voice.id, p_voice.label, p_places,
            pc_worker.who('lab'), pc_worker.now())
    returning id into decision;
    perform pc_worker.settle(p_voice.user_id, array[p_voice.id], '{}');
    return jsonb_build_object('outcome', 'done', 'decision_id', decision, 'speaker_id',
                              (select v.speaker_id from pc_worker.voices v where v.id = p_voice.id));
end $$;

-- The kind of the decision by which the voice is where it is; null: it is at its own speaker.
create function pc_worker.placed_by(p_voice_id bigint) returns text
language sql stable security definer set search_path = ''
as $$
    select d.kind from public.speaker_decisions d
     where d.voice_id = p_voice_id and d.places and d.undone_at is null order by d.id desc limit 1
$$;

-- --- speakers -------------------------------------------------------------------------------------------------------

-- An empty name takes the name away.
create function public.speaker_name_v1(p_speaker_id uuid, p_name text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    tidy text;
    person public.speakers;
    decision bigint;
begin
    begin
        tidy := pc_worker.tidy_name(p_name);
    exception when raise_exception then
        return pc_worker.refused(sqlerrm);
    end;
    person := pc_worker.take_person(p_speaker_id);
    if person.id is null then
        return pc_worker.nobody_there();
    elsif person.name is not distinct from tidy then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    decision := pc_worker.decide_about_speaker(person.user_id, 'named', person.id, null, tidy);
    perform pc_worker.settle(person.user_id, '{}', array[person.id]);
    return jsonb_build_object('outcome', 'done', 'decision_id', decision);
end $$;

-- p_speaker_id is p_into_id, who stays.
create function public.speaker_merge_v1(p_speaker_id uuid, p_into_id uuid) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    who public.speakers := pc_worker.take_person(p_speaker_id);
    target public.speakers;
    decision bigint;
begin
    select * into target from public.speakers s
     where s.id = pc_worker.root_of(p_into_id) and s.user_id is not distinct from who.user_id;
    if who.id is null or target.id is null then
        return pc_worker.nobody_there();
    elsif who.id = target.id then
        return jsonb_build_object('outcome', 'already_done');
    elsif who.keeps_voice <> target.keeps_voice then
        return pc_worker.refused('One of the two has opted out of being recognised, the other has not. '
                                 'Let both opt out, or both in; then merge them.');
    end if;
    decision := pc_worker.decide_about_speaker(who.user_id, 'merged', target.id, who.id, null);
    perform pc_worker.settle(who.user_id, '{}', array[who.id, target.id]);
    return jsonb_build_object('outcome', 'done', 'decision_id', decision);
end $$;

-- Erase all that was kept of the voice, in every meeting; labels and name stay. Cannot be undone.
create function public.speaker_forget_v1(p_speaker_id uuid) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    person public.speakers := pc_worker.take_person(p_speaker_id);
    decision bigint;
begin
    if person.id is null then
        return pc_worker.nobody_there();
    end if;
    decision := pc_worker.decide_about_speaker(person.user_id, 'forgotten', person.id, null, null);
    perform pc_worker.erase(array(select v.id from pc_worker.voices v where v.speaker_id = person.id));
    perform pc_worker.settle(person.user_id, '{}', array[person.id]);
    return jsonb_build_object('outcome', 'done', 'decision_id', decision);
end $$;

-- p_kept: false to opt out, which erases and keeps nothing from now on; true to take that back, for all who were merged.
create function public.speaker_keep_voice_v1(p_speaker_id uuid, p_kept jsonb) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    person public.speakers := pc_worker.take_person(p_speaker_id);
    member uuid;
    decision bigint;
begin
    if person.id is null then
        return pc_worker.nobody_there();
    elsif person.keeps_voice = p_kept::boolean then
        return jsonb_build_object('outcome', 'already_done');
    elsif not p_kept::boolean then
        decision := pc_worker.decide_about_speaker(person.user_id, 'opted_out', person.id, null, null);
    end if;
    foreach member in array case when p_kept::boolean then pc_worker.opted_out(person.id) else '{}' end loop
        decision := pc_worker.decide_about_speaker(person.user_id, 'opted_in', member, null, null);
    end loop;
    perform pc_worker.settle(person.user_id, '{}', array[person.id]);
    return jsonb_build_object('outcome', 'done', 'decision_id', decision);
end $$;

-- --- voices ---------------------------------------------------------------------------------------------------------

-- Give one meeting's voice a speaker of its own.
create function public.speaker_split_v1(p_meeting_id uuid, p_label text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    voice pc_worker.voices := pc_worker.take_voice(p_meeting_id, p_label);
begin
    if voice.id is null then
        return pc_worker.no_voice_there();
    elsif (select count(*) from pc_worker.voices v where v.speaker_id = voice.speaker_id) = 1 then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    return pc_worker.decide_about_voice(voice, 'split', gen_random_uuid(), voice.speaker_id, true);
end $$;

-- p_speaker_id: null for whom the voice is suggested or identified to be.
create function public.speaker_confirm_v1(p_meeting_id uuid, p_label text, p_speaker_id uuid default null) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    voice pc_worker.voices := pc_worker.take_voice(p_meeting_id, p_label);
    target uuid;
begin
    if voice.id is null then
        return pc_worker.no_voice_there();
    elsif p_speaker_id is not null then
        select s.id into target from public.speakers s
         where s.id = pc_worker.root_of(p_speaker_id) and s.user_id is not distinct from voice.user_id;
        if target is null then
            return pc_worker.nobody_there();
        end if;
    else
        target := coalesce(pc_worker.suggested_of(voice.id), case
            when pc_worker.placed_by(voice.id) in ('identified', 'confirmed') then voice.speaker_id end);
        if target is null then
            return pc_worker.refused('Nobody is suggested for this voice. Say which speaker it is.');
        end if;
    end if;
    if pc_worker.placed_by(voice.id) = 'confirmed' and voice.speaker_id = target then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    return pc_worker.decide_about_voice(voice, 'confirmed', target, null, true);
end $$;

-- The voice is not whom it is suggested to be, or else not whom it was given to.
create function public.speaker_reject_v1(p_meeting_id uuid, p_label text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    voice pc_worker.voices := pc_worker.take_voice(p_meeting_id, p_label);
    suggested uuid := pc_worker.suggested_of(voice.id);
begin
    if voice.id is null then
        return pc_worker.no_voice_there();
    elsif suggested is not null then
        return pc_worker.decide_about_voice(voice, 'rejected', null, suggested, false);
    elsif coalesce(pc_worker.placed_by(voice.id), '') not in ('identified', 'confirmed') then
        return pc_worker.refused('This voice was given to nobody, and nobody is suggested for it.');
    end if;
    return pc_worker.decide_about_voice(voice, 'rejected', gen_random_uuid(), voice.speaker_id, true);
end $$;

-- --- undo -----------------------------------------------------------------------------------------------------------

create function pc_worker.why_not_undone(p_kind text) returns text
language sql immutable security definer set search_path = ''
as $$
    select case p_kind
        when 'forgotten' then 'What was erased of a voice does not come back.'
        when 'deleted' then 'A speaker who was deleted does not come back. Confirm who speaks in each meeting instead.'
        when 'suggested' then 'A suggestion is no decision yet. Reject it instead.'
        when 'unknown' then 'Nothing was decided there. Confirm who the voice is instead.' end
$$;

-- Everything is as if the decision had never been made; only what was erased does not come back.
create function public.speaker_undo_v1(p_decision_id bigint) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    decision public.speaker_decisions;
    before uuid[];
begin
    select * into decision from public.speaker_decisions d
     where d.id = p_decision_id and pc_worker.may_change(d.user_id);
    if decision.id is not null then
        perform pc_worker.lock_people(decision.user_id);
        select * into decision from public.speaker_decisions d where d.id = p_decision_id;
    end if;
    if decision.id is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such decision.');
    elsif pc_worker.why_not_undone(decision.kind) is not null then
        return pc_worker.refused(pc_worker.why_not_undone(decision.kind));
    elsif decision.undone_at is not null then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    -- of a voice only the voice moves; of a speaker whoever is at its root
    if decision.voice_id is null and decision.meeting_id is null then
        before := array[pc_worker.root_of(decision.speaker_id), decision.speaker_id]
               || case when decision.other_speaker_id is null then '{}' else array[decision.other_speaker_id] end;
    end if;
    update public.speaker_decisions set undone_at = pc_worker.now(), undone_by = pc_worker.who('lab')
     where id = decision.id;
    perform pc_worker.settle(decision.user_id, array_remove(array[decision.voice_id], null), coalesce(before, '{}'));
    return jsonb_build_object('outcome', 'done', 'decision_id', decision.id);
end $$;

-- --- lists ----------------------------------------------------------------------------------------------------------

-- Whose people are asked for: a signed-in user's own when nobody is named, else the lab's.
create function pc_worker.asked_owner(p_user_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
    select case when p_user_id is null and current_setting('role', true) = 'authenticated'
                then (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
                else p_user_id end
$$;

-- Those with a name by name, then the others, last heard first.
create function public.speaker_list_v1(p_user_id uuid default null) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
    owner uuid := pc_worker.asked_owner(p_user_id);
    listed jsonb;
begin
    with people as (
        select s.id, s.user_id, s.name, h.num_meetings, h.speech_s,
               (select count(*) from public.speaker_embeddings e where e.speaker_id = s.id) as num_voiceprints,
               s.keeps_voice, h.last_heard_at
          from public.speakers s
         cross join lateral (
               select count(distinct v.meeting_id) as num_meetings, coalesce(sum(ms.speech_s), 0) as speech_s,
                      max(m.created_at) as last_heard_at
                 from pc_worker.voices v
                 join public.meeting_speakers ms on ms.meeting_id = v.meeting_id and ms.label = v.label
                 join public.meetings m on m.id = v.meeting_id
                where v.speaker_id = s.id and v.is_current) h
         where s.user_id is not distinct from owner and pc_worker.may_change(owner))
    select jsonb_agg(to_jsonb(p) order by p.name is null, p.name collate "C", case when p.name is null then p.last_heard_at end desc nulls last, p.id)
      into listed from people p;
    return jsonb_build_object('outcome', 'ok', 'speakers', coalesce(listed, '[]'));
end $$;

-- Newest first, at most 1000.
create function public.speaker_decisions_v1(p_user_id uuid default null, p_limit bigint default 50) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
    owner uuid := pc_worker.asked_owner(p_user_id);
    listed jsonb;
begin
    select jsonb_agg(to_jsonb(d) - '{voice_id,places}'::text[] order by d.id desc) into listed
      from (select * from public.speaker_decisions
             where user_id is not distinct from owner and pc_worker.may_change(owner)
             order by id desc limit least(greatest(p_limit, 0), 1000)) d;
    return jsonb_build_object('outcome', 'ok', 'decisions', coalesce(listed, '[]'));
end $$;

-- As v1, and of each voice who it is suggested to be.
create function public.meeting_detail_v2(p_meeting_id uuid) returns jsonb
language sql stable security invoker set search_path = ''
as $$
    select public.meeting_detail_v1(p_meeting_id) || jsonb_build_object(
        'speakers', (select coalesce(jsonb_agg(to_jsonb(ms) || jsonb_build_object(
                                'name', p.name, 'suggested_name', maybe.name) order by ms.label), '[]')
                       from public.meeting_speakers ms
                       left join public.speakers p on p.id = ms.speaker_id
                       left join public.speakers maybe on maybe.id = ms.suggested_id
                      where ms.meeting_id = p_meeting_id))
$$;

-- --- closed, then opened --------------------------------------------------------------------------------------------

do $$
declare
    for_people constant text := 'function
        public.speaker_list_v1(uuid), public.speaker_decisions_v1(uuid, bigint), public.speaker_name_v1(uuid, text),
        public.speaker_merge_v1(uuid, uuid), public.speaker_forget_v1(uuid), public.speaker_keep_voice_v1(uuid, jsonb),
        public.speaker_split_v1(uuid, text), public.speaker_confirm_v1(uuid, text, uuid),
        public.speaker_reject_v1(uuid, text), public.speaker_undo_v1(bigint), public.meeting_detail_v2(uuid)';
    ours record;
begin
    for ours in select p.oid::regprocedure as name from pg_catalog.pg_proc p
                 where p.pronamespace = 'pc_worker'::regnamespace
                   and p.proname in ('refused', 'nobody_there', 'no_voice_there', 'take_person', 'take_voice',
                                     'decide_about_speaker', 'decide_about_voice', 'placed_by', 'why_not_undone',
                                     'asked_owner')
    loop
        perform pc_worker.close_to_all('function ' || ours.name);
    end loop;
    perform pc_worker.close_to_all(for_people);
    perform pc_worker.open_to('authenticated', 'execute on ' || for_people);
    perform pc_worker.open_to('service_role', 'execute on ' || for_people);
end $$;

notify pgrst, 'reload schema';
