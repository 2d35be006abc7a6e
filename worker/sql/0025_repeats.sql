-- A decision whose answer was lost is asked for again: it is there already, and nothing is done or refused twice.

set local lock_timeout = '30s';

-- As in 0019, but for the repeat: nothing is kept any more of whom was forgotten before.
create or replace function public.speaker_forget_v1(p_speaker_id uuid) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    person public.speakers := pc_worker.take_person(p_speaker_id);
    decision bigint;
begin
    if person.id is null then
        return pc_worker.nobody_there();
    elsif exists (select from public.speaker_decisions d where d.speaker_id = person.id and d.kind = 'forgotten')
          and not exists (select from pc_worker.voices v where v.speaker_id = person.id and not v.is_erased) then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    decision := pc_worker.decide_about_speaker(person.user_id, 'forgotten', person.id, null, null);
    perform pc_worker.erase(array(select v.id from pc_worker.voices v where v.speaker_id = person.id));
    perform pc_worker.settle(person.user_id, '{}', array[person.id]);
    return jsonb_build_object('outcome', 'done', 'decision_id', decision);
end $$;

-- As in 0019, but for the repeat: a rejected voice for which nothing is left to reject.
create or replace function public.speaker_reject_v1(p_meeting_id uuid, p_label text) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '60s'
as $$
declare
    voice pc_worker.voices := pc_worker.take_voice(p_meeting_id, p_label);
    suggested uuid := pc_worker.suggested_of(voice.id);
begin
    if voice.id is null then
        return pc_worker.no_voice_there();
    elsif suggested is not null then
        return pc_worker.decide_about_voice(voice, 'rejected', null, suggested, false);
    elsif coalesce(pc_worker.placed_by(voice.id), '') in ('identified', 'confirmed') then
        return pc_worker.decide_about_voice(voice, 'rejected', gen_random_uuid(), voice.speaker_id, true);
    elsif exists (select from public.speaker_decisions d
                   where d.voice_id = voice.id and d.kind = 'rejected' and d.undone_at is null) then
        return jsonb_build_object('outcome', 'already_done');
    end if;
    return pc_worker.refused('This voice was given to nobody, and nobody is suggested for it.');
end $$;
