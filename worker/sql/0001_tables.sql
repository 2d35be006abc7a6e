-- The tables people see (public) and the machinery behind them (pc_worker).
-- Times within a recording are seconds from its first sample (_s); moments are timestamptz (_at).

create schema if not exists pc_worker;

-- --- what people see ------------------------------------------------------------------------------------------------

create table public.meetings (
    id              uuid primary key default gen_random_uuid(),
    user_id         uuid,
    title           text,
    audio_path      text,
    audio_url       text,
    language        text,
    min_speakers    integer,
    max_speakers    integer,
    prompt          text,
    hotwords        text,
    priority        integer not null default 0,
    status          text not null default 'pending',
    stage           text,
    progress        double precision,
    error_code      text,
    error_message   text,
    warnings        jsonb not null default '[]',
    processed_by    text,
    duration_s      double precision,
    result          jsonb,
    created_at      timestamptz not null default clock_timestamp(),
    started_at      timestamptz,
    completed_at    timestamptz,
    updated_at      timestamptz not null default clock_timestamp(),
    constraint meetings_status_known
        check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    constraint meetings_failed_has_code check (status <> 'failed' or error_code is not null),
    constraint meetings_completed_has_time check (status <> 'completed' or completed_at is not null),
    constraint meetings_progress_range check (progress >= 0 and progress <= 1),
    constraint meetings_min_speakers_range check (min_speakers >= 1),
    constraint meetings_max_speakers_range check (max_speakers >= 1 and max_speakers >= coalesce(min_speakers, 1)),
    constraint meetings_duration_range check (duration_s >= 0),
    constraint meetings_warnings_is_list check (jsonb_typeof(warnings) = 'array')
) with (fillfactor = 85);

create index meetings_newest on public.meetings (created_at desc, id);

create table public.speakers (
    id              uuid primary key default gen_random_uuid(),
    user_id         uuid,
    name            text,
    embedding       jsonb,
    meeting_ids     uuid[] not null default '{}',
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz not null default clock_timestamp()
);

create index speakers_owner on public.speakers (user_id);

comment on column public.speakers.name is 'Null until somebody names this voice.';
comment on column public.speakers.embedding is
    'Derived: mean of the voice''s embeddings, weighted by speech, in the model with most speech. Never written by hand.';
comment on column public.speakers.meeting_ids is 'Derived from meeting_speakers. Never written by hand.';

create table public.transcript_segments (
    id              bigint generated always as identity primary key,
    meeting_id      uuid not null references public.meetings (id) on delete cascade,
    segment_index   integer not null,
    start_s         double precision not null,
    end_s           double precision not null,
    speaker_id      uuid references public.speakers (id) on delete set null,
    speaker_label   text,
    text            text not null,
    confidence      double precision,
    words           jsonb not null default '[]',
    edited_at       timestamptz,
    constraint transcript_segments_index_unique unique (meeting_id, segment_index),
    constraint transcript_segments_index_range check (segment_index >= 0),
    constraint transcript_segments_time_order check (end_s >= start_s),
    constraint transcript_segments_confidence_range check (confidence >= 0 and confidence <= 1),
    constraint transcript_segments_words_is_list check (jsonb_typeof(words) = 'array')
);

create index transcript_segments_speaker on public.transcript_segments (speaker_id);

comment on column public.transcript_segments.words is 'Compact: [[text, start_s, end_s, confidence], ...].';
comment on column public.transcript_segments.edited_at is
    'Set when somebody corrected this passage; while it is set, the meeting is not transcribed again.';

create table public.meeting_speakers (
    meeting_id      uuid not null references public.meetings (id) on delete cascade,
    label           text not null,
    speaker_id      uuid references public.speakers (id) on delete set null,
    speech_s        double precision not null default 0,
    score           double precision,
    decision        text,
    primary key (meeting_id, label)
);

create index meeting_speakers_speaker on public.meeting_speakers (speaker_id);

create table public.speaker_embeddings (
    id              bigint generated always as identity primary key,
    speaker_id      uuid not null references public.speakers (id) on delete cascade,
    meeting_id      uuid not null references public.meetings (id) on delete cascade,
    label           text not null,
    model           text not null,
    dim             integer not null,
    embedding       jsonb not null,
    speech_s        double precision not null default 0,
    constraint speaker_embeddings_dim_matches
        check (case when jsonb_typeof(embedding) = 'array' then jsonb_array_length(embedding) = dim else false end)
);

create index speaker_embeddings_speaker on public.speaker_embeddings (speaker_id);
create index speaker_embeddings_meeting on public.speaker_embeddings (meeting_id);

