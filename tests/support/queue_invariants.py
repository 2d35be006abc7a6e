"""What must be true of the queue's rows at every moment, as queries that find what breaks it."""

from __future__ import annotations

INVARIANTS = {
    "every meeting has one job, and its state is the meeting's status": """
        select m.id from public.meetings m left join pc_worker.jobs j on j.meeting_id = m.id
         where j.state is distinct from m.status
    """,
    "a job is being worked on exactly while one attempt of it runs, with the job's token": """
        select j.meeting_id from pc_worker.jobs j
         where (select array_agg(a.token) from pc_worker.job_attempts a
                 where a.meeting_id = j.meeting_id and a.outcome is null)
               is distinct from case when j.state = 'processing' then array[j.token] end
    """,
    "a token that may still write is the latest one issued for its job": """
        select j.meeting_id from pc_worker.jobs j
         where j.token < (select max(a.token) from pc_worker.job_attempts a where a.meeting_id = j.meeting_id)
    """,
    "no token is out twice": """
        select token from pc_worker.jobs where token is not null group by token having count(*) > 1
    """,
    "one claim leases one job, however often it was repeated": """
        select claim_id from pc_worker.jobs where state = 'processing' group by claim_id having count(*) > 1
    """,
    "only a job whose lease ran out keeps a token without a lease": """
        select j.meeting_id from pc_worker.jobs j join pc_worker.job_attempts a on a.token = j.token
         where j.state <> 'processing' and a.outcome <> 'reaped'
    """,
    "segments are numbered without a gap": """
        select meeting_id from public.transcript_segments group by meeting_id
        having max(segment_index) + 1 <> count(*)
    """,
    "segments belong to the voices of their meeting": """
        select s.id from public.transcript_segments s
          left join public.meeting_speakers ms on ms.meeting_id = s.meeting_id and ms.label = s.speaker_label
         where s.speaker_id is distinct from ms.speaker_id
    """,
    "speakers are those who have a name or a voice": """
        select s.id from public.speakers s
         where s.name is null and not exists (select from pc_worker.voices v where v.speaker_id = s.id)
        union all
        select v.speaker_id from pc_worker.voices v
         where v.speaker_id is not null and not exists (select from public.speakers s where s.id = v.speaker_id)
    """,
    "who was merged into somebody is no speaker any more": """
        select s.id from public.speakers s
          join public.speaker_decisions d on d.other_speaker_id = s.id and d.kind = 'merged' and d.undone_at is null
    """,
    "meetings show the speakers of their newest voices": """
        select v.id from pc_worker.voices v
          full join public.meeting_speakers ms on ms.meeting_id = v.meeting_id and ms.label = v.label
         where v.is_current is not false and (v.id is null or ms.label is null
                                              or v.speaker_id is distinct from ms.speaker_id)
    """,
    "an embedding is at the speaker of its voice, and none is kept of an erased one": """
        select e.id from public.speaker_embeddings e left join pc_worker.voices v on v.id = e.voice_id
         where v.id is null or v.is_erased or v.speaker_id is distinct from e.speaker_id
    """,
    "nothing is kept of the voice of who has opted out": """
        select e.id from public.speaker_embeddings e join public.speakers s on s.id = e.speaker_id
         where not s.keeps_voice
    """,
    "nobody has speakers, voices and decisions of two owners": """
        select v.id from pc_worker.voices v join public.speakers s on s.id = v.speaker_id
         where v.user_id is distinct from s.user_id
        union all
        select d.id from public.speaker_decisions d join public.speakers s on s.id = d.speaker_id
         where d.user_id is distinct from s.user_id
    """,
    "meeting_ids of a speaker are the meetings it speaks in": """
        select s.id from public.speakers s
         where s.meeting_ids is distinct from array(select distinct ms.meeting_id from public.meeting_speakers ms
                                                     where ms.speaker_id = s.id order by 1)
    """,
    "a speaker has an embedding exactly while it has embeddings": """
        select s.id from public.speakers s
         where (s.embedding is not null)
               is distinct from exists (select from public.speaker_embeddings where speaker_id = s.id)
    """,
    "only a finished or once finished meeting has a transcript": """
        select s.meeting_id from public.transcript_segments s
         where not exists (select from pc_worker.job_attempts a
                            where a.meeting_id = s.meeting_id and a.outcome = 'completed')
    """,
}

BROKEN = " union all ".join(
    f"select '{name.replace(chr(39), chr(39) * 2)}' as broken where exists ({query})"
    for name, query in INVARIANTS.items()
)
"""One statement, so that it sees one moment."""
