-- Who may do what: everything is closed first, then opened one by one.
--
-- The roles and schemas of Supabase are named only where they exist. On any other Postgres this file closes the tables
-- and functions to all but their owner, as whom an embedded or local installation works.

-- On Supabase each CREATE POLICY locks the tables of Auth and Storage until the end of the transaction (supautils): that
-- is why policies come last, and why nothing here waits for long. After a timeout nothing has changed: migrate again.
set local lock_timeout = '30s';

-- --- tools, also for later migrations -------------------------------------------------------------------------------

-- A new function is open to everybody, and Supabase's default privileges open new tables, views, sequences and
-- functions to its API roles by name: every migration closes what it makes, then opens it one by one.
-- p_objects: what stands between ON and FROM, such as `function public.worker_schema_v1(jsonb)`.
create function pc_worker.close_to_all(p_objects text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    somebody text;
begin
    execute format('revoke all on %s from public', p_objects);
    for somebody in select rolname from pg_catalog.pg_roles
                     where rolname in ('anon', 'authenticated', 'service_role', 'meeting_worker')
    loop
        execute format('revoke all on %s from %I', p_objects, somebody);
    end loop;
end $$;

-- p_rights: what stands between GRANT and TO. Nothing happens where there is no such role.
create function pc_worker.open_to(p_role text, p_rights text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
    if exists (select from pg_catalog.pg_roles where rolname = p_role) then
        execute format('grant %s to %I', p_rights, p_role);
    end if;
end $$;

-- --- the role of a lab PC -------------------------------------------------------------------------------------------

-- Roles belong to the whole server: another database may have made it already.
do $$
declare
    worker pg_catalog.pg_roles;
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticator') then
        return;  -- there is no PostgREST to log in as it
    end if;
    select * into worker from pg_catalog.pg_roles where rolname = 'meeting_worker';
    if not found then
        create role meeting_worker nologin noinherit;
    elsif worker.rolsuper or worker.rolbypassrls or worker.rolreplication
          or exists (select from pg_catalog.pg_auth_members where member = worker.oid) then
        raise exception using errcode = 'P0001',
            message = 'There is a role meeting_worker already, and it may do more than a worker needs.',
            hint = 'Rename that role or drop it; then migrate again.';
    elsif worker.rolcanlogin or worker.rolinherit or worker.rolcreaterole or worker.rolcreatedb then
        alter role meeting_worker nologin noinherit nocreaterole nocreatedb;
    end if;
    if not exists (select from pg_catalog.pg_db_role_setting s
                    where s.setrole = (select oid from pg_catalog.pg_roles where rolname = 'meeting_worker')
                      and s.setdatabase = 0 and 'statement_timeout=8s' = any (s.setconfig)) then
        alter role meeting_worker set statement_timeout = '8s';
    end if;
    if not pg_catalog.pg_has_role('authenticator', 'meeting_worker', 'member') then
        grant meeting_worker to authenticator;
    end if;
end $$;

-- --- functions ------------------------------------------------------------------------------------------------------

-- One rule in three places: the policy on meetings, the policy on the bucket, and again at claim.
-- No segment may be empty, `.` or `..`; `%` would be read as an escape when the path becomes a URL, `\` as a slash.
create or replace function pc_worker.is_path_refused(p_user_id uuid, p_audio_path text) returns boolean
language sql immutable set search_path = ''
as $$
    select p_user_id is not null and p_audio_path is not null
       and (not starts_with(p_audio_path, p_user_id::text || '/')
            or p_audio_path ~ '(^|/)\.{0,2}(/|$)'
            or p_audio_path ~ '[\\%[:cntrl:]]')
$$;

-- Whether the caller may change a meeting of this user. A signed-in user: his or her own ones; the service role and
-- whoever has the rights of the tables' owner: all; anybody else: none.
-- Within `security definer` current_user is the owner, but `role` still is what the connection was switched to. Only
-- who may switch roles can forge it; the claims, which PostgREST sets beside it, merely say which user it is.
create function pc_worker.may_change(p_user_id uuid) returns boolean
language plpgsql stable security definer set search_path = ''
as $$
declare
    caller text := coalesce(nullif(current_setting('role', true), 'none'), session_user);
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '');
begin
    if caller = 'authenticated' then
        return coalesce(claims ->> 'sub' = p_user_id::text, false);
    end if;
    return caller = 'service_role' or pg_catalog.pg_has_role(caller, current_user, 'member');
end $$;

-- As in 0005, and a meeting that the caller may not change is answered, and waited for, like one that is not there.
create or replace function public.meeting_cancel_v1(p_meeting_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    was text;
begin
    select status into was from public.meetings
     where id = p_meeting_id and pc_worker.may_change(user_id) for no key update;
    if was is null then
        return jsonb_build_object('outcome', 'gone', 'message', 'There is no such meeting.');
    elsif was = 'cancelled' then
        return jsonb_build_object('outcome', 'already_done');
    elsif was in ('completed', 'failed') then
        return jsonb_build_object('outcome', 'refused', 'message', format('The meeting is %s already.', was));
    end if;
    update public.meetings set status = 'cancelled' where id = p_meeting_id;
    return jsonb_build_object('outcome', 'cancelled');
end $$;

-- p_replace_edits: true to transcribe again although somebody corrected the transcript; the corrections are lost.
create or replace function public.meeting_retry_v1(p_meeting_id uuid, p_replace_edits jsonb default 'false') returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
    was text;
    num_edited bigint;
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
    num_edited := pc_worker.num_edited(p_meeting_id);
    if num_edited > 0 and p_replace_edits is distinct from 'true' then
        return jsonb_build_object('outcome', 'refused', 'message', pc_worker.edited_sentence(num_edited));
    end if;
    update public.transcript_segments set edited_at = null where meeting_id = p_meeting_id and edited_at is not null;
    update public.meetings set status = 'pending' where id = p_meeting_id;
    return jsonb_build_object('outcome', 'pending');
end $$;

-- p_known: the names of the migrations that the caller knows. For whoever may not read pc_worker.
create function public.worker_schema_v1(p_known jsonb) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
    difference text := pc_worker.schema_difference(coalesce(p_known, '[]'));
begin
    if difference is not null then
        return jsonb_build_object('outcome', 'schema', 'message', difference);
    end if;
    return jsonb_build_object('outcome', 'ok');
end $$;

-- --- closed ---------------------------------------------------------------------------------------------------------

do $$
declare
    ours regclass[] := '{public.meetings, public.speakers, public.transcript_segments, public.meeting_speakers,
                         public.speaker_embeddings, public.meeting_summaries}';
    found record;
begin
    perform pc_worker.close_to_all('schema pc_worker');
    perform pc_worker.close_to_all('all tables in schema pc_worker');
    perform pc_worker.close_to_all('all sequences in schema pc_worker');
    perform pc_worker.close_to_all('all functions in schema pc_worker');
    for found in
        select format('%I.%I', n.nspname, c.relname) as name, c.relkind
          from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and (c.oid = any (ours) or c.relnamespace = 'pc_worker'::regnamespace)
            or c.relkind = 'S' and exists (select from pg_catalog.pg_depend d  -- what feeds a column of ours
                                            where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
                                              and d.refobjid = any (ours) and d.deptype in ('a', 'i'))
    loop
        perform pc_worker.close_to_all(case found.relkind when 'S' then 'sequence ' else 'table ' end || found.name);
        if found.relkind = 'r' then
            execute format('alter table %s enable row level security', found.name);
        end if;
    end loop;
    for found in
        select format('public.%I(%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) as name
          from pg_catalog.pg_proc p
         where p.pronamespace = 'public'::regnamespace
           and p.proname in (
               'worker_register_v1', 'worker_claim_v1', 'worker_heartbeat_v1', 'worker_complete_v1', 'worker_fail_v1',
               'worker_release_v1', 'worker_speakers_v1', 'worker_drain_v1', 'worker_status_v1', 'worker_schema_v1',
               'meeting_cancel_v1', 'meeting_retry_v1')
    loop
        perform pc_worker.close_to_all('function ' || found.name);
    end loop;
end $$;

-- --- open: a lab PC, and the service key ----------------------------------------------------------------------------

do $$
declare
    worker_functions constant text := 'execute on function
        public.worker_register_v1(text, uuid, jsonb), public.worker_claim_v1(text, uuid, uuid, double precision),
        public.worker_heartbeat_v1(text, uuid, jsonb), public.worker_complete_v1(uuid, bigint, jsonb),
        public.worker_fail_v1(uuid, bigint, jsonb), public.worker_release_v1(uuid, bigint),
        public.worker_speakers_v1(uuid, bigint), public.worker_drain_v1(text, jsonb), public.worker_status_v1(),
        public.worker_schema_v1(jsonb)';
begin
    perform pc_worker.open_to('meeting_worker', 'usage on schema public');
    perform pc_worker.open_to('meeting_worker', worker_functions);
    perform pc_worker.open_to('service_role', worker_functions);
    perform pc_worker.open_to('service_role',
        'execute on function public.meeting_cancel_v1(uuid), public.meeting_retry_v1(uuid, jsonb)');
    perform pc_worker.open_to('service_role', 'select, insert, update, delete on public.meetings, public.speakers,
        public.transcript_segments, public.meeting_speakers, public.speaker_embeddings, public.meeting_summaries');
end $$;

-- --- open: signed-in users ------------------------------------------------------------------------------------------

-- speaker_embeddings stay closed: no dashboard needs voiceprints. No deletes, no edits of results.
do $$
begin
    perform pc_worker.open_to('authenticated', 'select on public.meetings, public.speakers,
        public.transcript_segments, public.meeting_speakers, public.meeting_summaries');
    perform pc_worker.open_to('authenticated', 'insert (id, user_id, title, audio_path, audio_url, language,
        min_speakers, max_speakers, prompt, hotwords, priority, status) on public.meetings');
    perform pc_worker.open_to('authenticated', 'update (title, status) on public.meetings');
    perform pc_worker.open_to('authenticated', 'update (name) on public.speakers');
    perform pc_worker.open_to('authenticated',
        'execute on function public.meeting_cancel_v1(uuid), public.meeting_retry_v1(uuid, jsonb)');
    -- policies call it as the user; without usage on pc_worker nobody can call it by name
    perform pc_worker.open_to('authenticated', 'execute on function pc_worker.is_path_refused(uuid, text)');
end $$;

create index if not exists meetings_owner on public.meetings (user_id);

-- A user who is deleted takes meetings and voices along: `set null` would hand private meetings to the lab.
-- Rows of an adopted table may name users who are gone: then the constraint holds for new rows only. A column that
-- refers to something already keeps that reference.
do $$
declare
    ours regclass;
begin
    if to_regclass('auth.users') is null or to_regprocedure('auth.uid()') is null then
        return;
    end if;
    foreach ours in array '{public.meetings, public.speakers}'::regclass[] loop
        continue when exists (
            select from pg_catalog.pg_constraint c
              join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
             where c.conrelid = ours and c.contype = 'f' and a.attname = 'user_id');
        execute format('alter table %s add constraint %I foreign key (user_id) references auth.users (id)
                        on delete cascade not valid', ours, replace(ours::text, 'public.', '') || '_user_exists');
        begin
            execute format('alter table %s validate constraint %I', ours,
                           replace(ours::text, 'public.', '') || '_user_exists');
        exception when foreign_key_violation then
            raise notice 'Some rows of % belong to users who do not exist any more; they stay as they are.', ours;
        end;
    end loop;
    if not exists (select from pg_catalog.pg_attribute
                    where attrelid = 'public.meetings'::regclass and attname = 'user_id' and atthasdef) then
        alter table public.meetings alter column user_id set default auth.uid();  -- null but for a signed-in user
    end if;
end $$;

-- A permissive policy says whose rows; a restrictive one holds even if the project has, or gets, a wider one of its own.
-- Our names begin with pc_worker, so that they meet no others.
do $$
begin
    if to_regprocedure('auth.uid()') is null
       or not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    create policy pc_worker_select_own on public.meetings for select to authenticated
        using (user_id = (select auth.uid()));
    create policy pc_worker_insert_own on public.meetings for insert to authenticated
        with check (user_id = (select auth.uid()));
    create policy pc_worker_update_own on public.meetings for update to authenticated
        using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
    create policy pc_worker_insert_limits on public.meetings as restrictive for insert to authenticated
        with check (user_id = (select auth.uid()) and status = 'pending' and priority <= 0
                    and not coalesce(pc_worker.is_path_refused(user_id, audio_path), false)
                    and coalesce(audio_url ~* '^https://', true)
                    -- a claim carries all of it
                    and octet_length(concat(title, audio_path, audio_url, language, prompt, hotwords)) <= 65536);
    create policy pc_worker_update_limits on public.meetings as restrictive for update to authenticated
        using (user_id = (select auth.uid()))
        with check (user_id = (select auth.uid()) and coalesce(octet_length(title), 0) <= 65536);

    create policy pc_worker_select_own on public.transcript_segments for select to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())));
    create policy pc_worker_select_own on public.meeting_speakers for select to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())));
    create policy pc_worker_select_own on public.meeting_summaries for select to authenticated
        using (meeting_id in (select m.id from public.meetings m where m.user_id = (select auth.uid())));

    create policy pc_worker_select_own on public.speakers for select to authenticated
        using (user_id = (select auth.uid()));
    create policy pc_worker_update_own on public.speakers for update to authenticated
        using (user_id = (select auth.uid()))
        with check (user_id = (select auth.uid()) and coalesce(octet_length(name), 0) <= 1024);
    create policy pc_worker_update_limits on public.speakers as restrictive for update to authenticated
        using (user_id = (select auth.uid()))
        with check (user_id = (select auth.uid()) and coalesce(octet_length(name), 0) <= 1024);
end $$;

-- --- open: the bucket -----------------------------------------------------------------------------------------------

-- Signed-in users upload and download in the folder that has their id for a name; they replace and delete nothing.
-- The worker only reads. The service role may do everything, as in every bucket.
do $$
begin
    if to_regclass('storage.objects') is null or to_regclass('storage.buckets') is null then
        return;
    end if;
    insert into storage.buckets (id, name, public) values ('meeting-audio', 'meeting-audio', false)
        on conflict do nothing;
    update storage.buckets set public = false where id = 'meeting-audio' and public is distinct from false;
    if found then
        raise warning 'The bucket meeting-audio was open to everybody who knew a path; it is private now.';
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = 'meeting_worker') then
        perform pc_worker.open_to('meeting_worker', 'usage on schema storage');
        perform pc_worker.open_to('meeting_worker', 'select on storage.objects, storage.buckets');
        drop policy if exists pc_worker_audio_bucket on storage.buckets;
        create policy pc_worker_audio_bucket on storage.buckets for select to meeting_worker
            using (id = 'meeting-audio');
        drop policy if exists pc_worker_audio_worker_select on storage.objects;
        create policy pc_worker_audio_worker_select on storage.objects for select to meeting_worker
            using (bucket_id = 'meeting-audio');
    end if;
    if to_regprocedure('auth.uid()') is null
       or not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    drop policy if exists pc_worker_audio_select_own on storage.objects;
    create policy pc_worker_audio_select_own on storage.objects for select to authenticated
        using (bucket_id = 'meeting-audio' and (storage.foldername(name))[1] = (select auth.uid())::text);
    drop policy if exists pc_worker_audio_insert_own on storage.objects;
    create policy pc_worker_audio_insert_own on storage.objects for insert to authenticated
        with check (bucket_id = 'meeting-audio' and (storage.foldername(name))[1] = (select auth.uid())::text
                    and not pc_worker.is_path_refused((select auth.uid()), name));
    -- whatever other policies the project has for its buckets, they open nobody else's folder of this one
    drop policy if exists pc_worker_audio_limits on storage.objects;
    create policy pc_worker_audio_limits on storage.objects as restrictive for all to anon, authenticated
        using (bucket_id <> 'meeting-audio' or (storage.foldername(name))[1] = (select auth.uid())::text);
end $$;

-- --- open: realtime -------------------------------------------------------------------------------------------------

-- Dashboards may subscribe to meetings; Realtime applies the policies above to each subscriber.
do $$
begin
    if exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime' and not puballtables)
       and not exists (select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime'
                          and schemaname = 'public' and tablename = 'meetings') then
        alter publication supabase_realtime add table public.meetings;
    end if;
end $$;

-- PostgREST learns of the new functions and of the new role's time limit
notify pgrst, 'reload schema';
notify pgrst, 'reload config';
