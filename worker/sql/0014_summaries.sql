-- Results that people correct: summaries, the versions before them, and the rights to change text in a table.
--
-- The lock order of 0002 holds: a meeting before its summary.

set local lock_timeout = '30s';

do $$
begin
    if to_regclass('public.meeting_summary_versions') is not null then
        raise exception using errcode = 'P0001',
            message = 'There is a public.meeting_summary_versions already, and the worker needs that name for a table of '
                      'its own.',
            hint = 'Rename yours, for example to summary_versions_old; then migrate again.';
    end if;
end $$;

alter table public.meeting_summaries
    add column if not exists language text,
    add column if not exists edited_at timestamptz,
    add column if not exists num_dropped bigint not null default 0,
    add column if not exists version bigint not null default 1;

comment on column public.meeting_summaries.edited_at is
    'Set when somebody corrected the summary; while it is set, none is written in its place.';
comment on column public.meeting_summaries.num_dropped is
    'Statements of a language model that were left out because their quotation was never said.';

create table public.meeting_summary_versions (
    meeting_id      uuid not null references public.meetings (id) on delete cascade,
    version         bigint not null,
    overview        text,
    key_points      jsonb,
    decisions       jsonb,
    action_items    jsonb,
    open_questions  jsonb,
    topics          jsonb,
    method          text,
    model           text,
    language        text,
    num_dropped     bigint,
    edited_at       timestamptz,
    replaced_at     timestamptz not null,
    replaced_by     text not null,
    primary key (meeting_id, version)
);

comment on table public.meeting_summary_versions is 'Summaries as they were before they were replaced or edited.';
comment on column public.meeting_summary_versions.replaced_by is
    'worker:ID, resummarize (that command), user:ID, or table (somebody in the table editor).';

-- --- versions -------------------------------------------------------------------------------------------------------

