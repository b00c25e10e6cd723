use super::*;
use crate::domain::decision::{Detector, Evidence};
use crate::domain::risk::RiskCategory;

fn decision(reason: Reason, verdict: Verdict, surprises: [i32; 7], evidence: i32) -> Decision {
    let scores = Detector::ALL.map(|detector| Score {
        detector,
        raw: Some(surprises[detector.index()]),
        surprise: surprises[detector.index()],
        evidence: Evidence::None,
    });
    Decision {
        verdict,
        enforced: true,
        reason,
        rule_id: String::new(),
        category: RiskCategory::Low,
        threshold: 9_000,
        counted: true,
        account: crate::domain::account::Account::default(),
        compositions: Vec::new(),
        assessment: Assessment { scores, evidence, combined_raw: evidence, floors: 0, risk: 40 },
    }
}

fn told(decision: &Decision) -> Vec<String> {
    counterfactuals(decision, &Names { tool: "get_logs", principal: "agent:ops", paths: &[] })
}

#[test]
fn what_an_anomaly_needs_to_pass_is_said_with_the_findings_that_carry_it() {
    let surprises = [12_000, 500, 6_000, 300, 0, 0, 0];
    let told = told(&decision(Reason::Anomaly, Verdict::Review, surprises, 11_000));
    let weight = RiskCategory::Low.weight_millibits();
    assert!(told[0].contains(&bits(9_000 - weight)) && told[0].contains("11.0 bits"), "{told:#?}");
    assert!(told[1].contains("time") && told[1].contains("12.0 bits"), "{told:#?}");
    // Beside one so much odder the other changes nothing, and is not named.
    assert!(!told.iter().any(|sentence| sentence.contains("sequence")), "{told:#?}");
    assert_eq!(told.len(), 3);
}

#[test]
fn an_allowed_call_is_told_how_far_it_was_from_a_review() {
    let told = told(&decision(Reason::CategoryDefault, Verdict::Allow, [0; 7], 1_000));
    let missing = 9_000 - RiskCategory::Low.weight_millibits() - 1_000;
    assert!(told[0].starts_with(&format!("With {} more", bits(missing))), "{told:?}");
}

#[test]
fn a_default_that_asks_says_whether_a_rule_would_have_helped() {
    let helped = told(&decision(Reason::CategoryDefault, Verdict::Review, [0; 7], 1_000));
    assert!(helped[0].contains("would have let it pass"), "{helped:?}");
    let odd = told(&decision(Reason::CategoryDefault, Verdict::Review, [0; 7], 25_000));
    assert!(odd[0].contains("alone would not"), "{odd:?}");
}
