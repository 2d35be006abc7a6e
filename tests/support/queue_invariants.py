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
    "no speaker is left over": """
        select s.id from public.speakers s
         where s.name is null and not exists (select from public.meeting_speakers where speaker_id = s.id)
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
