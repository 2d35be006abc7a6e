-- Whether each of the two channels of a recording is one person's: people may say so, else the sound decides.

set local lock_timeout = '30s';

-- An adopted table may have a column of that name, which is ours only if it could have been.
do $$
begin
    if exists (select from pg_catalog.pg_attribute
                where attrelid = 'public.meetings'::regclass and attname = 'channels' and not attisdropped
                  and atttypid <> 'text'::regtype) then
        raise exception using errcode = 'P0001',
            message = 'public.meetings has a column channels already, and the worker needs that name for one of type text.',
            hint = 'Rename yours: alter table public.meetings rename column channels to channels_old; then migrate again.';
    end if;
end $$;

alter table public.meetings add column if not exists channels text;

do $$
begin
    alter table public.meetings add constraint meetings_channels_kind check (channels in ('separate', 'mixed'));
exception when check_violation then
    raise exception using errcode = 'P0001',
        message = 'public.meetings has a column channels already, with other words than separate and mixed in it.',
        hint = 'Rename yours: alter table public.meetings rename column channels to channels_old; then migrate again.';
end $$;

comment on column public.meetings.channels is
    'separate: each of the two channels is one person''s; mixed: they are not; null: as it sounds.';

-- What the check would refuse is refused with a sentence.
create function pc_worker.channels_before_write() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
    new.channels := nullif(lower(btrim(new.channels)), '');
    if new.channels not in ('separate', 'mixed') then
        raise exception using errcode = 'P0001', message =
            'The channels of a meeting are separate, mixed, or left empty: then the worker hears which they are.';
    end if;
    return new;
end $$;

create trigger channels_before_write before insert or update of channels on public.meetings
    for each row execute function pc_worker.channels_before_write();

do $$
begin
    perform pc_worker.close_to_all('function pc_worker.channels_before_write()');
    perform pc_worker.open_to('authenticated', 'insert (channels) on public.meetings');
end $$;

notify pgrst, 'reload schema';