-- Who is calling: `user:ID` for a signed-in user, else p_otherwise. As in may_change, only who may switch roles could
-- forge it.
create function pc_worker.who(p_otherwise text) returns text
language sql stable security definer set search_path = ''
as $$
    select case when current_setting('role', true) = 'authenticated'
                then coalesce('user:' || (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'), 'user')
                else p_otherwise end
$$;

create function pc_worker.next_summary_version(p_meeting_id uuid) returns bigint
language sql stable security definer set search_path = ''
as $$
    select 1 + greatest((select max(v.version) from public.meeting_summary_versions v where v.meeting_id = p_meeting_id),
                        (select y.version from public.meeting_summaries y where y.meeting_id = p_meeting_id), 0)
$$;

-- Whoever keeps a version first says who replaced it. A dashboard that saves every keystroke must not fill the database:
-- of those that people wrote the newest 50 stay, of those that were written for them all.
create function pc_worker.keep_summary(p_old public.meeting_summaries, p_replaced_by text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    insert into public.meeting_summary_versions
        (meeting_id, version, overview, key_points, decisions, action_items, open_questions, topics, method, model,
         language, num_dropped, edited_at, replaced_at, replaced_by)
    values (p_old.meeting_id, p_old.version, p_old.overview, p_old.key_points, p_old.decisions, p_old.action_items,
            p_old.open_questions, p_old.topics, p_old.method, p_old.model, p_old.language, p_old.num_dropped,
            p_old.edited_at, pc_worker.now(), p_replaced_by)
    on conflict (meeting_id, version) do nothing;
    delete from public.meeting_summary_versions v
     where v.meeting_id = p_old.meeting_id and v.edited_at is not null
       and v.version < (select min(newest.version) from (
                            select k.version from public.meeting_summary_versions k
                             where k.meeting_id = p_old.meeting_id and k.edited_at is not null
                             order by k.version desc limit 50) newest);
end $$;

-- --- who writes by hand ---------------------------------------------------------------------------------------------

-- Whether every reader can read it: a list of objects {text, segments, start_s, owner, due}, all but text optional.
create function pc_worker.is_summary_list(p_list jsonb) returns boolean
language sql immutable security definer set search_path = ''
as $$
    select coalesce(case when jsonb_typeof(p_list) = 'array' then not exists (
        select from jsonb_array_elements(p_list) as listed (item)
         where case when jsonb_typeof(item) <> 'object' then true
                    else jsonb_typeof(item -> 'text') is distinct from 'string'
                         or item - '{text,segments,start_s,owner,due}'::text[] <> '{}'
                         or jsonb_typeof(item -> 'start_s') not in ('number', 'null')
                         or jsonb_typeof(item -> 'owner') not in ('string', 'null')
                         or jsonb_typeof(item -> 'due') not in ('string', 'null')
                         or jsonb_typeof(item -> 'segments') <> 'array'
                         or jsonb_path_exists(item, '$.segments[*] ? (@.type() != "number" || @ < 0 || @ != @.floor())')
               end) end, false)
$$;

create function pc_worker.are_summary_lists(p_summary jsonb) returns boolean
language sql immutable security definer set search_path = ''
as $$
    select bool_and(pc_worker.is_summary_list(p_summary -> name))
      from unnest('{key_points, decisions, action_items, open_questions, topics}'::text[]) name
$$;

-- What the people who read it see of a summary: whoever changes that corrects it.
create function pc_worker.summary_text(p_summary public.meeting_summaries) returns jsonb
language sql immutable security definer set search_path = ''
as $$
    select jsonb_build_object('overview', p_summary.overview, 'key_points', p_summary.key_points,
                              'decisions', p_summary.decisions, 'action_items', p_summary.action_items,
                              'open_questions', p_summary.open_questions, 'topics', p_summary.topics)
$$;

-- Functions only insert and delete summaries: every change of the text is somebody's correction.
create function pc_worker.summaries_before_update() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    if pc_worker.summary_text(new) = pc_worker.summary_text(old) then
        return new;
    end if;
    if exists (select from public.meetings where id = old.meeting_id and status in ('pending', 'processing')) then
        raise exception using errcode = 'P0001',
            message = 'This meeting is being transcribed again, so a correction made now would be lost.',
            hint = 'Wait until it is completed, or cancel it first.';
    end if;
    if not pc_worker.are_summary_lists(pc_worker.summary_text(new)) then
        raise exception using errcode = 'P0001',
            message = 'Each list of a summary holds objects with text, and perhaps segments, start_s, owner and due.';
    end if;
    perform pc_worker.keep_summary(old, pc_worker.who('table'));
    new.version := pc_worker.next_summary_version(old.meeting_id);
    new.edited_at := pc_worker.now();
    return new;
end $$;

-- What is inserted counts as written by hand, until replace_summary says that it was not.
create function pc_worker.summaries_before_insert() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    new.version := pc_worker.next_summary_version(new.meeting_id);
    new.edited_at := pc_worker.now();
    return new;
end $$;

create function pc_worker.summaries_before_delete() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    if exists (select from public.meetings where id = old.meeting_id) then  -- else it goes, with all that it was
        perform pc_worker.keep_summary(old, pc_worker.who('table'));
    end if;
    return old;
end $$;

create trigger summaries_before_update before update on public.meeting_summaries
    for each row execute function pc_worker.summaries_before_update();
create trigger summaries_before_insert before insert on public.meeting_summaries
    for each row execute function pc_worker.summaries_before_insert();
create trigger summaries_before_delete before delete on public.meeting_summaries
    for each row execute function pc_worker.summaries_before_delete();

-- --- who writes for people ------------------------------------------------------------------------------------------

-- The row that a summary becomes.
create function pc_worker.summary_row(p_meeting_id uuid, p_summary jsonb) returns public.meeting_summaries
language sql stable security definer set search_path = ''
as $$
    select jsonb_populate_record(null::public.meeting_summaries, jsonb_build_object(
        'meeting_id', p_meeting_id, 'version', pc_worker.next_summary_version(p_meeting_id),
        'overview', p_summary -> 'overview', 'key_points', p_summary -> 'key_points',
        'decisions', p_summary -> 'decisions', 'action_items', p_summary -> 'action_items',
        'open_questions', p_summary -> 'open_questions', 'topics', p_summary -> 'topics',
        'method', p_summary -> 'method', 'model', p_summary -> 'model', 'language', p_summary -> 'language',
        'num_dropped', coalesce(p_summary -> 'num_dropped', '0')))
$$;

-- The new summary of a meeting (or none, if p_summary is no object), with the one before as a version. A corrected one
-- stays, though, and the new one becomes the version: that comes to pass when somebody was quicker than a check.
create function pc_worker.replace_summary(p_meeting_id uuid, p_summary jsonb, p_by text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    before public.meeting_summaries;
    written constant public.meeting_summaries := pc_worker.summary_row(p_meeting_id, p_summary);
    is_object constant boolean := coalesce(jsonb_typeof(p_summary) = 'object', false);
begin
    select * into before from public.meeting_summaries where meeting_id = p_meeting_id for update;
    if before.edited_at is not null then
        if is_object then
            perform pc_worker.keep_summary(written, p_by);
            update public.meeting_summaries set version = written.version + 1 where meeting_id = p_meeting_id;
        end if;
        return;
    end if;
    if before.meeting_id is not null then
        perform pc_worker.keep_summary(before, p_by);
        delete from public.meeting_summaries where meeting_id = p_meeting_id;
    end if;
    if is_object then
        insert into public.meeting_summaries
            (meeting_id, overview, key_points, decisions, action_items, open_questions, topics, method, model, language,
             num_dropped)
        values (p_meeting_id, written.overview, written.key_points, written.decisions, written.action_items,
                written.open_questions, written.topics, written.method, written.model, written.language,
                written.num_dropped);
        update public.meeting_summaries set edited_at = null where meeting_id = p_meeting_id;
    end if;
end $$;

-- As in 0004, and what was there before is kept. `complete` calls it.
create or replace function pc_worker.write_summary(p_meeting_id uuid, p_summary jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    perform pc_worker.replace_summary(p_meeting_id, p_summary, coalesce(
        (select 'worker:' || worker_id from pc_worker.jobs where meeting_id = p_meeting_id), 'worker'));
end $$;

-- A corrected summary, kept as a version, may be replaced from now on.
create function pc_worker.release_summary(p_meeting_id uuid, p_by text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    corrected public.meeting_summaries;
begin
    select * into corrected from public.meeting_summaries
     where meeting_id = p_meeting_id and edited_at is not null for update;
    if found then
        perform pc_worker.keep_summary(corrected, p_by);
        update public.meeting_summaries set edited_at = null where meeting_id = p_meeting_id;
    end if;
end $$;

-- --- retry ----------------------------------------------------------------------------------------------------------

-- Why a meeting is not transcribed again just so; null when nobody corrected anything.
create function pc_worker.edits_sentence(p_meeting_id uuid) returns text
language plpgsql stable security definer set search_path = ''
as $$
declare
    num_edited constant bigint := pc_worker.num_edited(p_meeting_id);
begin
    if not exists (select from public.meeting_summaries where meeting_id = p_meeting_id and edited_at is not null) then
        return case when num_edited > 0 then pc_worker.edited_sentence(num_edited) end;
    end if;
    return case when num_edited > 0 then format('%s passages of this transcript and its summary were', num_edited)
                else 'The summary of this meeting was' end
           || ' corrected by hand and would be replaced. '
              'To transcribe again all the same, use the retry command with --replace-edits.';
end $$;

-- Who sets a meeting to pending that is over does it by hand: the worker's functions never do.
create function pc_worker.meetings_before_retry() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    refusal constant text := pc_worker.edits_sentence(old.id);
begin
    if refusal is not null then
        raise exception using errcode = 'P0001', message = refusal;
    end if;
    return new;
end $$;

create trigger meetings_before_retry before update on public.meetings for each row
    when (new.status = 'pending' and old.status in ('completed', 'failed', 'cancelled'))
    execute function pc_worker.meetings_before_retry();

-- As in 0006, and a corrected summary counts as well; the same questions get the same answers.
-- p_replace_edits: true to transcribe again although somebody corrected the result; corrections of the transcript are
-- lost, a corrected summary is kept as a version.
create or replace function public.meeting_retry_v1(p_meeting_id uuid, p_replace_edits jsonb default 'false') returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    was text;
    refusal text;
begin
    select status into was from public.meetings
     where id = p_meeting_id and pc_worker.may_change(user_id) for no key update;
    if was is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such meeting.');
    elsif was = 'pending' then
        return jsonb_build_object('outcome', 'already_done');
    elsif was = 'processing' then
        return jsonb_build_object('outcome', 'refused', 'message',
                                  'A worker is processing the meeting. Cancel it first to start it anew.');
    end if;
    refusal := pc_worker.edits_sentence(p_meeting_id);
    if refusal is not null and p_replace_edits is distinct from 'true' then
        return jsonb_build_object('outcome', 'refused', 'message', refusal);
    end if;
    update public.transcript_segments set edited_at = null where meeting_id = p_meeting_id and edited_at is not null;
    perform pc_worker.release_summary(p_meeting_id, pc_worker.who('table'));
    update public.meetings set status = 'pending' where id = p_meeting_id;
    return jsonb_build_object('outcome', 'pending');
end $$;

-- --- resummarize ----------------------------------------------------------------------------------------------------

-- The warnings of a meeting after its summary was written anew: those of the earlier try go.
create function pc_worker.with_summary_warnings(p_warnings jsonb, p_new jsonb) returns jsonb
language sql immutable security definer set search_path = ''
as $$
    select coalesce(jsonb_agg(listed.one order by listed.number), '[]') || coalesce(p_new, '[]')
      from jsonb_array_elements(p_warnings) with ordinality as listed (one, number)
     where listed.one ->> 'stage' is distinct from 'summarize' and coalesce(listed.one ->> 'code', '') !~ '^summar(y|ize)_'
$$;

-- A new summary of a completed meeting: overview, key_points, decisions, action_items, open_questions, topics, method,
-- model, language, num_dropped, warnings. p_replace_edits: true also when somebody corrected the one that is there.
-- p_completed_at: of the result that was summarized; its indexes mean nothing in another one.
create function public.meeting_summarize_v1(
    p_meeting_id uuid, p_summary jsonb, p_replace_edits jsonb default 'false', p_completed_at text default null)
returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    was text;
    was_completed_at timestamptz;
    present public.meeting_summaries;
    wanted public.meeting_summaries;
begin
    if jsonb_typeof(p_summary -> 'overview') is distinct from 'string' or p_summary ->> 'method' is null
       or not pc_worker.are_summary_lists(p_summary) then
        raise exception using errcode = '22023', message = 'That is no summary; nothing was written.';
    end if;
    select status, completed_at into was, was_completed_at from public.meetings
     where id = p_meeting_id and pc_worker.may_change(user_id) for no key update;
    if was is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such meeting.');
    elsif was <> 'completed' then
        return jsonb_build_object('outcome', 'refused', 'message',
            format('The meeting is %s. Only a completed meeting can be summarized anew.', was));
    elsif was_completed_at is distinct from coalesce(p_completed_at::timestamptz, was_completed_at) then
        return jsonb_build_object('outcome', 'refused', 'message',
            'The meeting was transcribed again meanwhile, and has a summary of that. Try again if it should be another.');
    end if;
    select * into present from public.meeting_summaries where meeting_id = p_meeting_id;
    if present.edited_at is not null and p_replace_edits is distinct from 'true' then
        return jsonb_build_object('outcome', 'refused', 'message',
            'The summary was corrected by hand. To replace it all the same, use resummarize with --replace-edits.');
    end if;
    update public.meetings set warnings = pc_worker.with_summary_warnings(warnings, p_summary -> 'warnings')
     where id = p_meeting_id
       and warnings is distinct from pc_worker.with_summary_warnings(warnings, p_summary -> 'warnings');
    wanted := pc_worker.summary_row(p_meeting_id, p_summary);
    if present.edited_at is null and pc_worker.summary_text(present) = pc_worker.summary_text(wanted)
       and (present.method, present.model, present.language) is not distinct from
           (wanted.method, wanted.model, wanted.language) then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    perform pc_worker.release_summary(p_meeting_id, 'resummarize');
    perform pc_worker.replace_summary(p_meeting_id, p_summary, 'resummarize');
    return jsonb_build_object('outcome', 'done');
end $$;

-- Completed meetings that somebody spoke in and no language model has summarized, oldest first, after p_after in that
-- order; corrected ones only with p_with_edited.
create function public.summary_backlog_v1(p_limit bigint, p_with_edited jsonb default 'false', p_after uuid default null)
returns jsonb
language sql stable security definer set search_path = ''
as $$
    select jsonb_build_object('outcome', 'ok', 'meetings',
                              coalesce(jsonb_agg(found.id order by found.created_at, found.id), '[]'))
      from (select m.id, m.created_at
              from public.meetings m left join public.meeting_summaries y on y.meeting_id = m.id
             where m.status = 'completed' and y.method is distinct from 'llm'
               and (y.edited_at is null or p_with_edited = 'true')
               and (p_after is null
                    or (m.created_at, m.id) > (select a.created_at, a.id from public.meetings a where a.id = p_after))
               and exists (select from public.transcript_segments s where s.meeting_id = m.id)
             order by m.created_at, m.id limit p_limit) found
$$;

-- --- closed, then opened --------------------------------------------------------------------------------------------

do $$
declare
    for_people constant text := 'function public.meeting_summarize_v1(uuid, jsonb, jsonb, text),
        public.summary_backlog_v1(bigint, jsonb, uuid)';
begin
    perform pc_worker.close_to_all('table public.meeting_summary_versions');
    alter table public.meeting_summary_versions enable row level security;
    perform pc_worker.close_to_all(for_people);
    perform pc_worker.close_to_all('function pc_worker.who(text), pc_worker.next_summary_version(uuid),
        pc_worker.keep_summary(public.meeting_summaries, text), pc_worker.is_summary_list(jsonb),
        pc_worker.are_summary_lists(jsonb), pc_worker.summary_text(public.meeting_summaries),
        pc_worker.summaries_before_update(), pc_worker.summaries_before_insert(), pc_worker.summaries_before_delete(),
        pc_worker.summary_row(uuid, jsonb),
        pc_worker.replace_summary(uuid, jsonb, text), pc_worker.release_summary(uuid, text),
        pc_worker.edits_sentence(uuid), pc_worker.meetings_before_retry(),
        pc_worker.with_summary_warnings(jsonb, jsonb)');
    perform pc_worker.open_to('service_role', 'execute on ' || for_people);
    perform pc_worker.open_to('service_role', 'select on public.meeting_summary_versions');
    perform pc_worker.open_to('authenticated', 'select on public.meeting_summary_versions');
    perform pc_worker.open_to('authenticated', 'update (text, speaker_label) on public.transcript_segments');
    perform pc_worker.open_to('authenticated', 'update (overview, key_points, decisions, action_items, open_questions,
        topics) on public.meeting_summaries');
end $$;

-- As in 0006 and 0012: permissive policies say whose rows, restrictive ones hold whatever else the project has.
do $$
begin
    if to_regprocedure('auth.uid()') is null
       or not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    create policy pc_worker_select_own on public.meeting_summary_versions for select to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())));

    -- corrections: of one's own meetings, of no absurd size, and to a voice that the meeting has
    create policy pc_worker_update_own on public.transcript_segments for update to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())));
    create policy pc_worker_update_limits on public.transcript_segments as restrictive for update to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())))
        with check (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid()))
                    and octet_length(text) <= 65536
                    and (speaker_label is null or exists (
                        select from public.meeting_speakers ms
                         where ms.meeting_id = transcript_segments.meeting_id
                           and ms.label = transcript_segments.speaker_label)));
    create policy pc_worker_update_own on public.meeting_summaries for update to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())));
    create policy pc_worker_update_limits on public.meeting_summaries as restrictive for update to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())))
        with check (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid()))
                    and octet_length(overview) <= 65536
                    and octet_length(concat(key_points, decisions, action_items, open_questions, topics)) <= 262144);
end $$;

notify pgrst, 'reload schema';
