use super::super::row::tests::row_of;
use super::*;
use crate::proto::v1::Verdict;
use serde_json::Map;

/// What a field must be.
#[derive(Clone, Copy)]
enum Is {
    Text,
    Number,
    /// One of these numbers.
    In(&'static [u64]),
    /// An object with these fields, of which those marked must be there.
    Object(&'static [Field]),
    /// A list of such objects, not empty.
    List(&'static [Field]),
    Any,
}

/// Name, whether it must be there, and what it must be. Typed by hand from the schema's pages; no other field is
/// allowed.
type Field = (&'static str, bool, Is);

const METADATA: &[Field] = &[
    ("version", true, Is::Text),
    (
        "product",
        true,
        Is::Object(&[
            ("name", true, Is::Text),
            ("vendor_name", true, Is::Text),
            ("version", false, Is::Text),
        ]),
    ),
    ("uid", false, Is::Text),
    ("sequence", false, Is::Number),
    ("correlation_uid", false, Is::Text),
    ("tenant_uid", false, Is::Text),
    ("logged_time", false, Is::Number),
    ("profiles", false, Is::Any),
];
const ACTOR: &[Field] = &[
    ("user", true, Is::Object(&[("name", true, Is::Text), ("uid", false, Is::Text)])),
    ("session", false, Is::Object(&[("uid", true, Is::Text)])),
];
const OBSERVED: &[Field] = &[
    ("observation_parameter", true, Is::Text),
    ("observation_type", false, Is::Text),
    ("observations", true, Is::List(&[("value", true, Is::Text)])),
];
const API_ACTIVITY: &[Field] = &[
    ("activity_id", true, Is::In(&[1, 2, 3, 4, 99])),
    ("activity_name", false, Is::Text),
    ("category_uid", true, Is::In(&[6])),
    ("category_name", false, Is::Text),
    ("class_uid", true, Is::In(&[6003])),
    ("class_name", false, Is::Text),
    ("type_uid", true, Is::In(&[600_301, 600_302, 600_303, 600_304, 600_399])),
    ("type_name", false, Is::Text),
    ("severity_id", true, Is::In(&[1, 2, 3, 4, 5])),
    ("time", true, Is::Number),
    ("metadata", true, Is::Object(METADATA)),
    ("actor", true, Is::Object(ACTOR)),
    (
        "api",
        true,
        Is::Object(&[
            ("operation", true, Is::Text),
            ("service", false, Is::Object(&[("name", true, Is::Text)])),
            ("request", false, Is::Object(&[("uid", true, Is::Text)])),
        ]),
    ),
    ("src_endpoint", true, Is::Object(&[("name", true, Is::Text)])),
    ("action_id", true, Is::In(&[1, 2, 3])),
    ("disposition_id", true, Is::In(&[1, 2, 8, 14, 19, 24, 25])),
    ("is_alert", false, Is::Any),
    ("policy", false, Is::Object(&[("name", true, Is::Text)])),
    ("message", false, Is::Text),
    ("unmapped", false, Is::Any),
];
const DETECTION_FINDING: &[Field] = &[
    ("activity_id", true, Is::In(&[1, 2, 3])),
    ("activity_name", false, Is::Text),
    ("category_uid", true, Is::In(&[2])),
    ("category_name", false, Is::Text),
    ("class_uid", true, Is::In(&[2004])),
    ("class_name", false, Is::Text),
    ("type_uid", true, Is::In(&[200_401, 200_402, 200_403])),
    ("type_name", false, Is::Text),
    ("severity_id", true, Is::In(&[1, 2, 3, 4, 5])),
    ("status_id", false, Is::In(&[1, 2, 3, 4])),
    ("time", true, Is::Number),
    ("metadata", true, Is::Object(METADATA)),
    (
        "finding_info",
        true,
        Is::Object(&[
            ("uid", true, Is::Text),
            ("title", false, Is::Text),
            ("desc", false, Is::Text),
            (
                "analytic",
                false,
                Is::Object(&[
                    ("name", false, Is::Text),
                    ("type_id", true, Is::In(&[1, 2, 3, 4])),
                    ("type", false, Is::Text),
                ]),
            ),
            ("created_time", false, Is::Number),
        ]),
    ),
    ("risk_score", false, Is::Number),
    ("risk_level_id", false, Is::In(&[0, 1, 2, 3, 4])),
    ("message", false, Is::Text),
    (
        "evidences",
        false,
        Is::List(&[
            ("actor", false, Is::Object(ACTOR)),
            ("api", false, Is::Object(&[("operation", true, Is::Text)])),
        ]),
    ),
    (
        "anomaly_analyses",
        false,
        Is::List(&[
            ("analysis_targets", true, Is::List(&[("name", true, Is::Text), ("type", false, Is::Text)])),
            ("anomalies", true, Is::List(OBSERVED)),
            ("baselines", false, Is::List(OBSERVED)),
        ]),
    ),
    ("unmapped", false, Is::Any),
];

fn faults(path: &str, value: &Map<String, Value>, fields: &[Field]) -> Vec<String> {
    let known = |name: &String| fields.iter().any(|(known, ..)| known == name);
    let mut faults: Vec<String> =
        value.keys().filter(|name| !known(name)).map(|name| format!("{path}.{name} is no field")).collect();
    for (name, required, is) in fields {
        let here = format!("{path}.{name}");
        match value.get(*name) {
            None if *required => faults.push(format!("{here} is missing")),
            None => {}
            Some(found) => faults.extend(fault(&here, found, *is)),
        }
    }
    faults
}

fn fault(path: &str, value: &Value, is: Is) -> Vec<String> {
    let wrong = |holds: bool, what: &str| {
        if holds { Vec::new() } else { vec![format!("{path} is no {what}: {value}")] }
    };
    match is {
        Is::Any => Vec::new(),
        Is::Text => wrong(value.as_str().is_some_and(|text| !text.is_empty()), "text"),
        Is::Number => wrong(value.is_number(), "number"),
        Is::In(numbers) => {
            wrong(value.as_u64().is_some_and(|number| numbers.contains(&number)), "known number")
        }
        Is::Object(fields) => match value.as_object() {
            Some(object) => faults(path, object, fields),
            None => wrong(false, "object"),
        },
        Is::List(fields) => match value.as_array().filter(|list| !list.is_empty()) {
            Some(list) => list.iter().flat_map(|entry| fault(path, entry, Is::Object(fields))).collect(),
            None => wrong(false, "list with something in it"),
        },
    }
}

fn check(event: &Value) -> Vec<String> {
    let fields = if event["class_uid"] == 6003 { API_ACTIVITY } else { DETECTION_FINDING };
    let mut found = faults("", event.as_object().unwrap(), fields);
    let sum = event["class_uid"].as_u64().unwrap() * 100 + event["activity_id"].as_u64().unwrap();
    if event["type_uid"] != sum {
        found.push(format!("type_uid is not {sum}"));
    }
    found
}

#[test]
fn events_have_the_fields_of_their_class_and_no_others() {
    for (verdict, count) in [(Verdict::Allow, 1), (Verdict::Review, 2), (Verdict::Deny, 2)] {
        for risk in [0, 29, 30, 69, 70, 100] {
            let events = events(&row_of("drop_table", verdict, risk));
            assert_eq!(events.len(), count, "{verdict:?}");
            for event in &events {
                assert_eq!(check(event), Vec::<String>::new(), "{event:#}");
            }
        }
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let good = events(&row_of("drop_table", Verdict::Review, 81)).remove(1);
    let spoil = |change: fn(&mut Map<String, Value>)| {
        let mut event = good.clone();
        change(event.as_object_mut().unwrap());
        check(&event).len()
    };
    assert_eq!(spoil(|_| {}), 0);
    assert_eq!(spoil(|event| drop(event.remove("metadata"))), 1);
    assert_eq!(spoil(|event| drop(event.insert("typo".to_owned(), json!(1)))), 1);
    assert_eq!(spoil(|event| drop(event.insert("severity_id".to_owned(), json!(9)))), 1);
    assert_eq!(spoil(|event| event["anomaly_analyses"][0]["anomalies"] = json!([])), 1);
    assert_eq!(spoil(|event| drop(event.insert("activity_id".to_owned(), json!(2)))), 1);
}

#[test]
fn what_was_observed_stands_against_what_is_usual() {
    let finding = events(&row_of("drop_table", Verdict::Deny, 95)).remove(1);
    let analysis = &finding["anomaly_analyses"][0];
    assert_eq!(analysis["anomalies"][0]["observation_parameter"], "novelty");
    assert_eq!(analysis["anomalies"][0]["observations"][0]["value"], "never used before");
    assert_eq!(analysis["baselines"][0]["observations"][0]["value"], "0 of 11 principals use it");
    assert_eq!((finding["severity_id"].as_u64(), finding["risk_level_id"].as_u64()), (Some(5), Some(4)));
}
