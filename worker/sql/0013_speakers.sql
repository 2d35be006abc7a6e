-- Who is who. Facts are kept: the voices of meetings, and decisions about voices and speakers. All that people see of
-- speakers follows from them, so that a decision can be undone as if it had never been made.
--
-- A voice is one label of one result. It is at the speaker whom the newest active decision that places it names, else at
-- one of its own (`home`); who was merged into somebody stands for that one (root_of). public.speakers has exactly the
-- roots that have a name or a voice.
--
-- Lock order: workers, meetings, jobs, speakers. The owner's row of pc_worker.speaker_versions stands for "speakers":
-- whoever changes anything about them holds it. Only a hand edit has a row of public.speakers first; it does not wait
-- for long (lock_people_briefly).

set local lock_timeout = '30s';

do $$
declare
    taken text;
begin
    if to_regclass('public.speaker_decisions') is not null then
        raise exception using errcode = 'P0001',
            message = 'There is a public.speaker_decisions already, and the worker needs that name for a table of its own.',
            hint = 'Rename yours, for example to speaker_decisions_old; then migrate again.';
    end if;
    select string_agg(format('public.%s.%s', a.attrelid::regclass, a.attname), ', ') into taken
      from pg_catalog.pg_attribute a
     where (a.attrelid, a.attname) in (('public.speakers'::regclass, 'keeps_voice'),
                                       ('public.meeting_speakers'::regclass, 'suggested_id'),
                                       ('public.speaker_embeddings'::regclass, 'voice_id'));
    if taken is not null then
        raise exception using errcode = 'P0001',
            message = format('There is a column %s already, and the worker needs that name for one of its own.', taken),
            hint = 'Rename yours; then migrate again.';
    end if;
end $$;

-- --- tables ---------------------------------------------------------------------------------------------------------

create table pc_worker.speaker_versions (
    user_id         uuid,
    version         bigint not null default 0,
    constraint speaker_versions_owner_unique unique nulls not distinct (user_id)
);

create table pc_worker.voices (
    id              bigint generated always as identity primary key,
    user_id         uuid,                               -- the meeting's owner when the voice was heard
    meeting_id      uuid not null references public.meetings (id) on delete cascade,
    label           text not null,
    home            uuid not null default gen_random_uuid(),
    is_current      boolean not null default true,      -- false: of an earlier result; a named speaker keeps it
    is_erased       boolean not null default false,     -- its embeddings are gone, and none come back
    speaker_id      uuid                                -- derived; null: its speaker was deleted
);

create unique index voices_current on pc_worker.voices (meeting_id, label) where is_current;
create index voices_meeting on pc_worker.voices (meeting_id);
create index voices_speaker on pc_worker.voices (speaker_id);

-- What derive_speaker has summed, so that one more meeting is not all of them again.
create table pc_worker.voice_sums (
    speaker_id      uuid primary key references public.speakers (id) on delete cascade,
    model           text not null,
    num_summed      bigint not null,
    marks           bigint not null,                    -- of the ids that were summed
    last_id         bigint not null,
    sums            double precision[] not null
);

create table public.speaker_decisions (
    id              bigint generated always as identity primary key,
    user_id         uuid,
    kind            text not null,
    speaker_id      uuid,
    other_speaker_id uuid,
    meeting_id      uuid references public.meetings (id) on delete cascade,
    voice_id        bigint references pc_worker.voices (id) on delete set null,
    label           text,
    name            text,
    places          boolean not null default false,
    score           double precision,
    runner_up_score double precision,
    model           text,
    thresholds      jsonb,
    decided_by      text not null,
    decided_at      timestamptz not null default clock_timestamp(),
    undone_by       text,
    undone_at       timestamptz,
    constraint speaker_decisions_kind_known check (kind in ('identified', 'suggested', 'unknown', 'confirmed', 'rejected',
        'split', 'named', 'merged', 'forgotten', 'opted_out', 'opted_in', 'deleted')),
    constraint speaker_decisions_undone_by_somebody check ((undone_at is null) = (undone_by is null))
);

create index speaker_decisions_owner on public.speaker_decisions (user_id, id);
create index speaker_decisions_speaker on public.speaker_decisions (speaker_id);
create index speaker_decisions_voice on public.speaker_decisions (voice_id);
create index speaker_decisions_meeting on public.speaker_decisions (meeting_id);
create unique index speaker_decisions_merged_once on public.speaker_decisions (other_speaker_id)
    where kind = 'merged' and undone_at is null;