create table public.meeting_summaries (
    meeting_id      uuid primary key references public.meetings (id) on delete cascade,
    overview        text not null,
    key_points      jsonb not null default '[]',
    decisions       jsonb not null default '[]',
    action_items    jsonb not null default '[]',
    open_questions  jsonb not null default '[]',
    topics          jsonb not null default '[]',
    method          text not null,
    model           text
);

-- --- the machinery --------------------------------------------------------------------------------------------------

-- One row. Tests and small installations may shrink the times; workers learn lease and heartbeat when they register.
create table pc_worker.settings (
    only_row                    boolean primary key default true,
    lease_s                     double precision not null default 180,
    heartbeat_s                 double precision not null default 30,
    grace_s                     double precision not null default 60,
    max_failures                bigint not null default 3,
    max_crashes                 bigint not null default 2,
    infrastructure_give_up_s    double precision not null default 86400,
    waiting_give_up_s           double precision not null default 3600,
    constraint settings_one_row check (only_row),
    constraint settings_times_sensible check (heartbeat_s > 0 and lease_s > 2 * heartbeat_s and grace_s >= 0)
);

insert into pc_worker.settings default values;

create sequence pc_worker.lease_tokens as bigint;

-- The job behind a meeting. Its `state` is always its meeting's `status`; a status that changes without its job was
-- changed by hand (see meetings_before_update). Heartbeats land here and stay HOT: no lease column is indexed.
create table pc_worker.jobs (
    id                  bigint generated always as identity primary key,
    meeting_id          uuid not null references public.meetings (id) on delete cascade,
    state               text not null default 'pending',
    priority            integer not null,
    run_at              timestamptz not null,       -- may not be claimed before
    token               bigint,                     -- the fencing token that may still write; null: none
    lease_expires_at    timestamptz,                -- set while state is processing
    worker_id           text,                       -- who was given `token`
    instance_id         uuid,
    claim_id            uuid,
    num_attempts        bigint not null default 0,  -- charged since the last retry; see job_attempts for all of them
    num_failures        bigint not null default 0,
    num_crashes         bigint not null default 0,
    num_infrastructure  bigint not null default 0,  -- in a row
    infrastructure_since timestamptz,
    waiting_since       timestamptz,
    constraint jobs_meeting_unique unique (meeting_id),
    constraint jobs_state_known check (state in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    constraint jobs_lease_while_processing check ((state = 'processing') = (lease_expires_at is not null)),
    constraint jobs_token_while_processing check (state <> 'processing' or token is not null),
    constraint jobs_closed_has_no_token check (state not in ('completed', 'cancelled') or token is null),
    constraint jobs_counts_range check (num_attempts >= 0 and num_failures >= 0 and num_crashes >= 0)
) with (fillfactor = 70);

create index jobs_claimable on pc_worker.jobs (priority desc, run_at, id) where state = 'pending';
create index jobs_processing on pc_worker.jobs (id) where state = 'processing';

-- One row per claim, never deleted while its meeting is there. `outcome` is null while the attempt runs.
create table pc_worker.job_attempts (
    token           bigint primary key,
    meeting_id      uuid not null references public.meetings (id) on delete cascade,
    attempt         bigint not null,
    worker_id       text not null,
    instance_id     uuid not null,
    started_at      timestamptz not null,
    ended_at        timestamptz,
    outcome         text,
    code            text,
    stage           text,
    constraint job_attempts_outcome_known check (outcome in ('completed', 'failure', 'crash', 'infrastructure',
        'waiting', 'permanent', 'released', 'reaped', 'cancelled')),
    constraint job_attempts_ended_has_outcome check ((outcome is null) = (ended_at is null))
);

create index job_attempts_meeting on pc_worker.job_attempts (meeting_id);

create table pc_worker.workers (
    worker_id       text primary key,
    name            text not null,
    instance_id     uuid not null,
    past_instances  uuid[] not null default '{}',   -- superseded; they may not come back
    hostname        text not null,
    machine_id      text not null,
    version         text not null,
    system          jsonb not null default '{}',
    draining        boolean not null default false,
    registered_at   timestamptz not null,
    last_seen_at    timestamptz not null
) with (fillfactor = 70);

-- One row: when the fleet last called. After a long silence it is the database that was away, not the workers.
create table pc_worker.pulse (
    only_row        boolean primary key default true,
    last_call_at    timestamptz not null default clock_timestamp(),
    quiet_until     timestamptz not null default '-infinity',
    constraint pulse_one_row check (only_row)
);

insert into pc_worker.pulse default values;
