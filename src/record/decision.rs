//! A decision inside its record: scores packed, figures only where there are some.

use super::wire::{Field, Reader, Writer};
use super::{Error, named};
use crate::domain::account::{Account, Tier};
use crate::domain::decision::{
    Assessment, Completed, DETECTORS, Decision, Detector, Evidence, Reason, Score, Verdict,
};
use crate::domain::risk::RiskCategory;

/// Stored raw surprise of a detector that abstained.
const ABSTAINED: u16 = u16::MAX;

pub(super) fn write_decision(decision: &Decision, out: &mut Writer) {
    out.uint(1, decision.verdict.number().into());
    out.uint(2, decision.enforced.into());
    out.uint(3, decision.reason.number().into());
    out.text(4, &decision.rule_id);
    out.uint(5, decision.category.number().into());
    out.sint(6, decision.threshold.into());
    out.uint(7, decision.counted.into());
    out.sint(8, decision.assessment.evidence.into());
    out.sint(9, decision.assessment.combined_raw.into());
    out.uint(10, decision.assessment.floors.into());
    out.uint(11, decision.assessment.risk.into());
    let account = &decision.account;
    out.uint(15, account.tier.number().into());
    out.uint(16, account.audited.into());
    out.uint(17, account.muted.into());
    out.sint(18, account.session_evidence.into());
    out.sint(19, account.principal_evidence.into());
    let mut packed = [0_u8; DETECTORS * 4];
    for (score, slot) in decision.assessment.scores.iter().zip(packed.chunks_exact_mut(4)) {
        let raw = score.raw.map_or(ABSTAINED, millibits);
        slot[..2].copy_from_slice(&raw.to_le_bytes());
        slot[2..].copy_from_slice(&millibits(score.surprise).to_le_bytes());
    }
    out.bytes(12, &packed);
    decision.compositions.iter().for_each(|rule| write_completed(rule, out));
    for score in &decision.assessment.scores {
        let (form, figures) = figures_of(&score.evidence);
        if form != 0 {
            out.message(13, |inner| {
                inner.uint(1, score.detector.index() as u64 + 1);
                inner.uint(2, form.into());
                inner.packed_uint(3, &figures);
            });
        }
    }
}

/// What is told of a rule stands beside its id, where it is told.
fn write_completed(rule: &Completed, out: &mut Writer) {
    if rule.title.is_empty() {
        return out.bytes_present(14, rule.id.as_bytes());
    }
    out.message(20, |inner| {
        inner.text(1, &rule.id);
        inner.text(2, &rule.title);
        rule.tags.iter().for_each(|tag| inner.bytes_present(3, tag.as_bytes()));
        inner.uint(4, rule.risk.into());
    });
}

fn read_completed(bytes: &[u8]) -> Result<Completed, Error> {
    let mut rule = Completed::default();
    for field in Reader::new(bytes) {
        let field = field?;
        match field.number {
            1 => rule.id = field.text()?,
            2 => rule.title = field.text()?,
            3 => rule.tags.push(field.text()?),
            4 => rule.risk = field.fit()?,
            _ => {}
        }
    }
    Ok(rule)
}

fn millibits(value: i32) -> u16 {
    u16::try_from(value).unwrap_or(ABSTAINED - 1).min(ABSTAINED - 1)
}

pub(super) fn read_decision(bytes: &[u8]) -> Result<Decision, Error> {
    let mut decision = Decision {
        verdict: Verdict::Deny,
        enforced: false,
        reason: Reason::CategoryDefault,
        rule_id: String::new(),
        category: RiskCategory::Critical,
        threshold: 0,
        counted: false,
        account: Account::default(),
        compositions: Vec::new(),
        assessment: Assessment {
            scores: Detector::ALL.map(|detector| Score {
                detector,
                raw: None,
                surprise: 0,
                evidence: Evidence::None,
            }),
            evidence: 0,
            combined_raw: 0,
            floors: 0,
            risk: 0,
        },
    };
    for field in Reader::new(bytes) {
        read_field(&field?, &mut decision)?;
    }
    Ok(decision)
}

fn read_field(field: &Field<'_>, decision: &mut Decision) -> Result<(), Error> {
    let assessment = &mut decision.assessment;
    match field.number {
        1 => decision.verdict = named(field, Verdict::from_number)?,
        2 => decision.enforced = field.uint() != 0,
        3 => decision.reason = named(field, Reason::from_number)?,
        4 => decision.rule_id = field.text()?,
        5 => decision.category = named(field, RiskCategory::from_number)?,
        6 => decision.threshold = field.sfit()?,
        7 => decision.counted = field.uint() != 0,
        8 => assessment.evidence = field.sfit()?,
        9 => assessment.combined_raw = field.sfit()?,
        10 => assessment.floors = field.fit()?,
        11 => assessment.risk = field.fit()?,
        12 => read_scores(field.bytes(), &mut assessment.scores),
        14 => decision.compositions.push(Completed { id: field.text()?, ..Completed::default() }),
        20 => decision.compositions.push(read_completed(field.bytes())?),
        13 => read_evidence(field.bytes(), &mut assessment.scores)?,
        15 => decision.account.tier = named(field, Tier::from_number)?,
        16 => decision.account.audited = field.uint() != 0,
        17 => decision.account.muted = field.fit()?,
        18 => decision.account.session_evidence = field.sfit()?,
        19 => decision.account.principal_evidence = field.sfit()?,
        _ => {}
    }
    Ok(())
}