comment on table public.speaker_decisions is 'Who was taken for whom, by whom and why. Written by functions only.';
comment on column public.speaker_decisions.places is 'Whether it says whose the voice is.';
comment on column public.speaker_decisions.undone_at is 'Set: it counts no longer.';

alter table public.speakers add column keeps_voice boolean not null default true;
alter table public.meeting_speakers
    add column suggested_id uuid references public.speakers (id) on delete set null;
alter table public.speaker_embeddings
    add column voice_id bigint references pc_worker.voices (id) on delete cascade;
create index speaker_embeddings_voice on public.speaker_embeddings (voice_id);
create index meeting_speakers_suggested on public.meeting_speakers (suggested_id);

comment on column public.speakers.keeps_voice is 'False: this speaker has opted out, and no voice is kept.';
comment on column public.meeting_speakers.suggested_id is 'Who it may be; somebody has to say. Derived.';
comment on column public.meeting_speakers.decision is 'The newest one about this voice in speaker_decisions. Derived.';

-- --- what is there already ------------------------------------------------------------------------------------------

insert into pc_worker.voices (user_id, meeting_id, label, home, speaker_id)
select case when s.id is null then m.user_id else s.user_id end, ms.meeting_id, ms.label,
       coalesce(ms.speaker_id, gen_random_uuid()), ms.speaker_id
  from public.meeting_speakers ms
  join public.meetings m on m.id = ms.meeting_id
  left join public.speakers s on s.id = ms.speaker_id
 order by m.created_at, ms.meeting_id, ms.label;

-- the embeddings that a named speaker kept of an earlier result
insert into pc_worker.voices (user_id, meeting_id, label, home, is_current, speaker_id)
select s.user_id, e.meeting_id, e.label, e.speaker_id, false, e.speaker_id
  from public.speaker_embeddings e
  join public.speakers s on s.id = e.speaker_id
 where not exists (select from pc_worker.voices v
                    where v.meeting_id = e.meeting_id and v.label = e.label and v.speaker_id = e.speaker_id)
 group by s.user_id, e.meeting_id, e.label, e.speaker_id;

update public.speaker_embeddings e set voice_id = v.id
  from pc_worker.voices v
 where v.meeting_id = e.meeting_id and v.label = e.label and v.speaker_id = e.speaker_id;

insert into public.speaker_decisions (user_id, kind, speaker_id, name, decided_by, decided_at)
select s.user_id, 'named', s.id, s.name, 'migration', s.created_at
  from public.speakers s where s.name is not null order by s.created_at, s.id;

-- a voice whose speaker was deleted stays without one
insert into public.speaker_decisions (user_id, kind, meeting_id, voice_id, label, places, decided_by)
select v.user_id, 'deleted', v.meeting_id, v.id, v.label, true, 'migration'
  from pc_worker.voices v where v.speaker_id is null order by v.id;

-- --- what follows from the facts ------------------------------------------------------------------------------------

-- Whom this speaker stands for: who has been merged into somebody is that one.
create function pc_worker.root_of(p_speaker_id uuid) returns uuid
language sql stable security definer set search_path = ''
as $$
    with recursive up (id, step) as (
        select p_speaker_id, 0
        union all
        select d.speaker_id, up.step + 1
          from up join public.speaker_decisions d
            on d.other_speaker_id = up.id and d.kind = 'merged' and d.undone_at is null)
    select id from up order by step desc limit 1
$$;

-- The speaker and all who have been merged into it.
create function pc_worker.members_of(p_speaker_id uuid) returns setof uuid
language sql stable security definer set search_path = ''
as $$
    with recursive down (id) as (
        select p_speaker_id
        union all
        select d.other_speaker_id
          from down join public.speaker_decisions d
            on d.speaker_id = down.id and d.kind = 'merged' and d.undone_at is null)
    select id from down
$$;

create function pc_worker.speaker_of(p_voice_id bigint) returns uuid
language sql stable security definer set search_path = ''
as $$
    select case when d.id is null then pc_worker.root_of(v.home)
                when d.kind <> 'deleted' then pc_worker.root_of(d.speaker_id) end
      from pc_worker.voices v
      left join lateral (
          select n.id, n.kind, n.speaker_id from public.speaker_decisions n
           where n.voice_id = v.id and n.places and n.undone_at is null order by n.id desc limit 1) d on true
     where v.id = p_voice_id
