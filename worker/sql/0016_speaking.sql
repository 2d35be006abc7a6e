-- public.meeting_speaking: how much each person took part in a meeting.

set local lock_timeout = '30s';

do $$
begin
    if to_regclass('public.meeting_speaking') is not null then
        raise exception using errcode = 'P0001',
            message = 'There is a public.meeting_speaking already, and the worker needs that name for a view of its own.',
            hint = 'Rename yours, for example to meeting_speaking_old; then migrate again.';
    end if;
end $$;

-- The figures are of the last result; the name is the one that the speaker has now. A result of an older version has
-- no figures, and no line.
create view public.meeting_speaking with (security_invoker = true) as
select m.id as meeting_id,
       share.label,
       p.name,
       share.speech_s,
       share.share,
       share.num_turns,
       share.longest_turn_s,
       share.num_interruptions,
       share.num_questions,
       v.speaker_id
  from public.meetings m
 cross join lateral jsonb_to_recordset(
           case when jsonb_typeof(m.result -> 'speaking') = 'array' then m.result -> 'speaking' else '[]' end
       ) as share (label text, speech_s double precision, share double precision, num_turns integer,
                   longest_turn_s double precision, num_interruptions integer, num_questions integer)
  left join public.meeting_speakers v on v.meeting_id = m.id and v.label = share.label
  left join public.speakers p on p.id = v.speaker_id;

comment on view public.meeting_speaking is
    'How each voice of a meeting took part: its share of the talk, turns, interruptions, questions.';

do $$
begin
    perform pc_worker.close_to_all('table public.meeting_speaking');
    perform pc_worker.open_to('authenticated', 'select on public.meeting_speaking');
    perform pc_worker.open_to('service_role', 'select on public.meeting_speaking');
end $$;

notify pgrst, 'reload schema';