fn read_scores(bytes: &[u8], scores: &mut [Score; DETECTORS]) {
    for (score, slot) in scores.iter_mut().zip(bytes.chunks_exact(4)) {
        let raw = u16::from_le_bytes([slot[0], slot[1]]);
        score.raw = (raw != ABSTAINED).then_some(raw.into());
        score.surprise = u16::from_le_bytes([slot[2], slot[3]]).into();
    }
}

/// More figures than any form has.
const FIGURES_MAX: usize = 8;

fn read_evidence(bytes: &[u8], scores: &mut [Score; DETECTORS]) -> Result<(), Error> {
    let (mut detector, mut form, mut figures, mut count) = (0_usize, 0_u8, [0; FIGURES_MAX], 0);
    for field in Reader::new(bytes) {
        let field = field?;
        match field.number {
            1 => detector = field.fit()?,
            2 => form = field.fit()?,
            3 => count = field.packed_uint_into(&mut figures)?,
            _ => {}
        }
    }
    if let Some(score) = detector.checked_sub(1).and_then(|index| scores.get_mut(index)) {
        score.evidence = figures.get(..count).map_or(Evidence::None, |figures| evidence_of(form, figures));
    }
    Ok(())
}

/// The stored form number and figures. Forms are never reused.
fn figures_of(evidence: &Evidence) -> (u8, Vec<u32>) {
    match *evidence {
        Evidence::None => (0, Vec::new()),
        Evidence::Hour { hour_of_week, minute, active_here, active_total, weeks } => {
            (1, vec![hour_of_week.into(), minute.into(), active_here, active_total, weeks])
        }
        Evidence::Burst { window_s, count, mean_milli, per_tool } => {
            (2, vec![window_s, count, mean_milli, per_tool.into()])
        }
        Evidence::Sequence { place, after_two, two_total, after_one, one_total } => {
            (3, vec![place.into(), after_two, two_total, after_one, one_total])
        }
        Evidence::Context { seen, adds, together, sessions } => {
            (4, vec![seen.into(), adds.into(), together, sessions])
        }
        Evidence::Argument { index, aspect, seen, total } => {
            (5, vec![index.into(), aspect.into(), seen, total])
        }
        Evidence::Novelty { uses, calls, tools, peers, principals } => {
            (6, vec![uses, calls, tools, peers, principals])
        }
        Evidence::Results { explained, unexplained, new_words, requestlike, results, requests } => {
            (7, vec![explained, unexplained, new_words, requestlike, results, requests])
        }
        Evidence::Targets { count, mean_milli, per_tool } => (8, vec![count, mean_milli, per_tool.into()]),
        Evidence::Volume { whole_day, count, expected_milli } => {
            (9, vec![whole_day.into(), count, expected_milli])
        }
    }
}

/// Evidence of a form this build does not know reads as none: the scores stand on their own.
fn evidence_of(form: u8, figures: &[u32]) -> Evidence {
    let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    let short = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    match (form, figures) {
        (1, &[hour, minute, active_here, active_total, weeks]) => Evidence::Hour {
            hour_of_week: byte(hour),
            minute: byte(minute),
            active_here,
            active_total,
            weeks,
        },
        (2, &[window_s, count, mean_milli, per_tool]) => {
            Evidence::Burst { window_s, count, mean_milli, per_tool: per_tool != 0 }
        }
        (3, &[place, after_two, two_total, after_one, one_total]) => {
            Evidence::Sequence { place: byte(place), after_two, two_total, after_one, one_total }
        }
        (4, &[seen, adds, together, sessions]) => {
            Evidence::Context { seen: short(seen), adds: short(adds), together, sessions }
        }
        (5, &[index, aspect, seen, total]) => {
            Evidence::Argument { index: byte(index), aspect: byte(aspect), seen, total }
        }
        (6, &[uses, calls, tools, peers, principals]) => {
            Evidence::Novelty { uses, calls, tools, peers, principals }
        }
        (7, &[explained, unexplained, new_words, requestlike, results, requests]) => {
            Evidence::Results { explained, unexplained, new_words, requestlike, results, requests }
        }
        (8, &[count, mean_milli, per_tool]) => {
            Evidence::Targets { count, mean_milli, per_tool: per_tool != 0 }
        }
        (9, &[whole_day, count, expected_milli]) => {
            Evidence::Volume { whole_day: whole_day != 0, count, expected_milli }
        }
        _ => Evidence::None,
    }
}
