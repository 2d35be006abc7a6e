-- What summaries should be like: a user's word for his or her own meetings, the lab's (without an owner) for the others.

set local lock_timeout = '30s';

do $$
begin
    if to_regclass('public.summary_guidance') is not null then
        raise exception using errcode = 'P0001',
            message = 'There is a public.summary_guidance already, and the worker needs that name for a table of its own.',
            hint = 'Rename yours, for example to summary_guidance_old; then migrate again.';
    end if;
end $$;

create table public.summary_guidance (
    id              uuid primary key default gen_random_uuid(),
    user_id         uuid,
    text            text not null,
    updated_at      timestamptz not null default clock_timestamp(),
    constraint summary_guidance_text_length check (char_length(text) between 1 and 4000)
);

create unique index summary_guidance_once on public.summary_guidance (user_id) nulls not distinct;

comment on table public.summary_guidance is 'What summaries should be like, for whoever writes them.';
comment on column public.summary_guidance.user_id is 'Null: for all meetings whose owner has none.';

-- --- rules ----------------------------------------------------------------------------------------------------------

create function pc_worker.guidance_before_write() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    new.text := btrim(regexp_replace(new.text, '[\x01-\x08\x0b-\x1f\x7f]', '', 'g'), E' \t\n');
    if coalesce(char_length(new.text), 0) not between 1 and 4000 then
        raise exception using errcode = 'P0001', message = 'Guidance for summaries has 1 to 4000 characters.';
    end if;
    new.updated_at := pc_worker.now();
    return new;
end $$;

create trigger guidance_before_write before insert or update on public.summary_guidance
    for each row execute function pc_worker.guidance_before_write();

-- For the meeting that the caller works on: its owner's, else the lab's.
create function public.worker_guidance_v1(p_meeting_id uuid, p_token bigint) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
    owner uuid;
begin
    if not exists (select from pc_worker.jobs where meeting_id = p_meeting_id and token = p_token) then
        return jsonb_build_object('outcome', pc_worker.why_not(p_meeting_id, p_token, '{}'));
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    return jsonb_build_object('outcome', 'ok', 'text', (
        select g.text from public.summary_guidance g where g.user_id is null or g.user_id = owner
         order by g.user_id is null limit 1));
end $$;

-- For administrators; a dashboard uses the table. p_user_id: null for the lab's.
create function public.guidance_get_v1(p_user_id uuid default null) returns jsonb
language sql stable security invoker set search_path = ''
as $$
    select jsonb_build_object('outcome', 'ok', 'text', (
        select g.text from public.summary_guidance g where g.user_id is not distinct from p_user_id))
$$;

-- p_text: an empty one takes the guidance away.
create function public.guidance_set_v1(p_text text, p_user_id uuid default null) returns jsonb
language plpgsql security invoker set search_path = ''
as $$
declare
    num_changed bigint;
begin
    if coalesce(btrim(p_text, E' \t\r\n'), '') = '' then
        delete from public.summary_guidance g where g.user_id is not distinct from p_user_id;
    elsif char_length(p_text) > 4000 then
        return jsonb_build_object('outcome', 'refused', 'message', 'Guidance for summaries has 1 to 4000 characters.');
    else
        insert into public.summary_guidance as g (user_id, text) values (p_user_id, p_text)
        on conflict (user_id) do update set text = excluded.text where g.text is distinct from excluded.text;
    end if;
    get diagnostics num_changed = row_count;
    return jsonb_build_object('outcome', case num_changed when 0 then 'already_done' else 'done' end);
exception when foreign_key_violation then
    return jsonb_build_object('outcome', 'refused', 'message', 'There is no such user.');
end $$;

-- --- closed, then opened --------------------------------------------------------------------------------------------

do $$
declare
    for_people constant text := 'function public.guidance_get_v1(uuid), public.guidance_set_v1(text, uuid)';
    for_workers constant text := 'function public.worker_guidance_v1(uuid, bigint)';
begin
    perform pc_worker.close_to_all('table public.summary_guidance');
    alter table public.summary_guidance enable row level security;
    perform pc_worker.close_to_all(for_people);
    perform pc_worker.close_to_all(for_workers);
    perform pc_worker.close_to_all('function pc_worker.guidance_before_write()');
    perform pc_worker.open_to('meeting_worker', 'execute on ' || for_workers);
    perform pc_worker.open_to('service_role', 'execute on ' || for_workers);
    perform pc_worker.open_to('service_role', 'execute on ' || for_people);
    perform pc_worker.open_to('service_role', 'select, insert, update, delete on public.summary_guidance');
    perform pc_worker.open_to('authenticated', 'select, delete on public.summary_guidance');
    perform pc_worker.open_to('authenticated', 'insert (id, user_id, text), update (text) on public.summary_guidance');
end $$;

-- As in 0012.
do $$
begin
    if to_regclass('auth.users') is null or to_regprocedure('auth.uid()') is null then
        return;
    end if;
    alter table public.summary_guidance add constraint summary_guidance_user_exists
        foreign key (user_id) references auth.users (id) on delete cascade;
    alter table public.summary_guidance alter column user_id set default auth.uid();
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    create policy pc_worker_select_own_and_lab on public.summary_guidance for select to authenticated
        using ((select auth.uid()) is not null and (user_id is null or user_id = (select auth.uid())));
    create policy pc_worker_insert_own on public.summary_guidance for insert to authenticated
        with check (user_id = (select auth.uid()));
    create policy pc_worker_update_own on public.summary_guidance for update to authenticated
        using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
    create policy pc_worker_delete_own on public.summary_guidance for delete to authenticated
        using (user_id = (select auth.uid()));
    create policy pc_worker_insert_limits on public.summary_guidance as restrictive for insert to authenticated
        with check (user_id = (select auth.uid()));
    create policy pc_worker_update_limits on public.summary_guidance as restrictive for update to authenticated
        using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
    create policy pc_worker_delete_limits on public.summary_guidance as restrictive for delete to authenticated
        using (user_id = (select auth.uid()));
end $$;

notify pgrst, 'reload schema';
