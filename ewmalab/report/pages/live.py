"""The report of a live miner."""

from __future__ import annotations

import pandas as pd

from ewmalab.analysis import diagnostics as dg
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.track_record import BASELINE, TrackRecord
from ewmalab.report.figures import backtest, live
from ewmalab.report.pages.page import Report, Section, Table
from ewmalab.times import DAY, iso


def answers_frame(log: LiveLog) -> pd.DataFrame:
    """Return what a log says of each answer.

    Returns
    -------
    DataFrame
        ``at`` (market time of the request), ``competition``, ``asset``, ``start_time``, ``seconds`` (from the whole
        request to the last byte handed over), ``state_age`` and ``anchor_age`` (seconds), ``anchor_source``,
        ``caller``.
    """
    return pd.DataFrame(
        {
            "at": a["request_time"],
            "competition": a["competition"],
            "asset": a["asset"],
            "start_time": a["start_time"],
            "seconds": a["seconds"]["total"],
            "state_age": a["age"],
            "anchor_age": max(0.0, a["request_time"] - a["anchor"]["at"]),
            "anchor_source": a["anchor"]["source"],
            "caller": a["caller"],
        }
        for a in log.answers
    )


def live_report(log: LiveLog, record: TrackRecord, title: str = "live track record") -> Report:
    """Lay out the report of a live miner's log.

    Parameters
    ----------
    log : LiveLog
    record : TrackRecord
        From `ewmalab.live.audit.track_record.track_record`.
    title : str
    """
    answers, synthetic = answers_frame(log), record.synthetic
    own = next(iter(record.scores))
    facts = [
        ("answers", f"{len(answers):,} to {answers['caller'].nunique()} validators"),
        ("start times", f"{iso(int(answers['start_time'].min()))} to {iso(int(answers['start_time'].max()))}"),
        ("prompts", f"{record.answered:,} distinct, {record.settled:,} of them scored"),
        ("forecaster", own),
    ]
    report = Report(title, facts, synthetic)
    alarms = [f"ALARM ({alarm.kind}) {alarm.text}" for alarm in record.alarms] or ["No alarm."]
    waiting = [f"{count} not scored: {reason}." for reason, count in record.waiting.items()]
    score = Section("Score", [*alarms, *waiting])
    if record.rows:
        score.content.append(backtest.change_by_asset(record.rows, BASELINE, synthetic=synthetic))
        score.content.append(
            Table(
                f"Against {BASELINE}",
                ["competition", "asset", "contestant", "prompts", "mean CRPS, bp", "change, %", "95 %, from", "to"],
                [
                    (r["competition"], r["asset"], r["contestant"], r["prompts"], r["mean"],
                     *("-" if r[k] is None else (f"{100 * r[k]:+.2f}", 100 * r[k]) for k in ("change", "low", "high")))
                    for r in record.rows
                ],
            )
        )  # fmt: skip
        results = pd.concat([f["crps"].reset_index().assign(forecaster=name) for name, f in record.scores.items()])
        relative = dg.relative_scores(results, BASELINE)
        score.content.append(
            backtest.cumulative(
                dg.cumulative_difference(relative, BASELINE), BASELINE, len(relative), synthetic=synthetic
            )
        )
    if record.settled:
        score.content.append(live.running(record.running(), synthetic=synthetic))
    report.sections.append(score)
    serving = Section("Serving", [], [live.latency(answers, synthetic=synthetic)])
    serving.content.append(live.state_age(answers, synthetic=synthetic))
    seconds = answers.groupby("competition")["seconds"]
    serving.content.append(
        Table(
            "Latency, seconds",
            ["competition", "answers", "median", "99 %", "longest"],
            [
                (name, len(part), *((f"{part.quantile(q):.3f}", float(part.quantile(q))) for q in (0.5, 0.99, 1.0)))
                for name, part in seconds
            ],
        )
    )  # fmt: skip
    per_day = answers.groupby([answers["at"] // DAY * DAY, "asset"]).size().rename("answers").reset_index()
    serving.content.append(
        Table(
            "Answers per day",
            ["day", "asset", "answers"],
            [((iso(r["at"])[:10], r["at"]), r["asset"], r["answers"]) for r in per_day.to_dict("records")],
            folded=True,
        )
    )
    report.sections.append(serving)
    return report
