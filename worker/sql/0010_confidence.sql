-- As in 0004, but a segment whose engine gave no confidence keeps none: least and greatest pass over a null.
create or replace function pc_worker.write_segments(p_meeting_id uuid, p_segments jsonb, p_num_segments bigint) returns void
language plpgsql security definer set search_path = ''
as $$
declare
    num_written bigint;
begin
    delete from public.transcript_segments where meeting_id = p_meeting_id;
    insert into public.transcript_segments
        (meeting_id, segment_index, start_s, end_s, speaker_id, speaker_label, text, confidence, words)
    select p_meeting_id, s.index, s.start_s, s.end_s, ms.speaker_id, s.speaker_label, s.text,
           case when s.confidence is not null then least(greatest(s.confidence, 0), 1) end, s.words
      from jsonb_to_recordset(p_segments) as s (index integer, start_s double precision, end_s double precision,
           speaker_label text, text text, confidence double precision, words jsonb)
      left join public.meeting_speakers ms on ms.meeting_id = p_meeting_id and ms.label = s.speaker_label;
    get diagnostics num_written = row_count;
    if num_written is distinct from p_num_segments then
        raise exception using errcode = '22023', message = format(
            'The result announced %s segments and brought %s; nothing was written.', p_num_segments, num_written);
    end if;
end $$;
