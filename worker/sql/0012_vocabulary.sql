-- Names and terms that may occur: a user's for his or her own meetings, the lab's (without an owner) for everybody's.

set local lock_timeout = '30s';

do $$
begin
    if to_regclass('public.vocabulary') is not null then
        raise exception using errcode = 'P0001',
            message = 'There is a public.vocabulary already, and the worker needs that name for a table of its own.',
            hint = 'Rename yours, for example to vocabulary_old; then migrate again.';
    end if;
end $$;

create table public.vocabulary (
    id              uuid primary key default gen_random_uuid(),
    user_id         uuid,
    word            text not null,
    created_at      timestamptz not null default clock_timestamp(),
    constraint vocabulary_word_length check (char_length(word) between 1 and 60),
    constraint vocabulary_word_is_one check (word = btrim(word) and word !~ '[,;[:cntrl:]]')
);

create unique index vocabulary_word_once on public.vocabulary (user_id, lower(word)) nulls not distinct;

comment on column public.vocabulary.user_id is 'Null: the lab''s, for everybody''s meetings.';
comment on column public.vocabulary.word is 'A name or a term, of several words if need be.';

-- --- rules ----------------------------------------------------------------------------------------------------------

-- White space is tidied; what the checks would refuse is refused with a sentence.
create function pc_worker.vocabulary_before_write() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    new.word := btrim(regexp_replace(new.word, '\s+', ' ', 'g'));
    if char_length(new.word) not between 1 and 60 or new.word ~ '[,;[:cntrl:]]' then
        raise exception using errcode = 'P0001',
            message = 'A word of the vocabulary has 1 to 60 characters, and no comma, semicolon or control character.';
    end if;
    return new;
end $$;

create trigger vocabulary_before_write before insert or update of word on public.vocabulary
    for each row execute function pc_worker.vocabulary_before_write();

-- Every meeting of the owner is transcribed with these words, those of the lab with every meeting. Two who add at the
-- same time are counted one after the other.
create function pc_worker.vocabulary_after_insert() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    owner uuid;
begin
    for owner in select distinct a.user_id from added a order by 1 loop
        perform pg_advisory_xact_lock(hashtextextended('pc_worker.vocabulary ' || coalesce(owner::text, 'lab'), 0));
        if (select count(*) from public.vocabulary v where v.user_id is not distinct from owner) > 500 then
            raise exception using errcode = 'P0001',
                message = 'A vocabulary has at most 500 words. Remove some that are no longer needed.';
        end if;
    end loop;
    return null;
end $$;

create trigger vocabulary_after_insert after insert on public.vocabulary referencing new table as added
    for each statement execute function pc_worker.vocabulary_after_insert();

-- --- functions ------------------------------------------------------------------------------------------------------

-- The words for the meeting that the caller works on: those of its owner, then those of the lab, the oldest first.
create function public.worker_vocabulary_v1(p_meeting_id uuid, p_token bigint) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
    owner uuid;
begin
    if not exists (select from pc_worker.jobs where meeting_id = p_meeting_id and token = p_token) then
        return jsonb_build_object('outcome', pc_worker.why_not(p_meeting_id, p_token, '{}'));
    end if;
    select user_id into owner from public.meetings where id = p_meeting_id;
    return jsonb_build_object('outcome', 'ok', 'words', (
        select coalesce(jsonb_agg(v.word order by v.user_id is null, v.created_at, v.id), '[]')
          from public.vocabulary v
         where v.user_id is null or v.user_id = owner));
end $$;

-- For administrators; a dashboard uses the table. p_user_id: null for the lab's words. `security invoker`: who calls
-- them sees and changes what the policies let that role.

create function public.vocabulary_list_v1(p_user_id uuid default null) returns jsonb
language sql stable security invoker set search_path = ''
as $$
    select jsonb_build_object('outcome', 'ok', 'words', coalesce(jsonb_agg(v.word order by v.created_at, v.id), '[]'))
      from public.vocabulary v where v.user_id is not distinct from p_user_id
