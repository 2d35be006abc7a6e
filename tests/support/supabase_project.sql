-- A database as a fresh Supabase project has it, as far as it matters to us. Roles are cluster-wide.
-- Sources: supabase/postgres migrations (initial schema, storage, auth), Supabase documentation "Postgres roles".

do $$
declare
    wanted record;
begin
    for wanted in select * from (values
        ('anon', 'nologin noinherit'),
        ('authenticated', 'nologin noinherit'),
        ('service_role', 'nologin noinherit bypassrls'),
        ('supabase_auth_admin', 'nologin noinherit createrole'),
        ('supabase_storage_admin', 'nologin noinherit createrole'),
        ('authenticator', 'login noinherit'),
        -- the role named postgres on Supabase: owner of the project's tables, not a superuser
        ('project_owner', 'login createrole createdb bypassrls')) as w (name, attributes)
    loop
        if not exists (select from pg_roles where rolname = wanted.name) then
            execute format('create role %I %s', wanted.name, wanted.attributes);
        end if;
    end loop;
end $$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to project_owner with admin option;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';

do $$ begin execute format('grant create on database %I to project_owner', current_database()); end $$;
alter schema public owner to project_owner;
grant usage on schema public to anon, authenticated, service_role;
alter default privileges for role project_owner in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges for role project_owner in schema public grant all on functions to anon, authenticated, service_role;
alter default privileges for role project_owner in schema public grant all on sequences to anon, authenticated, service_role;

create schema extensions;
grant usage on schema extensions to anon, authenticated, service_role, project_owner;

-- --- auth ---------------------------------------------------------------------------------------------------------------

create schema auth authorization supabase_auth_admin;
grant usage on schema auth to anon, authenticated, service_role, project_owner;
set role supabase_auth_admin;

create table auth.users (
    id          uuid primary key,
    email       text,
    created_at  timestamptz default now()
);

create function auth.jwt() returns jsonb language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim', true), ''),
                    nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;

create function auth.uid() returns uuid language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

create function auth.role() returns text language sql stable as $$
    select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''),
                    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
$$;

reset role;
grant select, insert, update, delete, references on auth.users to project_owner;

-- --- storage ------------------------------------------------------------------------------------------------------------

create schema storage authorization supabase_storage_admin;
grant usage on schema storage to anon, authenticated, service_role;
grant all on schema storage to project_owner;
set role supabase_storage_admin;

create table storage.buckets (
    id                  text primary key,
    name                text not null unique,
    owner               uuid,
    created_at          timestamptz default now(),
    updated_at          timestamptz default now(),
    public              boolean default false,
    avif_autodetection  boolean default false,
    file_size_limit     bigint,
    allowed_mime_types  text[],
    owner_id            text
);

create table storage.objects (
    id                  uuid primary key default gen_random_uuid(),
    bucket_id           text references storage.buckets (id),
    name                text,
    owner               uuid,
    created_at          timestamptz default now(),
    updated_at          timestamptz default now(),
    last_accessed_at    timestamptz default now(),
    metadata            jsonb,
    path_tokens         text[] generated always as (string_to_array(name, '/')) stored,
    version             text,
    owner_id            text,
    user_metadata       jsonb
);

create unique index bucketid_objname on storage.objects (bucket_id, name);
alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;

create function storage.foldername(name text) returns text[] language sql immutable as $$
    select (string_to_array(name, '/'))[1 : array_length(string_to_array(name, '/'), 1) - 1]
$$;

create function storage.filename(name text) returns text language sql immutable as $$
    select (string_to_array(name, '/'))[array_length(string_to_array(name, '/'), 1)]
$$;

reset role;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
-- Supabase lets its postgres role make policies on storage.objects and grant on it (supautils); here by membership
grant all on storage.buckets, storage.objects to project_owner with grant option;
grant supabase_storage_admin to project_owner;

-- --- realtime -----------------------------------------------------------------------------------------------------------

create schema realtime;
create publication supabase_realtime;
alter publication supabase_realtime owner to project_owner;