$$;

-- What was last said about this speaker; else the name of who was merged into it, the newest merge first.
create function pc_worker.name_of(p_speaker_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
    said record;
    merged uuid;
begin
    select d.name into said from public.speaker_decisions d
     where d.speaker_id = p_speaker_id and d.kind in ('named', 'deleted') and d.undone_at is null
     order by d.id desc limit 1;
    if found then
        return said.name;
    end if;
    for merged in
        select d.other_speaker_id from public.speaker_decisions d
         where d.speaker_id = p_speaker_id and d.kind = 'merged' and d.undone_at is null order by d.id desc
    loop
        select pc_worker.name_of(merged) as name into said;
        if said.name is not null then
            return said.name;
        end if;
    end loop;
    return null;
end $$;

-- The members who have opted out, the first to do so first, the root last.
create function pc_worker.opted_out(p_root uuid) returns uuid[]
language sql stable security definer set search_path = ''
as $$
    select coalesce(array_agg(m.id order by m.id = p_root, newest.id), '{}')
      from pc_worker.members_of(p_root) as m (id)
     cross join lateral (
           select d.id, d.kind from public.speaker_decisions d
            where d.speaker_id = m.id and d.kind in ('opted_out', 'opted_in') and d.undone_at is null
            order by d.id desc limit 1) newest
     where newest.kind = 'opted_out'
$$;

-- Whether public.speakers has a row for it.
create function pc_worker.is_person(p_speaker_id uuid) returns boolean
language sql stable security definer set search_path = ''
as $$
    select pc_worker.root_of(p_speaker_id) = p_speaker_id
       and (exists (select from pc_worker.voices v where v.speaker_id = p_speaker_id)
            or pc_worker.name_of(p_speaker_id) is not null)
$$;

-- Who the voice may be, as long as nobody has said so or not, and that speaker is there and another one.
create function pc_worker.suggested_of(p_voice_id bigint) returns uuid
language sql stable security definer set search_path = ''
as $$
    select s.id
      from (select d.kind, d.speaker_id from public.speaker_decisions d
             where d.voice_id = p_voice_id and d.kind in ('suggested', 'confirmed', 'rejected') and d.undone_at is null
             order by d.id desc limit 1) newest
      join pc_worker.voices v on v.id = p_voice_id
      join public.speakers s on s.id = pc_worker.root_of(newest.speaker_id) and s.id is distinct from v.speaker_id
     where newest.kind = 'suggested'
$$;

-- --- keeping it so --------------------------------------------------------------------------------------------------

-- The owner's version, locked until the end of the transaction.
create function pc_worker.lock_people(p_user_id uuid) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
    locked bigint;
begin
    insert into pc_worker.speaker_versions (user_id) values (p_user_id) on conflict (user_id) do nothing;
    select version into locked from pc_worker.speaker_versions where user_id is not distinct from p_user_id for update;
    return locked;
end $$;

-- For who has locked a row of speakers or segments already, for which a holder of the version may wait: waiting for
-- that holder in turn would be a deadlock.
create function pc_worker.lock_people_briefly(p_user_id uuid) returns void
language plpgsql security definer set search_path = '' set lock_timeout = '500ms'
as $$
begin
    perform pc_worker.lock_people(p_user_id);
exception when lock_not_available then
    raise exception using errcode = '55P03',
        message = 'The speakers are being changed by somebody else at this moment. Try again.';
end $$;

create function pc_worker.new_people_version(p_user_id uuid) returns void
language sql volatile security definer set search_path = ''
as $$
    update pc_worker.speaker_versions set version = version + 1 where user_id is not distinct from p_user_id
$$;

-- The mean of the speaker's embeddings, weighted by speech, in the model with most speech, of length 1. What was summed
-- before is added to as long as it is still there.
create function pc_worker.centroid_of(p_speaker_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    best text;
    was pc_worker.voice_sums;
    seen record;
    summed double precision[];
begin
    select e.model into best from public.speaker_embeddings e
     where e.speaker_id = p_speaker_id group by e.model order by sum(e.speech_s) desc, e.model limit 1;
    select * into was from pc_worker.voice_sums where speaker_id = p_speaker_id and model = best;
    select count(*) filter (where e.id <= was.last_id) as num_before,
           bit_xor(hashint8extended(e.id, 0)) filter (where e.id <= was.last_id) as marks_before,
           count(*) as num, bit_xor(hashint8extended(e.id, 0)) as marks, max(e.id) as last_id
      into seen from public.speaker_embeddings e where e.speaker_id = p_speaker_id and e.model = best;
    if (seen.num_before, seen.marks_before) is distinct from (was.num_summed, was.marks) then
        was.sums := '{}';
        was.last_id := null;
    end if;
    select array_agg(t.total order by t.position) into summed
      from (select p.position, sum(p.value) as total
              from (select k.position, k.value from unnest(was.sums) with ordinality as k (value, position)
                    union all
                    select v.position, (v.value #>> '{}')::double precision * greatest(e.speech_s, 0.001)
                      from public.speaker_embeddings e, jsonb_array_elements(e.embedding) with ordinality as v (value, position)
                     where e.speaker_id = p_speaker_id and e.model = best and (was.last_id is null or e.id > was.last_id)) p
             group by p.position) t;
    delete from pc_worker.voice_sums where speaker_id = p_speaker_id;
    if summed is not null then
        insert into pc_worker.voice_sums (speaker_id, model, num_summed, marks, last_id, sums)
        values (p_speaker_id, best, seen.num, seen.marks, seen.last_id, summed);
    end if;
    return (select jsonb_agg(round((v.value / norm.length)::numeric, 6) order by v.position)
              from unnest(summed) with ordinality as v (value, position)
             cross join (select nullif(sqrt(sum(n.value ^ 2)), 0) as length from unnest(summed) as n (value)) norm);
end $$;

-- All that public.speakers says of one, from the facts.
create or replace function pc_worker.derive_speaker(p_speaker_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    update public.speakers s
       set name = pc_worker.name_of(s.id), keeps_voice = pc_worker.opted_out(s.id) = '{}',
           embedding = pc_worker.centroid_of(s.id), updated_at = pc_worker.now(),
           meeting_ids = array(select distinct v.meeting_id from pc_worker.voices v
                                where v.speaker_id = s.id and v.is_current order by 1)
     where s.id = p_speaker_id;
end $$;

create function pc_worker.erase(p_voices bigint[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    update pc_worker.voices set is_erased = true where id = any (p_voices) and not is_erased;
    delete from public.speaker_embeddings where voice_id = any (p_voices);
end $$;

-- What the meetings show of these voices.
create function pc_worker.show_voices(p_voices bigint[]) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    update public.meeting_speakers ms
       set speaker_id = f.speaker_id, suggested_id = f.suggested_id, decision = f.decision
      from (select v.meeting_id, v.label, v.speaker_id, pc_worker.suggested_of(v.id) as suggested_id,
                   (select d.kind from public.speaker_decisions d
                     where d.voice_id = v.id and d.undone_at is null order by d.id desc limit 1) as decision
              from pc_worker.voices v where v.id = any (p_voices) and v.is_current) f
     where ms.meeting_id = f.meeting_id and ms.label = f.label
       and (ms.speaker_id, ms.suggested_id, ms.decision) is distinct from (f.speaker_id, f.suggested_id, f.decision);
    update public.transcript_segments t set speaker_id = v.speaker_id
      from pc_worker.voices v
     where v.id = any (p_voices) and v.is_current
       and t.meeting_id = v.meeting_id and t.speaker_label = v.label and t.speaker_id is distinct from v.speaker_id;
end $$;

-- After a change of facts: what follows for these voices, for those at these speakers, and for the speakers at whom
-- they were and are. A speaker's row is made before anything refers to it, and goes when nothing does any more.
create function pc_worker.settle(p_user_id uuid, p_voices bigint[], p_speakers uuid[]) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    moved bigint[] := array(select id from pc_worker.voices where id = any (p_voices) or speaker_id = any (p_speakers));
    touched uuid[];
    changed uuid[];
begin
    touched := array(select speaker_id from pc_worker.voices where id = any (moved) and speaker_id is not null
                     union select unnest(p_speakers)
                     union select pc_worker.root_of(id) from unnest(p_speakers) as given (id));
    update pc_worker.voices v set speaker_id = f.speaker_id
      from (select id, pc_worker.speaker_of(id) as speaker_id from unnest(moved) as m (id)) f
     where v.id = f.id and v.speaker_id is distinct from f.speaker_id;
    touched := array(select unnest(touched)
                     union select speaker_id from pc_worker.voices where id = any (moved) and speaker_id is not null);
    changed := p_speakers
        || array(select t.id from unnest(touched) as t (id)
                  where pc_worker.is_person(t.id) is distinct from exists (select from public.speakers where id = t.id));
    insert into public.speakers (id, user_id, name, created_at)
    select t.id, p_user_id, pc_worker.name_of(t.id),
           coalesce((select min(d.decided_at) from public.speaker_decisions d where d.speaker_id = t.id), pc_worker.now())
      from unnest(touched) as t (id)
     where pc_worker.is_person(t.id)
    on conflict (id) do nothing;
    perform pc_worker.erase(array(
        select v.id from pc_worker.voices v
         where not v.is_erased
           and v.speaker_id = any (array(select t.id from unnest(touched) as t (id) where pc_worker.opted_out(t.id) <> '{}'))));
    update public.speaker_embeddings e set speaker_id = v.speaker_id
      from pc_worker.voices v
     where v.id = any (moved) and e.voice_id = v.id and e.speaker_id is distinct from v.speaker_id;
    perform pc_worker.show_voices(moved || array(  -- and those that may be somebody who came or went
        select d.voice_id from public.speaker_decisions d
         where d.kind = 'suggested' and d.voice_id is not null
           and d.speaker_id in (select m.id from unnest(changed) as c (id) cross join pc_worker.members_of(c.id) as m (id))));
    perform pc_worker.derive_speaker(t.id) from unnest(touched) as t (id) where pc_worker.is_person(t.id);
    delete from public.speakers where id = any (touched) and not pc_worker.is_person(id);
    perform pc_worker.new_people_version(p_user_id);
end $$;

-- --- closed, then opened --------------------------------------------------------------------------------------------

do $$
declare
    ours record;
    seen text;
begin
    perform pc_worker.close_to_all('table public.speaker_decisions, pc_worker.voices, pc_worker.speaker_versions,
                                    pc_worker.voice_sums');
    perform pc_worker.close_to_all('sequence public.speaker_decisions_id_seq, pc_worker.voices_id_seq');
    alter table public.speaker_decisions enable row level security;
    alter table pc_worker.voices enable row level security;
    alter table pc_worker.speaker_versions enable row level security;
    alter table pc_worker.voice_sums enable row level security;
    for ours in select p.oid::regprocedure as name from pg_catalog.pg_proc p
                 where p.pronamespace = 'pc_worker'::regnamespace
                   and p.proname in ('root_of', 'members_of', 'speaker_of', 'name_of', 'opted_out', 'is_person',
                                     'suggested_of', 'lock_people', 'lock_people_briefly', 'new_people_version',
                                     'centroid_of', 'erase', 'show_voices', 'settle')
    loop
        perform pc_worker.close_to_all('function ' || ours.name);
    end loop;
    perform pc_worker.open_to('service_role', 'select on public.speaker_decisions');
    perform pc_worker.open_to('authenticated', 'select on public.speaker_decisions');
    -- no dashboard needs a voiceprint: of speakers users keep whatever they could read but for that
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into seen
      from pg_catalog.pg_attribute a join pg_catalog.pg_roles r on r.rolname = 'authenticated'
     where a.attrelid = 'public.speakers'::regclass and a.attnum > 0 and not a.attisdropped and a.attname <> 'embedding'
       and has_column_privilege(r.oid, a.attrelid, a.attnum, 'select');
    if seen is not null then
        revoke select on public.speakers from authenticated;
        perform pc_worker.open_to('authenticated', format('select (%s) on public.speakers', seen));
    end if;
end $$;

-- As in 0006: a user who is deleted takes the decisions along; those about users who are gone already stay.
do $$
begin
    if to_regclass('auth.users') is null or to_regprocedure('auth.uid()') is null then
        return;
    end if;
    alter table public.speaker_decisions add constraint speaker_decisions_user_exists
        foreign key (user_id) references auth.users (id) on delete cascade not valid;
    begin
        alter table public.speaker_decisions validate constraint speaker_decisions_user_exists;
    exception when foreign_key_violation then
        raise notice 'Some speakers belong to users who do not exist any more; they stay as they are.';
    end;
    if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        create policy pc_worker_select_own on public.speaker_decisions for select to authenticated
            using (user_id = (select auth.uid()));
    end if;
end $$;

notify pgrst, 'reload schema';