$$;

-- Those that are there already stay as they are. Answers with the words that are new.
create function public.vocabulary_add_v1(p_words jsonb, p_user_id uuid default null) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
    with added as (
        insert into public.vocabulary (user_id, word)
        select p_user_id, w.word from jsonb_array_elements_text(p_words) with ordinality as w (word, number)
         order by w.number
        on conflict do nothing
        returning word, created_at)
    select jsonb_build_object('outcome', 'ok', 'words', coalesce(jsonb_agg(added.word order by added.created_at), '[]'))
      from added
$$;

-- Upper and lower case are the same here. Answers with the words that were there.
create function public.vocabulary_remove_v1(p_words jsonb, p_user_id uuid default null) returns jsonb
language sql volatile security invoker set search_path = ''
as $$
    with removed as (
        delete from public.vocabulary v
         where v.user_id is not distinct from p_user_id
           and lower(v.word) in (select lower(btrim(regexp_replace(w.word, '\s+', ' ', 'g')))
                                   from jsonb_array_elements_text(p_words) as w (word))
        returning v.word, v.created_at)
    select jsonb_build_object('outcome', 'ok', 'words', coalesce(jsonb_agg(removed.word order by removed.created_at), '[]'))
      from removed
$$;

-- --- closed, then opened --------------------------------------------------------------------------------------------

do $$
declare
    for_people constant text := 'function public.vocabulary_list_v1(uuid), public.vocabulary_add_v1(jsonb, uuid),
                                 public.vocabulary_remove_v1(jsonb, uuid)';
    for_workers constant text := 'function public.worker_vocabulary_v1(uuid, bigint)';
begin
    perform pc_worker.close_to_all('table public.vocabulary');
    alter table public.vocabulary enable row level security;
    perform pc_worker.close_to_all(for_people);
    perform pc_worker.close_to_all(for_workers);
    perform pc_worker.close_to_all('function pc_worker.vocabulary_before_write(), pc_worker.vocabulary_after_insert()');
    perform pc_worker.open_to('meeting_worker', 'execute on ' || for_workers);
    perform pc_worker.open_to('service_role', 'execute on ' || for_workers);
    perform pc_worker.open_to('service_role', 'execute on ' || for_people);
    perform pc_worker.open_to('service_role', 'select, insert, update, delete on public.vocabulary');
    perform pc_worker.open_to('authenticated', 'select, delete on public.vocabulary');
    perform pc_worker.open_to('authenticated', 'insert (id, user_id, word), update (word) on public.vocabulary');
end $$;

-- As in 0006: a user who is deleted takes the words along, and a user's row is the user's if it does not say whose.
-- The restrictive policies hold even if the project gets wider ones of its own.
do $$
begin
    if to_regclass('auth.users') is null or to_regprocedure('auth.uid()') is null then
        return;
    end if;
    alter table public.vocabulary add constraint vocabulary_user_exists
        foreign key (user_id) references auth.users (id) on delete cascade;
    alter table public.vocabulary alter column user_id set default auth.uid();
    if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
        return;
    end if;
    create policy pc_worker_select_own_and_lab on public.vocabulary for select to authenticated
        using ((select auth.uid()) is not null and (user_id is null or user_id = (select auth.uid())));
    create policy pc_worker_insert_own on public.vocabulary for insert to authenticated
        with check (user_id = (select auth.uid()));
    create policy pc_worker_update_own on public.vocabulary for update to authenticated
        using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
    create policy pc_worker_delete_own on public.vocabulary for delete to authenticated
        using (user_id = (select auth.uid()));
    create policy pc_worker_insert_limits on public.vocabulary as restrictive for insert to authenticated
        with check (user_id = (select auth.uid()));
    create policy pc_worker_update_limits on public.vocabulary as restrictive for update to authenticated
        using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
    create policy pc_worker_delete_limits on public.vocabulary as restrictive for delete to authenticated
        using (user_id = (select auth.uid()));
end $$;

notify pgrst, 'reload schema';
